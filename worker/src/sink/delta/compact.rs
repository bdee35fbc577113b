//! Compaction of a Delta table: which of its files are worth rewriting, which the log in memory tells; their rows in fewer files;
//! and the commit by which these take their place, `dataChange = false`. Of all that may have happened to the table meanwhile one thing
//! matters: whether the files that were rewritten are still part of it. What was added beside them does not concern them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::AtomicU32,
};

use windrow_common::{compaction::Clustering, error, intent::IntentBody, manifest::Input, marker::Markers};

use super::{
    DeltaSink,
    table::{ActiveFile, Table},
    tag,
};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Next,
        change::without,
        regroup::{
            Form, Found, Group, Packed, Packing, Regrouper, Rewrites, Rewritten, Set, Working, check_clustering, gone,
            pack_by_weight,
        },
    },
};

impl DeltaSink {
    pub(super) async fn worth_rewriting(&self, rule: &Packing) -> Result<Packed> {
        let Some(table) = self.newest().await? else { return Ok(Packed::default()) };
        let columns = without(&table.schema, &table.partition_by);
        if let Some(major) = &rule.major {
            check_clustering(&columns, &major.clustering)?;
        }
        let files = || table.files.iter().filter(|(path, file)| is_ours(path, file)).map(found);
        Ok(pack_by_weight(&self.id, files, rule, (&self.storage, Some(&columns))).await)
    }

    pub(super) async fn regroup(
        &self,
        group: &Group,
        Working { attempt, read, room }: Working<'_>,
    ) -> Result<Rewritten> {
        let Some(table) = self.newest().await? else { return Err(gone("the table")) };
        check_members(&table, group)?;
        let schema = table.schema.clone();
        let regrouper = Regrouper {
            storage: &self.storage,
            form: Form::Table(without(&schema, &table.partition_by)),
            folder: str::to_owned,
            suffix: "",
            attempt,
            read,
            room,
            count: AtomicU32::new(0),
        };
        match regrouper.rewrite(group).await {
            Ok(files) => Ok(Rewritten { files, schema: schema_json(&table)? }),
            // A file that was vacuumed away while it was read is no fault of the table's.
            Err(cause) => match self.newest().await?.map(|table| check_members(&table, group)) {
                Some(Ok(())) | None => Err(cause),
                Some(Err(gone)) => Err(gone.because(cause)),
            },
        }
    }

    pub(super) async fn work_out_rewrite(&self, next: Next) -> Result<IntentBody> {
        let Some(table) = self.newest().await? else {
            let first = next.tasks.first().map(|(task, _)| task.task);
            return Err(first.into_iter().fold(gone("the table"), WorkerError::staged_again));
        };
        let mut remove: BTreeSet<String> = BTreeSet::new();
        for (task, manifest) in &next.tasks {
            for input in &manifest.inputs {
                // Of two groups with a file in common one was too late.
                if !is_as_before(&table, input) || !remove.insert(input.name.clone()) {
                    return Err(gone(&input.name).staged_again(task.task));
                }
            }
        }
        let rewrites = Rewrites::by(next.tasks.iter().map(|(task, _)| task));
        Ok(IntentBody {
            sink: self.id.clone(),
            seq: next.seq,
            previous: next.previous,
            previous_aborted: next.previous_aborted,
            tasks: Vec::new(),
            schema: schema_json(&table)?,
            add: next.tasks.into_iter().flat_map(|(_, manifest)| manifest.files).collect(),
            remove: remove.into_iter().collect(),
            dead_letters: Vec::new(),
            change: Some(rewrites.told()?),
            shows: None,
            markers: Markers::default(),
        })
    }
}

fn found<'a>((path, file): (&'a String, &'a ActiveFile)) -> Found<'a> {
    Found {
        path,
        bytes: file.bytes,
        rows: file.rows,
        version: None,
        partition: &file.partition,
        window: file.window,
        told_apart: file.told_apart,
        modified: file.modified,
        clustered: set(path, file.clustered.as_deref()),
    }
}

/// Files that one task clustered are a set: where rows of a partition and kin were clustered again, another task did so.
fn set<'a>(path: &'a str, by: Option<&'a Clustering>) -> Option<Set<'a>> {
    Some(Set { by: by?, of: tag::task_of(path)? })
}

/// Whether windrow can rewrite a file: it lies in the table's folder, and all of its rows are rows of the table.
fn is_ours(path: &str, file: &ActiveFile) -> bool {
    file.deletion_vector.is_none() && !path.contains("://") && !path.starts_with('/')
}

fn check_members(table: &Table, group: &Group) -> Result<()> {
    let files: &HashMap<String, ActiveFile> = &table.files;
    let stands = |path: &str, bytes: u64| {
        files.get(path).is_some_and(|file| file.bytes == bytes && file.deletion_vector.is_none())
    };
    match group.members().find(|member| !stands(&member.path, member.bytes)) {
        None => Ok(()),
        Some(member) => Err(gone(&member.path)),
    }
}

fn is_as_before(table: &Table, input: &Input) -> bool {
    let file = table.files.get(&input.name);
    file.is_some_and(|file| file.bytes == input.bytes && file.deletion_vector.is_none())
}

fn schema_json(table: &Table) -> Result<serde_json::Value> {
    serde_json::to_value(table.schema.as_ref())
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a schema cannot be written as JSON").because(cause))
}
