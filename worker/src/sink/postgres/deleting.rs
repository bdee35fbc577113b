//! The commit of a comparison of keys: rows whose keys are gone at the source are deleted, within the commit's transaction. A row goes
//! only if it is the very one that was compared: whoever has written it since, an upsert of ours or somebody else, has given it
//! another number, and then it stays. Nothing is remembered of what is deleted: a key that comes again is at the source again.

use arrow_schema::Schema;
use windrow_common::{error, intent::IntentBody, manifest::Manifest, marker::Markers};

use super::{
    PostgresSink,
    change::{Change, Deed},
    commit::Trouble,
    compare::{XMIN_COLUMN, same},
    load::{Load, Loaded, Stop, copied_columns, execute},
    session::Open,
    target,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{RelationKind, identifier},
    sink::Next,
};

/// The commit of one comparison, worked out. It publishes no window, so it names no task.
pub(super) fn prepare(sink: &PostgresSink, next: Next) -> Result<IntentBody> {
    let (Some(upsert), [(_, manifest)]) = (&sink.upsert, &next.tasks[..]) else {
        return Err(WorkerError::later(error::VERSION_SKEW, "a comparison of keys was sent for a commit with others"));
    };
    let Manifest { files, schema, .. } = manifest;
    let change = Change {
        form: Change::OF_COMPARED,
        name: sink.params.name.clone(),
        columns: Vec::new(),
        primary_key: Vec::new(),
        indexes: Vec::new(),
        alter: Vec::new(),
        tasks: vec![0; files.len()],
        verbatim: Vec::new(),
        shapes: Vec::new(),
        deed: Deed::Delete { key: upsert.key.clone() },
    };
    let unwritable = |cause| WorkerError::never(error::INTERNAL, "an intent cannot be written as JSON").because(cause);
    Ok(IntentBody {
        sink: sink.id.clone(),
        seq: next.seq,
        previous: next.previous,
        previous_aborted: next.previous_aborted,
        schema: schema.clone(),
        add: files.clone(),
        remove: Vec::new(),
        dead_letters: Vec::new(),
        change: Some(serde_json::to_value(change).map_err(unwritable)?),
        shows: None,
        markers: Markers::default(),
        tasks: Vec::new(),
    })
}

impl Load<'_> {
    /// What was staged, its keys in the form of text.
    pub(super) async fn load_deletions(&self, open: &Open, stage: &str, schema: &Schema) -> Result<u64, Stop> {
        let columns = copied_columns(schema, false)?;
        execute(open, &format!("CREATE UNLOGGED TABLE {stage} ({columns}) WITH (autovacuum_enabled = false)")).await?;
        let rows = self.copy(open, stage, schema).await?;
        execute(open, &format!("ANALYZE {stage}")).await?;
        Ok(rows)
    }
}

/// What the rows go with.
pub(super) struct Deleting<'a> {
    pub(super) change: &'a Change,
    pub(super) loaded: &'a Loaded,
    pub(super) key: &'a [String],
}

impl Deleting<'_> {
    /// Returns how many rows went.
    pub(super) async fn apply(&self, open: &Open) -> Result<u64, Trouble> {
        let name = &self.change.name;
        // Of a table that is gone, or is made anew later, nothing is left to delete.
        let Some(table) = target::read(open.client(), name, open.place()).await? else { return Ok(0) };
        if !matches!(table.kind, RelationKind::Table | RelationKind::Partitioned) {
            return Err(Trouble::Unfit(format!("{name} is no table, so no rows go from it")));
        }
        if let Some(lost) = self.key.iter().find(|column| !table.columns.contains_key(*column)) {
            return Err(Trouble::Unfit(format!("{name} has no column {lost:?} any more")));
        }
        let delete = format!(
            "DELETE FROM {} t USING windrow_stage.{} s WHERE {} AND t.xmin::text::bigint = s.{XMIN_COLUMN}",
            name.quoted(),
            identifier(&self.loaded.first.name),
            same(&table, self.key, "s")
        );
        Ok(open.client().execute(delete.as_str(), &[]).await?)
    }
}
