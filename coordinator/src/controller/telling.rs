//! Having receivers told of what is published. The committer of a sink has the credentials, so it is the one that is asked, one
//! question at a time.

use std::{collections::BTreeMap, time::Duration};

use tracing::{info, warn};
use windrow_common::{
    id::{SinkId, WorkerId},
    intent::Seq,
    task::Failure,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{Controller, question::Question};
use crate::{
    core::telling::{self, Todo},
    ledger::LedgerError,
};

/// The version of the session protocol that knows of it.
const PROTOCOL: u32 = 3;
/// How long an answer is waited for. A committer ends after a minute, whatever receivers do.
const PATIENCE: Duration = Duration::from_secs(180);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is under way, by sink. It lives in the leader's memory: a new leader asks anew, and some is told twice.
#[derive(Default)]
pub(super) struct Telling(BTreeMap<SinkId, Run>);

#[derive(Default)]
struct Run {
    question: Question,
    not_before: Duration,
    failures: u32,
}

impl Telling {
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.0.values_mut().for_each(|run| run.question.lost(gone));
    }
}

impl Run {
    fn may_ask(&mut self, now: Duration) -> bool {
        !self.question.is_open(now) && self.not_before <= now
    }

    fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_secs(1_u64 << self.failures.min(16).saturating_sub(1));
        self.not_before = now + pause.min(LONGEST_PAUSE);
    }
}

impl Controller {
    pub(super) async fn tell_receivers(&mut self) -> Result<(), LedgerError> {
        for sink in telling::sinks(&self.table) {
            match telling::next(&self.table, &sink) {
                None => {}
                Some(Todo::Note(change)) => drop(self.persist(&change).await?),
                Some(Todo::Tell { after, up_to }) => self.have_told(&sink, after, up_to).await?,
            }
        }
        Ok(())
    }

    async fn have_told(&mut self, sink: &SinkId, after: Seq, up_to: Seq) -> Result<(), LedgerError> {
        let now = self.clock.elapsed();
        if !self.telling.0.entry(sink.clone()).or_default().may_ask(now) {
            return Ok(());
        }
        let Some(worker) = self.committer_of(sink).await? else { return Ok(()) };
        if !self.workers.speaks(&worker, PROTOCOL) {
            return Ok(());
        }
        let pipelines = telling::receivers(&self.table, sink);
        let pipelines = pipelines.filter_map(|entry| serde_json::to_vec(entry.spec()).ok()).collect();
        let request = self.next_request();
        if let Some(run) = self.telling.0.get_mut(sink) {
            run.question.ask(request, worker.clone(), now + PATIENCE);
        }
        self.tell(&worker, Out::Notify(v1::Notify { request, sink: sink.to_string(), pipelines, after, up_to }));
        Ok(())
    }

    /// The committer has told receivers of all commits up to one.
    pub(super) async fn receivers_told(
        &mut self,
        worker: &WorkerId,
        request: u64,
        (sink, up_to): (SinkId, Seq),
        failure: Option<Failure>,
    ) -> Result<(), LedgerError> {
        let now = self.clock.elapsed();
        let Some(run) = self.telling.0.get_mut(&sink) else { return Ok(()) };
        if !run.question.answered(worker, request) {
            return Ok(());
        }
        match failure {
            None => *run = Run::default(),
            Some(failure) => {
                if run.failures == 0 {
                    warn!(%sink, code = %failure.code, message = %failure.message, "receivers cannot be told");
                }
                run.failed(now);
            }
        }
        match telling::told(&self.table, &sink, up_to) {
            Some(change) => {
                info!(%sink, up_to, "receivers are told");
                self.persist(&change).await.map(drop)
            }
            None => Ok(()),
        }
    }
}
