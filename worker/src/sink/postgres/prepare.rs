//! The next commit, worked out completely: which files are loaded, which windows go, what table they go into. Nothing is
//! written.

use arrow_schema::Schema;
use windrow_common::{
    error,
    intent::{IntentBody, IntentTask},
    manifest::{Manifest, StagedFile, WriteMode},
    marker::Markers,
    window::{Axis, Window},
};

use super::{
    PostgresSink,
    change::{Change, Deed, NewColumn, Tell, steps},
    failure::failed,
    layout, rows,
    session::{Open, Purpose},
    staged::Staged,
    target::{self, Table, WINDOW_COLUMN},
    verbatim, version,
};
use crate::{
    error::{Result, WorkerError},
    postgres::RelationKind,
    sink::Next,
    verbatim::Verbatim,
};

pub(super) async fn prepare(sink: &PostgresSink, next: Next) -> Result<IntentBody> {
    let open = sink.database.open(Purpose::Look).await?;
    let first = first_that_counts(&next.tasks)?;
    let replaces_all = next.tasks.get(first).is_some_and(|(_, manifest)| manifest.write == WriteMode::ReplaceAll);
    let table = sink.look(&open, replaces_all).await?;
    let staged = Staged::of(sink, &open, table.as_ref(), &next.tasks[first..]).await?;
    let upserts = next.tasks.iter().any(|(_, manifest)| manifest.write == WriteMode::Upsert);
    let deed = match (replaces_all, upserts) {
        (true, _) => Deed::Version { keep: sink.params.keep_versions },
        (false, true) => by_key(sink, &open, &next.tasks, (table.as_ref(), &staged.columns)).await?,
        (false, false) => in_the_table(sink, &open, &next.tasks, table.as_ref(), staged.instants).await?,
    };
    let taken = next.tasks.iter().enumerate().skip(first);
    let (tasks, add): (Vec<usize>, Vec<StagedFile>) =
        taken.flat_map(|(place, (_, manifest))| manifest.files.iter().map(move |file| (place, file.clone()))).unzip();
    let Staged { schema, columns, alter, verbatim, shapes, .. } = staged;
    let shapes = match verbatim.is_empty() {
        true => Vec::new(),
        false => tasks.iter().map(|task| shapes[task - first]).collect(),
    };
    let change = Change {
        form: match deed {
            Deed::Upsert { touch: true, .. } => Change::OF_COMPARED,
            _ => Change::form(&alter, &verbatim),
        },
        name: sink.params.name.clone(),
        columns,
        primary_key: sink.params.primary_key.clone(),
        indexes: sink.params.indexes.clone(),
        alter,
        tasks,
        verbatim,
        shapes,
        deed,
    };
    let unwritable = |cause| WorkerError::never(error::INTERNAL, "an intent cannot be written as JSON").because(cause);
    Ok(IntentBody {
        sink: sink.id.clone(),
        seq: next.seq,
        previous: next.previous,
        previous_aborted: next.previous_aborted,
        schema: serde_json::to_value(schema.as_ref()).map_err(unwritable)?,
        add,
        remove: Vec::new(),
        dead_letters: next.tasks.iter().flat_map(|(_, manifest)| manifest.dead_letters.clone()).collect(),
        change: Some(serde_json::to_value(change).map_err(unwritable)?),
        shows: None,
        markers: Markers::default(),
        tasks: next.tasks.into_iter().map(|(task, _)| task).collect(),
    })
}

/// Of tasks that replace everything only the last one is seen.
fn first_that_counts(tasks: &[(IntentTask, Manifest)]) -> Result<usize> {
    let last = tasks.iter().rposition(|(_, manifest)| manifest.write == WriteMode::ReplaceAll);
    match last {
        None => Ok(0),
        Some(last) if last + 1 == tasks.len() => Ok(last),
        Some(_) => Err(WorkerError::never(
            error::SINK_UNSUPPORTED,
            "one pipeline replaces everything here and another adds to it",
        )
        .fix("give each a table of its own")),
    }
}

/// How rows take the places of those of their keys.
async fn by_key(
    sink: &PostgresSink,
    open: &Open,
    tasks: &[(IntentTask, Manifest)],
    (table, columns): (Option<&Table>, &[NewColumn]),
) -> Result<Deed> {
    let all = tasks.iter().all(|(_, manifest)| manifest.write == WriteMode::Upsert);
    let Some(upsert) = sink.upsert.as_ref().filter(|_| all) else {
        return Err(WorkerError::never(
            error::SINK_UNSUPPORTED,
            "some rows go by their keys here and others by their windows",
        )
        .fix("give each pipeline a table of its own; after a change of `write`, load what failed again"));
    };
    let at = (&sink.params.name, open.place());
    target::check_keys(open.client(), at, table, columns, upsert).await?;
    Ok(Deed::Upsert {
        key: upsert.key.clone(),
        order: upsert.order.clone(),
        keep_deleted_seconds: sink.params.keep_deleted.map(|keep| keep.as_secs()),
        touch: sink.deletes.is_some(),
    })
}

/// How rows go into a table, and how they are found there when they are replaced.
async fn in_the_table(
    sink: &PostgresSink,
    open: &Open,
    tasks: &[(IntentTask, Manifest)],
    table: Option<&Table>,
    instants: bool,
) -> Result<Deed> {
    let windows: Vec<(Window, WriteMode)> =
        tasks.iter().map(|(task, manifest)| (task.window, manifest.write)).collect();
    let replaces = windows.iter().any(|(_, write)| *write == WriteMode::ReplaceWindow);
    let tell = match (sink.tell(instants, table), replaces) {
        // Rows that are appended by a window of time can be replaced later.
        (Tell::Tag, false) if table.is_none_or(|table| !table.columns.contains_key(WINDOW_COLUMN)) => Tell::Nothing,
        (Tell::Tag, false) if windows.iter().any(|(window, _)| window.axis() != Axis::Time) => Tell::Nothing,
        (tell, _) => tell,
    };
    if tell == Tell::Tag
        && let Some(table) = table
    {
        check_tag(table, sink)?;
        check_cuts(sink, open, &windows).await?;
    }
    Ok(Deed::Rows { steps: steps(&windows), tell })
}

/// A table that is there must be able to say which windows its rows are of.
pub(super) fn check_tag(table: &Table, sink: &PostgresSink) -> Result<()> {
    match table.columns.contains_key(WINDOW_COLUMN) {
        true => Ok(()),
        false => Err(WorkerError::never(
            error::SINK_UNSUPPORTED,
            format!("nothing tells which rows of {} are of a window", sink.params.name),
        )
        .fix(format!(
            "name a column of time as source.cursor and keep it in the rows, or run ALTER TABLE {} ADD {WINDOW_COLUMN} \
             tstzrange",
            sink.params.name.quoted()
        ))),
    }
}

/// Rows tagged with a wider stretch than the window that replaces them cannot be told apart.
async fn check_cuts(sink: &PostgresSink, open: &Open, windows: &[(Window, WriteMode)]) -> Result<()> {
    for (window, _) in windows.iter().filter(|(_, write)| *write == WriteMode::ReplaceWindow) {
        let Ok(range) = rows::range(window.start(), window.end()) else { continue };
        let query = format!(
            "SELECT {WINDOW_COLUMN}::text FROM {} WHERE {WINDOW_COLUMN} && {range} AND NOT {WINDOW_COLUMN} <@ {range} LIMIT 1",
            sink.params.name.quoted()
        );
        let found = open.client().query_opt(query.as_str(), &[]).await.map_err(|cause| failed(cause, open.place()))?;
        if let Some(found) = found {
            let wider: String = found.get(0);
            return Err(WorkerError::never(
                error::SINK_UNSUPPORTED,
                format!("rows of {wider} stand together, and {window} is to be replaced"),
            )
            .at(sink.params.name.to_string())
            .fix(
                "name a column of time as source.cursor and keep it in the rows, so that rows can be told apart; or \
                  replace whole stretches as they were loaded",
            ));
        }
    }
    Ok(())
}

impl PostgresSink {
    /// What the pipeline says of its rows.
    pub(super) fn rules(&self) -> layout::Rules<'_> {
        layout::Rules { params: &self.params, policy: &self.policy, marked: self.upsert.is_some() }
    }

    /// The table rows go into, if it is there; for a full load whether there is room for its view.
    pub(super) async fn look(&self, open: &Open, replaces_all: bool) -> Result<Option<Table>> {
        if replaces_all {
            version::check_foreign(open, &self.params.name, self.id.as_str()).await?;
            return Ok(None);
        }
        let table = target::read(open.client(), &self.params.name, open.place()).await?;
        let fits = |table: &Table| matches!(table.kind, RelationKind::Table | RelationKind::Partitioned);
        match table.as_ref().is_none_or(fits) {
            true => Ok(table),
            false => Err(WorkerError::never(
                error::SINK_UNSUPPORTED,
                format!("{} is no table, so no rows go into it", self.params.name),
            )
            .at(open.place().to_owned())
            .fix("write to another table; the view of a full load is written by full loads alone")),
        }
    }

    /// Whether the rows have the cursor, and it tells instants.
    pub(super) fn in_rows(&self, schema: &Schema) -> bool {
        let instant =
            |name: &String| schema.field_with_name(name).is_ok_and(|field| super::types::is_instant(field.data_type()));
        self.cursor.as_ref().is_some_and(instant)
    }

    /// The same of rows that come as they are.
    pub(super) fn in_verbatim(&self, rows: &Verbatim) -> bool {
        self.cursor.as_ref().is_some_and(|name| verbatim::has_instant(rows, name))
    }

    /// By what a row's window is told.
    pub(super) fn tell(&self, in_rows: bool, table: Option<&Table>) -> Tell {
        use super::types::Base;
        let in_table = |name: &String| {
            let column = table.and_then(|table| table.columns.get(name));
            column.is_none_or(|column| matches!(column.target.base, Base::Timestamptz | Base::Timestamp | Base::Int8))
        };
        match self.cursor.as_ref().filter(|name| in_rows && in_table(name)) {
            Some(cursor) => Tell::Cursor(cursor.clone()),
            None => Tell::Tag,
        }
    }
}
