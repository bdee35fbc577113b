//! The committer: works out a sink's next commit when it is asked to, and carries recorded ones out. One thing at a time
//! per sink, in the order asked; different sinks side by side. It decides nothing: what may be committed the ledger
//! says, and what is committed the sink.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};
use tracing::Instrument;
use windrow_common::{
    clock::Clock,
    error,
    id::{SinkId, WorkerId},
};
use windrow_proto::v1;

use crate::{
    attempt::failure::{caught, failure_of},
    error::{Result, WorkerError},
    open::Connectors,
    sink::cleaning::Extent,
    telemetry::{self, Metrics},
};

mod added;
mod apply;
mod compact;
mod guarded;
mod history;
mod pins;
mod prepare;
mod sweep;
mod telling;
#[cfg(test)]
mod tests;
mod versions;

/// Sinks worked on at a time.
const SIDE_BY_SIDE: usize = 8;
/// Questions that may wait for their sink's turn; more are answered with a failure at once.
const MOST_WAITING: usize = 1_024;

/// Answers the coordinator's questions about sinks.
pub struct Committer {
    connectors: Arc<Connectors>,
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    metrics: Metrics,
    lanes: Lanes,
    lists: sweep::Lists,
    histories: history::Histories,
    backlogs: telling::Backlogs,
}

impl Committer {
    pub fn new(connectors: Arc<Connectors>, clock: Arc<dyn Clock>, worker: WorkerId, metrics: Metrics) -> Self {
        Self {
            connectors,
            clock,
            worker,
            metrics,
            lanes: Lanes::new(),
            lists: sweep::Lists::default(),
            histories: history::Histories::default(),
            backlogs: telling::Backlogs::default(),
        }
    }

    /// Works out a sink's next commit. Only invisible files are written.
    pub async fn prepare(&self, asked: v1::Prepare) -> v1::Prepared {
        let (request, sink) = (asked.request, asked.sink.clone());
        let span = tracing::info_span!(parent: None, "prepare", windrow.sink = sink, windrow.seq = asked.seq);
        belongs_to(&span, &asked.trace, &asked.links);
        let worked_out = async {
            let _turn = self.lanes.turn(&sink).await?;
            prepare::prepare(&self.connectors, asked).await
        };
        let outcome = match caught(worked_out.instrument(span)).await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok(draft) => v1::prepared::Outcome::Draft(draft),
            Err(error) => {
                tracing::warn!(sink, error = %error.cause, "no commit could be worked out");
                v1::prepared::Outcome::Failure(v1::PrepareFailure {
                    failure: Some((&failure_of(&error.cause, self.clock.now(), &self.worker)).into()),
                    task: error.task.map(|task| task.as_bytes().to_vec()).unwrap_or_default(),
                    staged_files_bad: error.cause.code() == error::STAGED_FILE_BAD || error.cause.stale().is_some(),
                })
            }
        };
        v1::Prepared { request, sink, outcome: Some(outcome) }
    }

    /// Lists what was staged at a sink long ago and what its table has given up, and keeps the list for
    /// [`Self::sweep_delete`]. What needs nobody's word is done at once.
    pub async fn sweep_list(&self, asked: v1::SweepList) -> v1::Listed {
        let (request, sink) = (asked.request, asked.sink.clone());
        let listed = async {
            let tables = self.maintain(&asked).await?;
            Ok((self.lists.list(&self.connectors, &asked, self.clock.now()).await?, tables))
        };
        let listed = caught(listed).await.unwrap_or_else(Err);
        let failure = listed.as_ref().err().map(|error| (&failure_of(error, self.clock.now(), &self.worker)).into());
        let (files, tables) = listed.unwrap_or_default();
        v1::Listed { request, sink, files, failure, tables }
    }

    /// Beside commits, not between them: none waits for it. Nothing depends on it, so only who asked for it is told of a failure.
    async fn maintain(&self, asked: &v1::SweepList) -> Result<Vec<v1::VacuumedTable>> {
        let Some(extent) = sweep::extent(asked) else { return Ok(Vec::new()) };
        let pipeline = crate::open::read_pipeline(&asked.pipeline)?;
        checked_sink(&asked.sink, &pipeline)?;
        let sink = self.connectors.sink(&pipeline)?;
        let tables = match sink.maintain(extent).await {
            Err(error) if extent == Extent::Declared => {
                tracing::warn!(sink = asked.sink, %error, "a table is not vacuumed; the next time makes up for it");
                Vec::new()
            }
            done => done?,
        };
        for table in &tables {
            let dead = (table.dead_before, table.dead_after);
            self.metrics.dead_rows(&asked.sink, &table.table, dead, table.left.is_none());
        }
        Ok(tables.into_iter().map(sweep::vacuumed).collect())
    }

    /// Takes away what of the list is neither live nor needed.
    pub async fn sweep_delete(&self, asked: v1::SweepDelete) -> v1::Swept {
        let (request, sink) = (asked.request, asked.sink.clone());
        let taken = async {
            // Not beside a commit: what it makes visible must be seen by the look at the table.
            let _turn = self.lanes.turn(&sink).await?;
            self.lists.delete(&self.connectors, &asked).await
        };
        let swept = caught(taken).await.unwrap_or_else(Err);
        let failure = swept.as_ref().err().map(|error| (&failure_of(error, self.clock.now(), &self.worker)).into());
        let (swept, report) = swept.unwrap_or_default();
        if let Some(report) = report.as_ref().filter(|_| !asked.only_look) {
            self.metrics.cleaned(&sink, report.files + report.log_files, report.bytes);
        }
        v1::Swept { request, sink, files: swept.files, bytes: swept.bytes, failure, report }
    }

    /// Tells whether a version is whole and certain to stay, now that its pin is recorded.
    pub async fn check_pin(&self, asked: v1::CheckPin) -> v1::PinChecked {
        let (request, sink) = (asked.request, asked.sink.clone());
        let looked = async {
            // Not while files are deleted: what goes is gone when it is looked for.
            let _turn = self.lanes.turn(&sink).await?;
            pins::check(&self.connectors, &asked).await
        };
        let found = caught(looked).await.unwrap_or_else(Err);
        let failure = found.as_ref().err().map(|error| (&failure_of(error, self.clock.now(), &self.worker)).into());
        let found = found.ok();
        v1::PinChecked {
            request,
            sink,
            version: found.map(|whole| whole.version.into()),
            files: found.map_or(0, |whole| whole.files),
            bytes: found.map_or(0, |whole| whole.bytes),
            failure,
        }
    }

    /// Tells what the sink itself knows of windrow's commits.
    pub async fn recall(&self, asked: v1::Recall) -> v1::Recalled {
        let (request, sink) = (asked.request, asked.sink.clone());
        let recalled = async {
            let _turn = self.lanes.turn(&sink).await?;
            history::recall(&self.histories, &self.connectors, &asked).await
        };
        let recalled = caught(recalled).await.unwrap_or_else(Err);
        let failure = recalled.as_ref().err().map(|error| (&failure_of(error, self.clock.now(), &self.worker)).into());
        let (newest, commits) = recalled.unwrap_or_default();
        v1::Recalled { request, sink, newest, commits, failure }
    }

    /// Tells which versions of a full load there are.
    pub async fn versions(&self, asked: v1::ListVersions) -> v1::VersionsListed {
        let (request, sink) = (asked.request, asked.sink.clone());
        let listed = async {
            let _turn = self.lanes.turn(&sink).await?;
            versions::list(&self.connectors, &asked).await
        };
        let listed = caught(listed).await.unwrap_or_else(Err);
        let failure = listed.as_ref().err().map(|error| (&failure_of(error, self.clock.now(), &self.worker)).into());
        v1::VersionsListed { request, sink, versions: listed.unwrap_or_default(), failure }
    }

    /// Tells which files of a table are worth rewriting. It may be asked beside a commit: what that changes the next look sees.
    pub async fn plan_compaction(&self, asked: v1::PlanCompaction) -> v1::CompactionPlanned {
        let (request, sink) = (asked.request, asked.sink.clone());
        let planned = caught(compact::plan(&self.connectors, &asked, self.clock.now())).await.unwrap_or_else(Err);
        let failure = planned.as_ref().err().map(|error| (&failure_of(error, self.clock.now(), &self.worker)).into());
        let (layout, groups) = planned.unwrap_or_default();
        v1::CompactionPlanned { request, sink, layout: Some(layout.into()), groups, failure }
    }

    /// Has receivers told of commits. It waits for no turn: it changes nothing at the sink, and receivers may take their time.
    pub async fn notify(&self, asked: v1::Notify) -> v1::Notified {
        let (request, sink) = (asked.request, asked.sink.clone());
        let teller = telling::Teller {
            backlogs: &self.backlogs,
            connectors: &self.connectors,
            clock: self.clock.as_ref(),
            metrics: &self.metrics,
        };
        let told = caught(async { Ok(teller.tell(&asked).await) }).await.unwrap_or_else(Err);
        let told = told.unwrap_or_else(|cause| telling::Told { up_to: asked.after, failure: Some(cause) });
        let failure = told.failure.map(|cause| (&failure_of(&cause, self.clock.now(), &self.worker)).into());
        v1::Notified { request, sink, up_to: told.up_to, failure }
    }

    /// Carries a recorded intent out, or spends its seq on an abort. Whatever goes wrong means that the outcome is
    /// unknown; asking again finds out.
    pub async fn commit(&self, asked: v1::Commit) -> v1::Settled {
        let (request, sink, seq) = (asked.request, asked.sink.clone(), asked.seq);
        let span = tracing::info_span!(
            parent: None,
            "commit",
            windrow.sink = sink,
            windrow.seq = seq,
            windrow.abort = asked.abort,
            windrow.version = tracing::field::Empty,
        );
        belongs_to(&span, &asked.trace, &asked.links);
        let carried_out = async {
            let _turn = self.lanes.turn(&sink).await?;
            apply::apply(&self.connectors, &asked).await
        };
        let applied = caught(carried_out.instrument(span.clone())).await.unwrap_or_else(Err);
        if let Err(error) = &applied {
            tracing::warn!(sink, seq, %error, "the outcome of a commit is unknown");
            if let Ok(pipeline) = crate::open::read_pipeline(&asked.pipeline) {
                self.metrics.commit_unknown(&pipeline.name);
            }
        }
        let (settlement, version) = apply::settlement(applied.as_ref().ok().map(|(applied, _)| applied));
        span.record("windrow.version", version);
        let trace = telemetry::traceparent(&span).unwrap_or_default();
        let why = applied.map_or_else(Some, |(_, why)| why);
        let failure = why.map(|error| (&failure_of(&error, self.clock.now(), &self.worker)).into());
        v1::Settled { request, sink, seq, settlement: settlement.into(), version, failure, trace }
    }
}

/// What is done for many tasks is in the trace of the first, and links the others.
fn belongs_to(span: &tracing::Span, parent: &str, links: &[String]) {
    telemetry::continue_trace(span, Some(parent).filter(|parent| !parent.is_empty()));
    telemetry::link(span, links.iter().map(String::as_str));
}

/// Whose turn it is, per sink and over all of them.
struct Lanes {
    sinks: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    side_by_side: Semaphore,
    waiting: Semaphore,
}

/// The right to work on a sink.
struct Turn<'a> {
    _sink: OwnedMutexGuard<()>,
    _place: SemaphorePermit<'a>,
}

impl Lanes {
    fn new() -> Self {
        Self {
            sinks: Mutex::default(),
            side_by_side: Semaphore::new(SIDE_BY_SIDE),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }

    /// Waits until everything asked of this sink before is done.
    async fn turn(&self, sink: &str) -> Result<Turn<'_>> {
        let busy = |_| WorkerError::later(error::INTERNAL, "too many sinks wait for this committer").at(sink);
        let _waiting = self.waiting.try_acquire().map_err(busy)?;
        let sink = self.lane(sink).lock_owned().await;
        let closed = |_| WorkerError::later(error::CANCELLED, "the committer has stopped");
        let place = self.side_by_side.acquire().await.map_err(closed)?;
        Ok(Turn { _sink: sink, _place: place })
    }

    fn lane(&self, sink: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|_, lane| Arc::strong_count(lane) > 1);
        sinks.entry(sink.to_owned()).or_default().clone()
    }
}

/// The sink a question is about; the pipeline that came with it must write there.
fn checked_sink(asked: &str, pipeline: &windrow_common::pipeline::Pipeline) -> Result<SinkId> {
    let found = pipeline.sink.id();
    match found.as_str() == asked {
        true => Ok(found),
        false => Err(WorkerError::never(
            error::INTERNAL,
            format!("the pipeline {} writes {found}, not {asked}", pipeline.name),
        )),
    }
}
