//! Sink `postgres`: a table, or for full loads a view of the newest of several tables, in a PostgreSQL database. Which intent
//! was applied last stands in a row of `windrow.head`, which the commit's transaction locks, judges by and moves. It may not
//! know the coordinator, sessions or Flight.
//!
//! Rows are staged as files like those of every sink; they are copied into the database when an intent is carried out,
//! before anything is locked.
//!
//! `params` what the pipeline may say; `types` and `layout` which rows fit; `verbatim` which go in as they are; `target` the
//! table as it is; `session` and `failure` the server; `change`, `staged` and `prepare` the next commit worked out; `load`,
//! `copy`, `commit`, `rows`, `version`, `again` the commit; `upsert` and `gone` the commit of rows with a key; `compare` and `deleting`
//! of those whose keys are gone at the source; `planned` what
//! columns become, for plans; `head` its record; `tidy` what is done after it; `vacuum` what is done beside it.

use std::{collections::BTreeSet, sync::Arc};

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use windrow_common::{
    deletes::Deletes,
    error,
    id::SinkId,
    intent::{Committed, IntentBody, Seq},
    manifest::{Digest, WriteMode},
    pipeline::{Pipeline, SinkSpec},
    schema::OnChange,
    upsert::Upsert,
};

use self::{
    change::Tell,
    commit::Wanted,
    params::{Checked, Decode, Params},
    session::{Database, Open, Purpose},
    target::Use,
};
use super::{
    Again, Applied, Capabilities, Deletions, Next, Note, Noted, Sink, SinkKind,
    cleaning::{Extent, Vacuumed},
    policy::{Policy, SchemaChanges},
    versions::Version,
};
use crate::{
    error::{Result, WorkerError},
    mapping::Stored,
    postgres,
    source::ParamError,
    stage::{Attempt, BatchStream, Layout},
    storage::Storage,
    verbatim::{Verbatim, values_needed},
};

mod again;
mod change;
mod commit;
mod compare;
mod copy;
mod deleting;
mod failure;
mod gone;
mod head;
mod layout;
mod load;
mod params;
mod planned;
mod prepare;
mod rows;
mod session;
mod staged;
mod target;
mod tidy;
mod types;
mod upsert;
mod vacuum;
mod verbatim;
mod version;

pub const KIND: SinkKind = SinkKind {
    kind: "postgres",
    formats: &["postgres"],
    connections: &[postgres::CONNECTION],
    staging: Storage::CONNECTIONS,
    capabilities: Capabilities {
        writes: &[WriteMode::Append, WriteMode::ReplaceWindow, WriteMode::ReplaceAll, WriteMode::Upsert],
        partitions: false,
        compaction: false,
        clustering: false,
        compares: true,
        delivery: "atomic",
    },
    schema_changes,
    lifecycle,
    build,
    schema: || schemars::schema_for!(Params),
};

fn schema_changes(spec: &SinkSpec) -> SchemaChanges {
    use OnChange::{Evolve, Freeze};
    let own = SchemaChanges {
        new_column: &[Evolve, Freeze],
        type_change: &[Evolve, Freeze],
        usual: Evolve,
        why: "a full load is a table of its own, so there is nothing its values could not fit",
    };
    match spec.write {
        WriteMode::ReplaceAll => own,
        WriteMode::Append | WriteMode::ReplaceWindow => {
            SchemaChanges { new_column: &OnChange::ALL, type_change: &OnChange::ALL, usual: Freeze, ..own }
        }
        WriteMode::Upsert => SchemaChanges {
            new_column: &[Freeze],
            type_change: &[Freeze],
            usual: Freeze,
            why: "rows that take each other's places by their keys have the table's columns",
        },
    }
}

fn lifecycle(pipeline: &Pipeline) -> Vec<String> {
    Checked::decode(&pipeline.sink.params).map(|params| params.lifecycle(pipeline.sink.write)).unwrap_or_default()
}

fn build(pipeline: &Pipeline) -> Result<Arc<dyn Sink>, Vec<ParamError>> {
    let mut params = Checked::decode(&pipeline.sink.params).map_err(|bad| vec![bad])?;
    if let Some(upsert) = &pipeline.sink.upsert {
        params.key_by(upsert).map_err(|bad| vec![bad])?;
    }
    let decoded = match pipeline.source.from.kind.as_str() {
        postgres::CONNECTION => values_needed(pipeline),
        _ => Some("the source is no PostgreSQL database"),
    };
    if let (Decode::Never, Some(why)) = (params.decode, decoded) {
        return Err(vec![ParamError {
            path: "decode".to_owned(),
            code: error::CONTRADICTION,
            message: format!("values have to be decoded: {why}"),
            fix: Some("remove `decode`".to_owned()),
        }]);
    }
    if (pipeline.sink.write == WriteMode::Upsert) != pipeline.sink.upsert.is_some() {
        return Err(vec![ParamError {
            path: "key".to_owned(),
            code: error::MISSING_KEY,
            message: "a key goes with `write: upsert`, and that with a key".to_owned(),
            fix: Some("name the columns of the key: `write: upsert, key: [id]`".to_owned()),
        }]);
    }
    let id = pipeline.sink.id();
    let Some(staging) = &pipeline.sink.staging else {
        return Err(vec![ParamError {
            path: "staging".to_owned(),
            code: error::MISSING_KEY,
            message: "nothing says where rows wait to be committed".to_owned(),
            fix: Some("add `staging` with the name of a connection to object storage or to a folder".to_owned()),
        }]);
    };
    let storage = Storage::open(staging, id.as_str(), true).map_err(|bad| vec![bad])?;
    Ok(Arc::new(PostgresSink {
        database: Database::new(pipeline.sink.to.clone(), id.clone()),
        id,
        storage,
        params,
        cursor: pipeline.source.cursor.clone(),
        write: pipeline.sink.write,
        upsert: pipeline.sink.upsert.clone(),
        deletes: pipeline.deletes.clone(),
        policy: Policy::of(pipeline, schema_changes),
    }))
}

/// A table of a database opened for one pipeline. It keeps no session: each commit has one of its own.
struct PostgresSink {
    id: SinkId,
    database: Database,
    storage: Storage,
    params: Checked,
    /// The column that tells a row's window, as the pipeline names it; the rows may lack it.
    cursor: Option<String>,
    write: WriteMode,
    /// Present if the mode is `upsert`.
    upsert: Option<Box<Upsert>>,
    /// Present if keys are compared.
    deletes: Option<Box<Deletes>>,
    policy: Policy,
}

#[async_trait]
impl Sink for PostgresSink {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn keeps_files(&self) -> bool {
        false
    }

    async fn layout(&self, schema: SchemaRef) -> Result<Layout> {
        let open = self.database.open(Purpose::Look).await?;
        let use_of = match self.write {
            WriteMode::Append => Use::Append,
            WriteMode::ReplaceWindow => Use::Replace,
            WriteMode::ReplaceAll => Use::Version,
            WriteMode::Upsert => Use::Upsert,
        };
        target::check_grants(open.client(), &self.params.name, use_of, open.place()).await?;
        let table = self.look(&open, use_of == Use::Version).await?;
        let verbatim = Verbatim::of_schema(&schema)?;
        let tags = |instants: bool| match (use_of, &table, self.tell(instants, table.as_ref())) {
            (Use::Replace, Some(table), Tell::Tag) => prepare::check_tag(table, self),
            _ => Ok(()),
        };
        if let Some(rows) = verbatim {
            if let Some(why) = self.misfit(&open, &rows, table.as_ref()).await? {
                // It was asked for a moment ago.
                return Err(WorkerError::later(error::NOT_VERBATIM, why).at(self.params.name.to_string()));
            }
            tags(self.in_verbatim(&rows))?;
            return Ok(verbatim::layout(rows));
        }
        verbatim::check_decoded(self.params.decode, &schema)?;
        let (wire, changes) = layout::wire(&schema, table.as_ref(), self.rules())?;
        if let Some(upsert) = &self.upsert {
            let (columns, at) = (layout::new_columns(&wire, &self.params)?, (&self.params.name, open.place()));
            target::check_keys(open.client(), at, table.as_ref(), &columns, upsert).await?;
        }
        if use_of == Use::Version {
            self.check_frozen(&open, &wire).await?;
        }
        if !changes.evolves.is_empty() {
            target::check_owner(open.client(), &self.params.name, open.place()).await?;
        }
        tags(self.in_rows(&wire))?;
        Ok(layout::layout(wire, changes))
    }

    async fn verbatim(&self, rows: &Verbatim) -> Result<Option<String>> {
        let open = self.database.open(Purpose::Look).await?;
        let table = self.look(&open, self.write == WriteMode::ReplaceAll).await?;
        match self.misfit(&open, rows, table.as_ref()).await? {
            Some(why) if self.params.decode == Decode::Never => {
                Err(WorkerError::never(error::NOT_VERBATIM, format!("`decode: never`, and {why}"))
                    .at(self.params.name.to_string())
                    .fix("give both sides the same types, or remove `decode`"))
            }
            misfit => Ok(misfit),
        }
    }

    async fn stored(&self, schema: SchemaRef) -> Result<Vec<Result<Stored>>> {
        let open = self.database.open(Purpose::Look).await?;
        let table = self.look(&open, self.write == WriteMode::ReplaceAll).await?;
        Ok(planned::stored(&schema, table.as_ref(), &self.params, &self.policy))
    }

    async fn probe(&self) -> Result<Option<Committed>> {
        // A session that may have to wait for one that stands still.
        let open = self.database.open(Purpose::Look).await?;
        Ok(head::probe(&open, &self.id).await?.committed())
    }

    /// Of full loads only: nothing else is held against it.
    async fn rows(&self) -> Result<Option<u64>> {
        if self.write != WriteMode::ReplaceAll {
            return Ok(None);
        }
        let open = self.database.open(Purpose::Look).await?;
        version::newest_rows(&open, self.id.as_str()).await
    }

    /// The rows are counted: a table takes changes by anybody.
    async fn shows(&self, seq: Seq, rows: u64) -> Result<bool> {
        let open = self.database.open(Purpose::Look).await?;
        let newest = head::probe(&open, &self.id).await?.committed();
        let seen = version::seen_rows(&open, &self.params.name).await?;
        Ok(newest.is_some_and(|newest| newest.is_of(seq)) && seen == Some(rows))
    }

    async fn prepare(&self, next: Next) -> Result<IntentBody> {
        prepare::prepare(self, next).await
    }

    async fn gone(&self, versions: &[Version]) -> Result<Vec<Option<String>>> {
        again::gone(self, versions).await
    }

    async fn show_again(&self, version: &Version, again: Again) -> Result<IntentBody> {
        again::show(self, version, again).await
    }

    async fn note(&self) -> Result<Note> {
        compare::note(self).await
    }

    async fn compare(&self, noted: Noted, attempt: &Attempt, keys: (SchemaRef, BatchStream)) -> Result<Deletions> {
        compare::compare(self, noted, attempt, keys).await
    }

    async fn delete(&self, next: Next) -> Result<IntentBody> {
        deleting::prepare(self, next)
    }

    async fn commit(&self, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        commit::settle(self, Wanted::Applied, body, digest).await
    }

    async fn abort(&self, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        commit::settle(self, Wanted::Aborted, body, digest).await
    }

    async fn referenced(&self) -> Result<BTreeSet<String>> {
        // What is committed is in the database; no file is read again.
        Ok(BTreeSet::new())
    }

    async fn maintain(&self, extent: Extent) -> Result<Vec<Vacuumed>> {
        vacuum::vacuum(self, extent).await
    }
}

impl PostgresSink {
    /// Of a full load whose columns are to stay those that the view shows.
    async fn check_frozen(&self, open: &Open, wire: &Schema) -> Result<()> {
        if ![self.policy.new_column, self.policy.type_change].contains(&OnChange::Freeze) {
            return Ok(());
        }
        match target::read(open.client(), &self.params.name, open.place()).await? {
            Some(view) => layout::check_frozen(wire, &view, &self.params, &self.policy),
            None => Ok(()),
        }
    }
}
