//! Making the ledger good from what the sinks know: every sink's committer is asked for the commits the ledger lacks, and
//! they are taken over one by one. What is done lies in the ledger, so another leader goes on where this one stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::{info, warn};
use windrow_common::{
    count::{counted, grouped},
    id::{SinkId, WorkerId},
    intent::Seq,
    pipeline::Pipeline,
    task::Failure,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{Controller, Recalled, Reply, commands::respond};
use crate::{
    core::{
        commit,
        recovery::{self, Step},
    },
    ledger::LedgerError,
};

/// How far every sink is.
#[derive(Debug, Default)]
pub struct Recovering {
    sinks: BTreeMap<SinkId, Recalling>,
    /// Those that take no commit of another life of the ledger any more.
    fenced: BTreeSet<SinkId>,
}

/// How far a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Recalling {
    Due,
    /// Its committer was asked, and fences the sink first unless that is done.
    Asked {
        request: u64,
        worker: WorkerId,
    },
    /// It cannot go on; asked again after a pause.
    Stuck {
        reason: String,
        not_before: Duration,
    },
    /// The ledger knows all the sink knows.
    Done,
}

/// How long a sink that cannot go on is left alone.
const PAUSE: Duration = Duration::from_secs(2);

impl Recovering {
    /// Whether the ledger knows all the sink knows.
    pub fn is_done(&self, sink: &SinkId) -> bool {
        self.sinks.get(sink) == Some(&Recalling::Done)
    }

    /// Why the sink cannot go on.
    pub fn stuck(&self, sink: &SinkId) -> Option<&str> {
        match self.sinks.get(sink) {
            None => Some("no worker with the role `sink` is connected"),
            Some(Recalling::Stuck { reason, .. }) => Some(reason),
            Some(_) => None,
        }
    }

    /// The worker's session is gone: if it was asked, its answer will not come.
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        for recalling in self.sinks.values_mut() {
            if matches!(recalling, Recalling::Asked { worker, .. } if worker == gone) {
                *recalling = Recalling::Due;
            }
        }
    }

    fn may_ask(&self, sink: &SinkId, now: Duration) -> bool {
        match self.sinks.get(sink) {
            None | Some(Recalling::Due) => true,
            Some(Recalling::Stuck { not_before, .. }) => *not_before <= now,
            Some(Recalling::Asked { .. } | Recalling::Done) => false,
        }
    }

    fn expects(&self, sink: &SinkId, answer: u64) -> bool {
        matches!(self.sinks.get(sink), Some(Recalling::Asked { request, .. }) if *request == answer)
    }
}

impl Controller {
    /// Begins, and ends this leadership: the next one has the raised epoch, so that no claim of before counts.
    pub(super) async fn begin_recovery(&mut self, pipelines: &[Pipeline], reply: Reply<()>) -> Result<(), LedgerError> {
        let change = match recovery::begin(&self.table, pipelines, self.now()) {
            Ok(change) => change,
            Err(cause) => return respond(reply, Err(cause.into())),
        };
        if self.table.recovery().is_some() {
            let answer = self.persist(&change).await.map(|_| ()).map_err(Into::into);
            return respond(reply, answer);
        }
        let raised = self.ledger.write_and_raise(&change, self.ledger.epoch() + 1).await;
        let ended = raised.is_ok();
        respond(reply, raised.map_err(Into::into))?;
        if ended { Err(LedgerError::NotLeader) } else { Ok(()) }
    }

    /// What the leader does instead of everything else while the ledger is being made good.
    pub(super) async fn recover(&mut self) -> Result<(), LedgerError> {
        while let Some(change) = recovery::drop_claims(&self.table, self.now()) {
            self.persist(&change).await?;
        }
        let sinks: BTreeSet<SinkId> = self.table.pipelines().map(|(_, entry)| entry.sink.clone()).collect();
        for sink in &sinks {
            if let Some(change) = commit::appoint(&self.table, &self.workers, sink, self.clock.elapsed()) {
                self.persist(&change).await?;
            }
            self.ask_for_history(sink);
        }
        if sinks.iter().all(|sink| self.recovering.is_done(sink)) {
            while let Some(change) = recovery::drop_seals(&self.table, self.now()) {
                self.persist(&change).await?;
            }
            let Some(change) = recovery::finish(&self.table) else { return Ok(()) };
            self.persist(&change).await?;
            self.recovering = Recovering::default();
            info!(sinks = sinks.len(), "the ledger knows what the sinks know");
        }
        Ok(())
    }

    fn ask_for_history(&mut self, sink: &SinkId) {
        if !self.recovering.may_ask(sink, self.clock.elapsed()) {
            return;
        }
        let committer = self.table.sink(sink).and_then(|entry| entry.committer.as_ref());
        let Some(worker) = committer.map(|found| found.value.clone()).filter(|found| self.workers.can_commit(found))
        else {
            return;
        };
        let Some(pipeline) = self.any_pipeline_of(sink) else { return };
        let request = self.next_request();
        let fence = !self.recovering.fenced.contains(sink);
        let recall = v1::Recall { request, sink: sink.to_string(), pipeline, after: self.head_of(sink), fence };
        self.recovering.sinks.insert(sink.clone(), Recalling::Asked { request, worker: worker.clone() });
        self.tell(&worker, Out::Recall(recall));
    }

    /// The committer has answered.
    pub(super) async fn recalled(
        &mut self,
        sink: &SinkId,
        request: u64,
        recalled: Result<Recalled, Failure>,
    ) -> Result<(), LedgerError> {
        if !self.recovering.expects(sink, request) || self.table.recovery().is_none() {
            return Ok(());
        }
        let next = match recalled {
            Err(failure) => Err(format!("{} [{}]", failure.message, failure.code)),
            Ok(recalled) => {
                self.recovering.fenced.insert(sink.clone());
                self.replay_all(sink, recalled).await?
            }
        };
        let next = next.unwrap_or_else(|reason| {
            warn!(%sink, reason, "cannot take over the sink's commits");
            Recalling::Stuck { reason, not_before: self.clock.elapsed() + PAUSE }
        });
        self.recovering.sinks.insert(sink.clone(), next);
        Ok(())
    }

    async fn replay_all(
        &mut self,
        sink: &SinkId,
        recalled: Recalled,
    ) -> Result<Result<Recalling, String>, LedgerError> {
        let tasks = recalled.commits.iter().flat_map(|commit| &commit.tasks);
        if let Some(epoch) = tasks.map(|task| task.epoch).max().filter(|epoch| *epoch >= self.ledger.epoch()) {
            // Tokens given out from now on have to be greater than any the sink has seen.
            self.ledger.write_and_raise(&Default::default(), epoch + 1).await?;
            return Err(LedgerError::NotLeader);
        }
        for commit in &recalled.commits {
            loop {
                match recovery::replay(&self.table, sink, commit, self.now()) {
                    Err(cause) => return Ok(Err(cause.to_string())),
                    Ok(Step::More(change)) => {
                        self.persist(&change).await?;
                    }
                    Ok(Step::Last(change)) => {
                        self.persist(&change).await?;
                        break;
                    }
                }
            }
        }
        let head = self.head_of(sink);
        Ok(match recalled.newest {
            newest if newest > head => Ok(Recalling::Due),
            newest if newest < head => {
                Err(format!("the sink holds {}, the ledger {}", counted(newest, "commit"), grouped(head)))
            }
            _ => Ok(Recalling::Done),
        })
    }

    fn head_of(&self, sink: &SinkId) -> Seq {
        self.table.sink(sink).and_then(|entry| entry.head.as_ref()).map_or(0, |head| head.value.seq)
    }
}
