//! Commits of a Delta log as text: reading what others wrote, writing what an intent says. Pure.

use std::collections::{HashMap, HashSet};

use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use deltalake_core::kernel::{
    Action, Add, Remove, StructType, Transaction, engine::arrow_conversion::TryIntoKernel, new_metadata,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use windrow_common::{
    error,
    intent::{Effect, Fingerprint, IntentBody},
    manifest::{Digest, StagedFile},
};

use super::{
    evolution,
    prepare::schema_of,
    table::{ActiveFile, AppIds, Table},
    tag, types,
};
use crate::{
    error::{Result, WorkerError},
    sink::regroup::{Rewrites, everywhere},
};

/// What one commit changes, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Commit {
    pub(super) add: Vec<Add>,
    /// Paths.
    pub(super) remove: Vec<String>,
    pub(super) txns: Vec<(String, i64)>,
    /// It carries a schema, properties or a protocol.
    pub(super) redefines: bool,
}

/// One line of a commit; kinds that are not named here are somebody else's.
#[derive(Deserialize)]
struct Line {
    add: Option<Add>,
    remove: Option<Remove>,
    txn: Option<Transaction>,
    #[serde(rename = "metaData")]
    metadata: Option<IgnoredAny>,
    protocol: Option<IgnoredAny>,
}

impl Commit {
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let mut commit = Self::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let line: Line = serde_json::from_slice(line)?;
            commit.add.extend(line.add);
            commit.remove.extend(line.remove.map(|remove| remove.path));
            commit.txns.extend(line.txn.map(|txn| (txn.app_id, txn.version)));
            commit.redefines |= line.metadata.is_some() || line.protocol.is_some();
        }
        Ok(commit)
    }

    /// Whether it names each file and each record once, so that it means one thing in whatever order it is read. It should
    /// by the rules of Delta, but for files that get another deletion vector.
    pub(super) fn is_plain(&self) -> bool {
        let mut named = HashSet::new();
        let paths = self.add.iter().map(|add| &add.path).chain(&self.remove);
        let once = paths.into_iter().all(|path| named.insert(path));
        let mut apps = HashSet::new();
        once && self.txns.iter().all(|(app, _)| apps.insert(app))
    }
}

/// What the commit of a seq is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Apply,
    Abort,
}

/// A commit to be written for an intent.
pub(super) struct Writing<'a> {
    pub(super) body: &'a IntentBody,
    pub(super) digest: &'a Digest,
    pub(super) apps: &'a AppIds,
    /// Milliseconds since 1970, for people and for retention.
    pub(super) now: i64,
}

impl Writing<'_> {
    /// The commit's text on top of `table`.
    pub(super) fn text(&self, deed: Deed, table: &Table) -> Result<Bytes> {
        let fingerprint = Fingerprint::of(self.digest);
        let effect = match deed {
            Deed::Apply => Effect::Applied(fingerprint),
            Deed::Abort => Effect::Aborted(fingerprint),
        };
        let seq = i64::try_from(self.body.seq)
            .map_err(|_| WorkerError::never(error::SINK_UNSUPPORTED, "the sink's seq does not fit a txn version"))?;
        let mut lines = Lines::default();
        lines.push(&json!({ "commitInfo": self.info(deed, table.version) }))?;
        lines.push(&Action::Txn(Transaction::new(&self.apps.seq, seq)))?;
        lines.push(&Action::Txn(Transaction::new(&self.apps.digest, Fingerprint::to_signed(effect))))?;
        let data_change = Rewrites::of(self.body).is_none();
        if deed == Deed::Apply {
            if let Some(metadata) = evolution::metadata(&schema_of(&self.body.schema)?, table)? {
                lines.push(&metadata)?;
            }
            for path in &self.body.remove {
                lines.push(&Action::Remove(removal(path, table.files.get(path), (data_change, self.now))))?;
            }
            for file in &self.body.add {
                lines.push(&Action::Add(addition(file, (data_change, self.now))))?;
            }
        }
        Ok(lines.text.into())
    }

    fn info(&self, deed: Deed, read_version: u64) -> Value {
        let mode = if self.body.remove.is_empty() { "Append" } else { "Overwrite" };
        let mut tasks: Vec<_> = self.body.tasks.iter().map(|task| task.task.to_string()).collect();
        let rewrites = Rewrites::of(self.body);
        tasks.extend(rewrites.iter().flat_map(|all| &all.rewrites).map(|rewrite| rewrite.task.to_string()));
        let (operation, parameters) = match rewrites {
            Some(_) => ("OPTIMIZE", json!({})),
            None => ("WRITE", json!({ "mode": mode })),
        };
        // For consumers that take the commit for the marker of its windows.
        let windows = self.body.tasks.iter().map(
            |task| json!({ "pipeline": task.pipeline, "window": task.window.to_string(), "revision": task.revision }),
        );
        json!({
            "timestamp": self.now,
            "operation": operation,
            "operationParameters": parameters,
            "readVersion": read_version,
            "isBlindAppend": self.body.remove.is_empty(),
            "engineInfo": ENGINE,
            "windrow": {
                "seq": self.body.seq,
                "digest": self.digest.to_string(),
                "aborted": deed == Deed::Abort,
                "shows": self.body.shows,
                "tasks": tasks,
                "windows": windows.collect::<Vec<_>>(),
            },
        })
    }
}

const ENGINE: &str = concat!("windrow/", env!("CARGO_PKG_VERSION"));

/// The text of version 0: an empty table, at the lowest protocol that has its types.
pub(super) fn creation(schema: &SchemaRef, partition_by: &[String], now: i64) -> Result<Bytes> {
    let broken = |cause: Box<dyn std::error::Error + Send + Sync>| {
        WorkerError::never(error::SINK_UNSUPPORTED_TYPE, "the schema has no form in delta").because(cause)
    };
    let plain: &Schema = schema;
    let columns: StructType = plain.try_into_kernel().map_err(|cause| broken(Box::new(cause)))?;
    let metadata = new_metadata(&columns, partition_by, std::iter::empty::<(&str, &str)>())
        .map_err(|cause| broken(Box::new(cause)))?;
    let mut lines = Lines::default();
    lines.push(&json!({ "commitInfo": {
        "timestamp": now, "operation": "CREATE TABLE", "operationParameters": {}, "engineInfo": ENGINE,
    }}))?;
    let protocol = match types::has_local_times(schema) {
        false => json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
        true => {
            let feature = ["timestampNtz"];
            json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": feature, "writerFeatures": feature })
        }
    };
    lines.push(&json!({ "protocol": protocol }))?;
    lines.push(&Action::Metadata(metadata))?;
    Ok(lines.text.into())
}

/// Lines of JSON.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
}

impl Lines {
    fn push(&mut self, line: &impl serde::Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.text, line).map_err(|cause| {
            WorkerError::never(error::INTERNAL, "a commit cannot be written as JSON").because(cause)
        })?;
        self.text.push(b'\n');
        Ok(())
    }
}

fn addition(file: &StagedFile, (data_change, now): (bool, i64)) -> Add {
    let mut tags = HashMap::new();
    if file.window != everywhere() {
        tags.insert(tag::WINDOW.to_owned(), Some(tag::write(&file.window)));
    }
    if let Some(task) = tag::task_of(&file.path) {
        tags.insert(tag::TASK.to_owned(), Some(task.to_owned()));
    }
    if let Some(clustering) = file.clustered.as_ref().and_then(tag::write_clustering) {
        tags.insert(tag::CLUSTERED.to_owned(), Some(clustering));
    }
    Add {
        path: file.path.clone(),
        partition_values: file.partition.clone().into_iter().collect(),
        size: signed(file.bytes),
        modification_time: now,
        data_change,
        stats: file.stats.as_ref().map(Value::to_string),
        tags: Some(tags),
        ..Add::default()
    }
}

fn removal(path: &str, file: Option<&ActiveFile>, (data_change, now): (bool, i64)) -> Remove {
    Remove {
        path: path.to_owned(),
        data_change,
        deletion_timestamp: Some(now),
        extended_file_metadata: file.map(|_| true),
        partition_values: file.map(|file| file.partition.clone().into_iter().collect()),
        size: file.map(|file| signed(file.bytes)),
        deletion_vector: file.and_then(|file| file.deletion_vector.as_deref().cloned()),
        ..Remove::default()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_commit_of_another_writer_is_read_past_what_is_unknown() {
        let text = br#"{"commitInfo":{"operation":"WRITE"}}
{"add":{"path":"day=2013-01-01/a%20b.parquet","partitionValues":{"day":"2013-01-01"},"size":3,"modificationTime":1,"dataChange":true}}

{"remove":{"path":"old%25.parquet","dataChange":true,"deletionTimestamp":1}}
{"domainMetadata":{"domain":"x","configuration":"","removed":false}}
{"somethingNew":{"a":1}}
{"txn":{"appId":"other","version":4}}"#;
        let commit = Commit::parse(text).unwrap();
        assert_eq!(commit.add[0].path, "day=2013-01-01/a b.parquet");
        assert_eq!(commit.remove, ["old%.parquet"]);
        assert_eq!(commit.txns, [("other".to_owned(), 4)]);
        assert!(!commit.redefines);
        assert!(Commit::parse(br#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#).unwrap().redefines);
        assert!(Commit::parse(b"{\"add\":").is_err());
    }

    #[test]
    fn a_commit_that_names_something_twice_is_not_plain() {
        let add = r#"{"add":{"path":"a","partitionValues":{},"size":3,"modificationTime":1,"dataChange":true}}"#;
        let remove = r#"{"remove":{"path":"a","dataChange":true,"deletionTimestamp":1}}"#;
        let other = r#"{"remove":{"path":"b","dataChange":true,"deletionTimestamp":1}}"#;
        let (first, second) = (r#"{"txn":{"appId":"x","version":1}}"#, r#"{"txn":{"appId":"x","version":2}}"#);
        let plain = |lines: &[&str]| Commit::parse(lines.join("\n").as_bytes()).unwrap().is_plain();
        assert!(plain(&[add, other, first]));
        for twice in [[add, add], [remove, add], [add, remove], [other, other], [first, second]] {
            assert!(!plain(&twice), "{twice:?}");
        }
    }
}
