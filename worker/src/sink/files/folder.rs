//! The files of a folder that others fill: found by a listing, since no log tells of them. What is hidden, of another format, in
//! the log already, or so young that somebody may still be writing it, is left alone.

use std::{collections::BTreeMap, time::Duration};

use futures::TryStreamExt;
use object_store::ObjectMeta;
use windrow_common::error;

use super::{
    FilesSink,
    state::{Retired, State},
};
use crate::{
    error::{Result, WorkerError},
    sink::regroup::Found,
    stage::FileFormat,
    storage::{Storage, sink_error},
};

/// Most files one look takes up; the next one goes on with what is left.
const MOST_FILES: usize = 100_000;

/// What the pipeline says of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Others {
    /// Files that were changed less long ago are left alone.
    pub(super) quiet: Duration,
}

/// A file of others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Other {
    path: String,
    bytes: u64,
    version: String,
    modified: i64,
    partition: BTreeMap<String, Option<String>>,
}

impl Other {
    pub(super) fn found(&self) -> Found<'_> {
        Found {
            path: &self.path,
            bytes: self.bytes,
            rows: None,
            version: Some(&self.version),
            partition: &self.partition,
            window: None,
            told_apart: false,
            modified: self.modified,
            clustered: None,
        }
    }
}

/// Those that nobody has rewritten yet. Fails where one changed after it was rewritten: nobody could say then which of its rows
/// are counted.
pub(super) async fn find(sink: &FilesSink, state: &State, others: Others) -> Result<Vec<Other>> {
    check_no_table(&sink.storage).await?;
    let youngest = sink.now().saturating_sub(i64::try_from(others.quiet.as_millis()).unwrap_or(i64::MAX));
    let endings = endings(&sink.settings.format);
    let listed = sink.storage.objects().list(None).map_err(|cause| sink_error(cause, ""));
    let found = listed.try_filter_map(|meta| {
        let path = meta.location.to_string();
        if is_hidden(&path) || !endings.iter().any(|ending| path.ends_with(ending)) {
            return std::future::ready(Ok(None));
        }
        let other = match state.retired.get(&path) {
            Some(retired) => check_unchanged(&path, &meta, retired).map(|()| None),
            None if state.files.contains_key(&path) || meta.last_modified.timestamp_millis() > youngest => Ok(None),
            None => Ok(Some(other(path, &meta))),
        };
        std::future::ready(other)
    });
    let mut found = found.try_take_while({
        let mut taken = 0_usize;
        move |_| {
            taken += 1;
            std::future::ready(Ok(taken <= MOST_FILES))
        }
    });
    let mut files = Vec::new();
    while let Some(other) = found.try_next().await? {
        files.push(other);
    }
    Ok(files)
}

/// What names of the format end in.
fn endings(format: &FileFormat) -> &'static [&'static str] {
    match format {
        FileFormat::Parquet { .. } => &[".parquet"],
        FileFormat::Csv { .. } => &[".csv"],
        FileFormat::JsonLines => &[".json", ".jsonl", ".ndjson"],
        FileFormat::Lines | FileFormat::Verbatim(_) => &[".txt"],
    }
}

/// What an object is now; of another content it is another.
pub(super) fn version(meta: &ObjectMeta) -> String {
    meta.e_tag
        .clone()
        .filter(|tag| !tag.is_empty())
        .unwrap_or_else(|| format!("{}-{}", meta.size, meta.last_modified.timestamp_micros()))
}

/// Whether engines leave a path alone: some part of it begins with `_` or `.`, and is no partition.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.') || part.starts_with('_') && !part.contains('='))
}

fn other(path: String, meta: &ObjectMeta) -> Other {
    Other {
        bytes: meta.size,
        version: version(meta),
        modified: meta.last_modified.timestamp_millis(),
        partition: partition(&path),
        path,
    }
}

/// The values its folders tell. Files of two folders never become one, so a folder that tells none is told by its name.
fn partition(path: &str) -> BTreeMap<String, Option<String>> {
    let Some((folders, _)) = path.rsplit_once('/') else { return BTreeMap::new() };
    let told = |part: &str| part.split_once('=').map(|(column, value)| (column.to_owned(), Some(value.to_owned())));
    let told: Option<BTreeMap<_, _>> = folders.split('/').map(told).collect();
    told.filter(|told| told.len() == folders.split('/').count())
        .unwrap_or_else(|| [("folder".to_owned(), Some(folders.to_owned()))].into())
}

fn check_unchanged(path: &str, meta: &ObjectMeta, retired: &Retired) -> Result<()> {
    if retired.version.as_ref().is_none_or(|version_then| *version_then == version(meta)) {
        return Ok(());
    }
    Err(WorkerError::never(error::SINK_CONFLICT, "a file has changed after its rows were rewritten")
        .at(path.to_owned())
        .fix(
            "put new rows into new files: move this one's to a new name, and put the file back as it was or delete it",
        ))
}

/// A table with a log of its own is not compacted behind its back.
async fn check_no_table(storage: &Storage) -> Result<()> {
    for (log, fix) in [
        ("_delta_log", "write `format: delta`"),
        ("metadata", "compact an Iceberg table by the engine that writes it"),
        (".hoodie", "compact a Hudi table by the engine that writes it"),
    ] {
        let inside = storage.objects().list(Some(&log.into())).map_err(|cause| sink_error(cause, log));
        let is_log = |path: &str| log != "metadata" || path.ends_with(".metadata.json");
        let mut logs = std::pin::pin!(inside.try_filter(|meta| std::future::ready(is_log(meta.location.as_ref()))));
        if let Some(found) = logs.try_next().await? {
            return Err(WorkerError::never(
                error::COMPACTION_UNSUPPORTED,
                "the folder is a table with a log of its own",
            )
            .at(found.location.to_string())
            .fix(fix));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_hide_is_left_alone() {
        for (path, hidden) in [
            ("a.parquet", false),
            ("day=1/a.parquet", false),
            ("_day=1/a.parquet", false),
            ("_SUCCESS", true),
            ("_temporary/0/a.parquet", true),
            ("day=1/.a.parquet.crc", true),
            (".spark/a.parquet", true),
        ] {
            assert_eq!(is_hidden(path), hidden, "{path}");
        }
    }

    #[test]
    fn each_folder_is_a_partition_of_its_own() {
        let told = |path| partition(path).into_iter().map(|(k, v)| (k, v.unwrap_or_default())).collect::<Vec<_>>();
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert!(told("a.csv").is_empty());
        assert_eq!(told("day=1/hour=2/a.csv"), [pair("day", "1"), pair("hour", "2")]);
        assert_eq!(told("2024/day=1/a.csv"), [pair("folder", "2024/day=1")]);
    }
}
