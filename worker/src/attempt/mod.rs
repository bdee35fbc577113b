//! An attempt at a task, around whatever the task is: it takes a slot, stops when its claim or its time ends, survives
//! a panic, and tells the coordinator how it went.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tracing::{Instrument, Span, field};
use windrow_common::{
    claim::Token,
    clock::Clock,
    error, failpoint,
    id::{TaskId, WorkerId},
    intent::Seq,
    manifest::Proof,
    pipeline::Pipeline,
    task::Failure,
};

use crate::{
    compact::Compact,
    error::{Outcome, Result, WorkerError},
    ingest::{Ingest, Ingested, Leave, Staged},
    open::read_pipeline,
    session::{Answer, Assignment, ClaimGuard, Ended, Reports},
    telemetry::{self, AttemptResult, Metrics},
};

pub(crate) mod failure;
#[cfg(test)]
mod tests;

use failure::{caught, failure_of};

/// How often a seal that waits for others is said, each time for [`OUTAGE_GRACE`](crate::session::OUTAGE_GRACE): two days.
const MOST_ASKS: usize = 96;

/// Runs attempts, so many at a time.
pub struct Attempts {
    ingest: Ingest,
    compact: Compact,
    reports: Reports,
    slots: Semaphore,
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    metrics: Metrics,
}

/// How the work itself ended.
enum Worked {
    Done(Ingested),
    Failed(WorkerError),
    Stopped(Ended),
}

impl Attempts {
    pub fn new(
        (ingest, compact): (Ingest, Compact),
        reports: Reports,
        slots: usize,
        clock: Arc<dyn Clock>,
        (worker, metrics): (WorkerId, Metrics),
    ) -> Self {
        Self { ingest, compact, reports, slots: Semaphore::new(slots), clock, worker, metrics }
    }

    /// Tries a task from claim to seal.
    pub async fn run(&self, task: &Assignment, claim: ClaimGuard) -> AttemptResult {
        let pipeline = read_pipeline(&task.pipeline);
        let name = pipeline.as_ref().map_or("unknown", |pipeline| pipeline.name.as_str()).to_owned();
        let span = span_of(task, &name);
        let inside = telemetry::inside(&span, task.detail_apart, &name);
        claim.progress().runs_in(telemetry::traceparent(&inside));
        let result = async {
            let worked = match pipeline {
                Ok(pipeline) => self.work(&pipeline, task, &claim).await,
                Err(error) => Worked::Failed(error),
            };
            self.report(&name, worked, &claim).await
        };
        let result = result.instrument(inside).await;
        self.metrics.took(&name, claim.age(), claim.progress().listing());
        telemetry::ended(&span, result);
        self.metrics.attempt(&name, result);
        result
    }

    async fn work(&self, pipeline: &Pipeline, task: &Assignment, claim: &ClaimGuard) -> Worked {
        let work = async {
            let _slot = self.slots.acquire().await.map_err(|_| stopped())?;
            let leave: Arc<dyn Leave> =
                Arc::new(Asked { reports: self.reports.clone(), claim: (task.task, task.token) });
            let route = async {
                let progress = claim.progress();
                let staged = if task.compaction {
                    self.compact.run(pipeline, task, progress).await?
                } else if task.comparison {
                    self.ingest.compare(pipeline, task, (progress, &leave)).await?
                } else if task.recount {
                    self.ingest.recount(pipeline, task, (progress, leave.as_ref())).await?;
                    return Ok(Ingested::Compared);
                } else {
                    return self.ingest.run(pipeline, task, (progress, &leave)).await;
                };
                Ok(Ingested::Staged(Box::new(staged)))
            };
            let route = Box::pin(caught(route));
            match tokio::time::timeout(deadline_of(task), route).await {
                Ok(ended) => ended.flatten(),
                Err(_) => Err(too_late(task.deadline)),
            }
        };
        tokio::select! {
            biased;
            ended = claim.ended() => Worked::Stopped(ended),
            worked = work => worked.map_or_else(Worked::Failed, Worked::Done),
        }
    }

    async fn report(&self, pipeline: &str, worked: Worked, claim: &ClaimGuard) -> AttemptResult {
        match worked {
            Worked::Done(Ingested::Staged(staged)) => self.seal(pipeline, *staged, claim).await,
            Worked::Done(Ingested::Compared) => {
                tracing::debug!("nothing was to be moved");
                AttemptResult::Compared
            }
            Worked::Failed(error) => self.fail(&error, claim).await,
            Worked::Stopped(Ended::Revoked) => {
                tracing::warn!("the claim was taken back; the attempt is stopped");
                AttemptResult::Cancelled
            }
            // The session may outlive the claim: a process that was stopped for a while and goes on finds its claims
            // lapsed and its heartbeats answered. Told nothing, the coordinator would wait for this attempt for ever.
            Worked::Stopped(Ended::Lapsed) => {
                let lapsed = "nothing was heard of the coordinator for most of a lease";
                self.fail(&WorkerError::later(error::SESSION_LOST, lapsed), claim).await;
                AttemptResult::Cancelled
            }
        }
    }

    /// A claim that merely lapsed is still worth the question: its files are complete, and the ledger decides.
    async fn seal(&self, pipeline: &str, staged: Staged, claim: &ClaimGuard) -> AttemptResult {
        if let Err(injected) = failpoint::reach(failpoint::Point::Staged, pipeline).await {
            return self.fail(&injected.into(), claim).await;
        }
        let Staged { manifest, kept } = staged;
        let counts = manifest.counts;
        // Whoever cut its input keeps it open for the others, and is answered when they are done. That may take long.
        let asks = if kept.is_some() { MOST_ASKS } else { 1 };
        let sealed = async {
            let mut answer = Answer::Unanswered;
            for _ in 0..asks {
                answer = self.reports.seal(claim.task(), claim.token(), manifest.clone()).await;
                if answer != Answer::Unanswered {
                    break;
                }
            }
            answer
        };
        let answer = tokio::select! {
            biased;
            answer = sealed => answer,
            () = claim.revoked() => return AttemptResult::Cancelled,
        };
        drop(kept);
        match answer {
            Answer::Accepted => {
                tracing::debug!(rows = counts.rows_written, files = counts.files, "sealed");
                self.metrics.moved(pipeline, &counts);
                AttemptResult::Sealed
            }
            Answer::Refused => {
                tracing::warn!("the claim had passed on; what was staged is left to the sweep");
                AttemptResult::Fenced
            }
            Answer::Unanswered => AttemptResult::Unanswered,
        }
    }

    async fn fail(&self, error: &WorkerError, claim: &ClaimGuard) -> AttemptResult {
        let failure = Failure { took: claim.age(), ..failure_of(error, self.clock.now(), &self.worker) };
        let not_ready = error.outcome() == Outcome::NotReady;
        telemetry::failed(&failure.code);
        match not_ready {
            true => tracing::debug!(code = failure.code, reason = failure.message, "the source is not ready"),
            false => tracing::warn!(code = failure.code, error = failure.message, "the attempt failed"),
        }
        tokio::select! {
            biased;
            answer = self.reports.fail(claim.task(), claim.token(), failure, not_ready) => match answer {
                Answer::Refused => tracing::debug!("the claim had passed on before it failed"),
                Answer::Accepted | Answer::Unanswered => {}
            },
            // As for a seal: that the claim lapsed meanwhile makes it no less worth saying.
            () = claim.revoked() => {}
        }
        if not_ready { AttemptResult::NotReady } else { AttemptResult::Failed }
    }
}

/// What an attempt asks the coordinator on its way.
struct Asked {
    reports: Reports,
    claim: (TaskId, Token),
}

#[async_trait]
impl Leave for Asked {
    async fn turn(&self, rows: u64) -> Result<Duration> {
        let (task, token) = self.claim;
        let wait = self.reports.turn(task, token, rows).await;
        wait.ok_or_else(|| WorkerError::later(error::SESSION_LOST, "nobody said when the rows may go on"))
    }

    async fn cut(&self, parts: Vec<String>) -> Result<bool> {
        let (task, token) = self.claim;
        let cut = self.reports.cut(task, token, parts).await;
        cut.ok_or_else(|| WorkerError::later(error::SESSION_LOST, "nobody said who reads which part of the input"))
    }

    async fn proven(&self, proof: Proof, seq: Seq, found: String) -> Result<bool> {
        let (task, token) = self.claim;
        let done = self.reports.proven(task, token, (proof, seq, found)).await;
        done.ok_or_else(|| WorkerError::later(error::SESSION_LOST, "nobody heard what the source holds"))
    }
}

fn span_of(task: &Assignment, pipeline: &str) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "process",
        otel.name = format!("process {pipeline}"),
        otel.kind = "consumer",
        windrow.pipeline = pipeline,
        windrow.window.start = field::Empty,
        windrow.window.end = field::Empty,
        windrow.task.id = %task.task,
        windrow.attempt = task.attempt,
        windrow.fence = %task.token,
        windrow.windows = task.windows,
        windrow.backfill.id = field::Empty,
    );
    if let Some(backfill) = &task.backfill {
        span.record("windrow.backfill.id", backfill.as_str());
    }
    match task.window.instants() {
        Some((start, end)) => {
            span.record("windrow.window.start", field::display(start));
            span.record("windrow.window.end", field::display(end));
        }
        None => {
            span.record("windrow.window.start", task.window.start());
            span.record("windrow.window.end", task.window.end());
        }
    }
    telemetry::continue_trace(&span, task.trace.as_deref());
    telemetry::link(&span, task.claim_trace.as_deref().into_iter().chain(task.previous_trace.as_deref()));
    span
}

/// Without a deadline in the assignment the claim alone bounds the attempt.
fn deadline_of(task: &Assignment) -> Duration {
    if task.deadline.is_zero() { Duration::MAX } else { task.deadline }
}

fn too_late(deadline: Duration) -> WorkerError {
    WorkerError::later(error::DEADLINE, format!("the attempt took longer than {} s", deadline.as_secs()))
        .fix("plan fewer windows per task, or raise `limits.deadline`")
}

fn stopped() -> WorkerError {
    WorkerError::later(error::CANCELLED, "the worker has stopped")
}
