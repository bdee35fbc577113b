//! Sink `delta`: a Delta table whose log holds, in the same atomic step as the data, which intent was applied last.
//! delta-rs loads tables and writes checkpoints; the commit is ours: exactly the version after the one the rule was
//! judged on, created or not at all. It may not know the coordinator, sessions or Flight.
//!
//! `params` what the pipeline may say; `types` and `guard` which rows and tables fit; `log`, `actions`, `table` the
//! log in storage, as text, in memory; `prepare` the next commit worked out, by `sink::change`; `again` that of a rollback,
//! `compact` one that rewrites files; `commit` the commit; `evolution` a commit that changes the table's columns; `planned` what
//! columns become, for plans; `checkpoint` what is done after it; `removed`, `expired` and `clean` what goes and what pinned
//! versions need.

use std::{collections::BTreeSet, sync::Arc};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};
use windrow_common::{
    clock::{Clock, SystemClock},
    error,
    id::SinkId,
    intent::{Committed, IntentBody, Seq},
    manifest::{Digest, WriteMode},
    pin,
    pipeline::{Pipeline, SinkSpec},
};

use self::{
    actions::Deed,
    again::Ahead,
    checkpoint::Checkpoints,
    log::Log,
    params::Params,
    table::{Advance, AppIds, Reading, Table},
};
use super::{
    Again, Applied, Capabilities, Next, Sink, SinkKind,
    cleaning::{Extent, Object, Stale, Whole, played_ms},
    policy::{Policy, SchemaChanges},
    regroup::{Group, Packed, Packing, Rewritten, Working},
    versions::Version,
};
use crate::{
    error::{Result, WorkerError},
    mapping::Stored,
    source::ParamError,
    stage::Layout,
    storage::Storage,
};

mod actions;
mod again;
mod checkpoint;
mod clean;
mod commit;
mod compact;
mod evolution;
mod expired;
mod guard;
mod layout;
mod log;
mod params;
mod planned;
mod prepare;
mod removed;
mod table;
mod tag;
#[cfg(test)]
mod tests;
mod types;

pub const KIND: SinkKind = SinkKind {
    kind: "delta",
    formats: &["delta"],
    connections: Storage::CONNECTIONS,
    staging: &[],
    capabilities: Capabilities {
        writes: &[WriteMode::Append, WriteMode::ReplaceWindow, WriteMode::ReplaceAll],
        partitions: true,
        compaction: true,
        clustering: true,
        compares: false,
        delivery: "atomic",
    },
    schema_changes,
    lifecycle,
    build,
    schema: || schemars::schema_for!(Params),
};

pub(super) fn schema_changes(spec: &SinkSpec) -> SchemaChanges {
    SchemaChanges::of_files(
        spec.write,
        "Delta tables widen a type only by a feature (typeWidening) that few readers know",
    )
}

fn lifecycle(pipeline: &Pipeline) -> Vec<String> {
    Params::decode(&pipeline.sink.params).map(|params| params.lifecycle(pipeline)).unwrap_or_default()
}

fn build(pipeline: &Pipeline) -> Result<Arc<dyn Sink>, Vec<ParamError>> {
    let params = Params::of(pipeline).map_err(|bad| vec![bad])?;
    let storage = Storage::open(&pipeline.sink.to, &params.path, true).map_err(|bad| vec![bad])?;
    Ok(Arc::new(DeltaSink::new(pipeline, params, storage)))
}

/// The pipeline's sink over a store of the caller's own, rooted at the table.
///
/// # Errors
/// What is wrong with the parameters.
pub fn over(pipeline: &Pipeline, storage: Storage) -> Result<Arc<dyn Sink>, Vec<ParamError>> {
    let params = Params::of(pipeline).map_err(|bad| vec![bad])?;
    Ok(Arc::new(DeltaSink::new(pipeline, params, storage)))
}

/// A Delta table opened for one pipeline.
pub struct DeltaSink {
    id: SinkId,
    storage: Storage,
    params: Params,
    write: WriteMode,
    /// The column that tells a row's window, as the pipeline names it; the table may lack it.
    cursor: Option<String>,
    policy: Policy,
    log: Log,
    /// `None` until it is loaded, and while there is no table.
    table: Mutex<Option<Arc<Table>>>,
    checkpoints: Checkpoints,
    clock: SystemClock,
    /// How much later than it is a test has this sink believe it is, in milliseconds.
    later: i64,
}

#[async_trait]
impl Sink for DeltaSink {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    async fn layout(&self, schema: SchemaRef) -> Result<Layout> {
        self.storage.check_conditional_writes().await?;
        let table = self.newest().await?;
        layout::layout(&schema, table.as_deref(), &self.params, (self.cursor.as_deref(), &self.policy))
    }

    async fn stored(&self, schema: SchemaRef) -> Result<Vec<Result<Stored>>> {
        let table = self.newest().await?;
        Ok(planned::stored(&schema, table.as_deref(), &self.policy))
    }

    async fn probe(&self) -> Result<Option<Committed>> {
        match self.newest().await? {
            Some(table) => self.committed(&table),
            None => Ok(None),
        }
    }

    async fn rows(&self) -> Result<Option<u64>> {
        let table = self.newest().await?;
        Ok(table.map_or(Some(0), |table| table.files.values().map(|file| file.rows).sum()))
    }

    /// The newest version of the table has to be the commit itself: whoever else wrote one may have changed a row.
    async fn shows(&self, seq: Seq, rows: u64) -> Result<bool> {
        let Some(table) = self.newest().await? else { return Ok(false) };
        let applied = self.committed(&table)?.is_some_and(|newest| newest.is_of(seq));
        let Some((commit, _)) = self.log.read(table.version).await?.filter(|_| applied) else { return Ok(false) };
        let app = &self.log.reading().apps.seq;
        let own = commit.txns.iter().any(|(id, version)| id == app && u64::try_from(*version) == Ok(seq));
        Ok(own && self.rows().await? == Some(rows))
    }

    async fn prepare(&self, next: Next) -> Result<IntentBody> {
        self.storage.check_conditional_writes().await?;
        self.work_out(next).await
    }

    async fn small_files(&self, rule: &Packing) -> Result<Packed> {
        self.worth_rewriting(rule).await
    }

    async fn rewrite(&self, group: &Group, working: Working<'_>) -> Result<Rewritten> {
        self.regroup(group, working).await
    }

    async fn replace_files(&self, next: Next) -> Result<IntentBody> {
        self.storage.check_conditional_writes().await?;
        self.work_out_rewrite(next).await
    }

    async fn gone(&self, versions: &[Version]) -> Result<Vec<Option<String>>> {
        self.why_gone(versions).await
    }

    async fn show_again(&self, version: &Version, again: Again) -> Result<IntentBody> {
        self.storage.check_conditional_writes().await?;
        self.work_out_again(version, again).await
    }

    async fn commit(&self, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        self.storage.check_conditional_writes().await?;
        self.carry_out(Deed::Apply, body, digest).await
    }

    async fn abort(&self, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        self.storage.check_conditional_writes().await?;
        self.carry_out(Deed::Abort, body, digest).await
    }

    async fn referenced(&self) -> Result<BTreeSet<String>> {
        self.referred_to(self.probe().await?, Ahead::Now).await
    }

    async fn stale(&self, extent: Extent) -> Result<Stale> {
        self.given_up(extent).await
    }

    async fn expired(&self, pins: &[pin::Version]) -> Result<Vec<Object>> {
        self.expired_log(pins).await
    }

    async fn needed(&self, version: pin::Version) -> Result<BTreeSet<String>> {
        Ok(self.files_of(version).await?.into_keys().collect())
    }

    async fn whole(&self, wanted: pin::Wanted, pins: &[pin::Version]) -> Result<Whole> {
        self.look_whole(wanted, pins).await
    }
}

impl DeltaSink {
    fn new(pipeline: &Pipeline, params: Params, storage: Storage) -> Self {
        let cursor = pipeline.source.cursor.clone();
        let id = pipeline.sink.id();
        let reading = Reading { apps: AppIds::of(&id), cursor: cursor.clone() };
        let log = Log::new(storage.clone(), reading);
        Self {
            id,
            checkpoints: Checkpoints::of(log.clone()),
            storage,
            params,
            write: pipeline.sink.write,
            cursor,
            policy: Policy::of(pipeline, schema_changes),
            log,
            table: Mutex::new(None),
            clock: SystemClock::new(),
            later: played_ms(),
        }
    }

    /// The newest version of the table, by reading the commits made since the last look.
    async fn newest(&self) -> Result<Option<Arc<Table>>> {
        let mut table = self.table.lock().await;
        self.catch_up(&mut table).await?;
        Ok(table.clone())
    }

    /// Brings the table in memory to the newest version. A log that is not the continuation of what was read (the table
    /// was restored or made anew) is loaded from the start, and so is one whose schema or protocol changed.
    async fn catch_up(&self, held: &mut MutexGuard<'_, Option<Arc<Table>>>) -> Result<()> {
        let Some(mut table) = held.take() else {
            **held = self.log.load().await?.map(Arc::new);
            return Ok(());
        };
        while let Some((commit, stamp)) = self.log.read(table.version + 1).await? {
            if Arc::make_mut(&mut table).apply(&commit, stamp, self.log.reading()) == Advance::Reload {
                **held = self.log.load().await?.map(Arc::new);
                return Ok(());
            }
        }
        let continued = match (&table.stamp, self.log.stamp(table.version).await?) {
            (Some(known), Some(found)) => known.agrees(&found),
            (known, found) => known.is_none() && found.is_none(),
        };
        **held = if continued { Some(table) } else { self.log.load().await?.map(Arc::new) };
        Ok(())
    }

    fn committed(&self, table: &Table) -> Result<Option<Committed>> {
        table.committed(&self.log.reading().apps).map_err(|_| {
            WorkerError::never(error::SINK_FORKED, "the table's record of the last commit is incomplete")
                .at(self.storage.url().to_string())
                .fix("look at the table's history: a txn record of windrow's was removed or changed")
        })
    }

    /// Milliseconds since 1970, for people and for retention; nothing that is safe rests on it.
    fn now(&self) -> i64 {
        self.clock.now().as_millisecond() + self.later
    }
}
