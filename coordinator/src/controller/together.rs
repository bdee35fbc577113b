//! What is written together. A seal, an intent and what follows from a commit each ask for a transaction of their own; those
//! of one round that touch different records go into one, for it is by transactions that the store is slow. Each keeps
//! its own compares, and one that is refused takes no other with it.

use std::collections::BTreeSet;

use tracing::{Span, info};
use windrow_common::{
    failpoint::{self, Point},
    id::{SinkId, WorkerId},
    manifest::ManifestRef,
    task::Task,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{Controller, cutting::HeldSeal};
use crate::{
    core::{
        lifecycle::{self, HeldClaim, Seal},
        table::{Change, Key},
    },
    ledger::{LedgerError, MAX_CHANGE},
};

/// Decided in this round and not written yet; empty between rounds. Whoever decides on something else has it written first.
#[derive(Default)]
pub(super) struct Together {
    all: Change,
    keys: BTreeSet<Key>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    change: Change,
    then: Then,
}

/// What is to be done when it is written.
pub(super) enum Then {
    /// The worker is told, and the sink worker its rows went to, if that is another, has a good name.
    Sealed {
        worker: WorkerId,
        request: u64,
        way: Option<WorkerId>,
    },
    Intended {
        sink: SinkId,
    },
    /// The spans end with it.
    Published {
        sink: SinkId,
        tasks: Vec<Task>,
        settling: Vec<Span>,
    },
}

impl Together {
    /// Whether the change may go with what waits already: it was decided without it, so it may not rest on it.
    pub(super) fn has_room_for(&self, change: &Change) -> bool {
        let fits = self.all.size() + change.size() <= MAX_CHANGE;
        self.waiting.is_empty() || fits && change.keys().all(|key| !self.keys.contains(&key))
    }

    pub(super) fn add(&mut self, change: Change, then: Then) {
        self.keys.extend(change.keys());
        self.all = std::mem::take(&mut self.all).and(change.clone());
        self.waiting.push(Waiting { change, then });
    }
}

impl Controller {
    /// A worker has staged its task. It hears of it when the seal is written.
    pub(super) async fn seal(
        &mut self,
        worker: &WorkerId,
        request: u64,
        claim: HeldClaim,
        manifest: ManifestRef,
    ) -> Result<(), LedgerError> {
        let way = self.workers.way_of(&claim.task);
        loop {
            let sealed = lifecycle::seal(&self.table, self.ledger.epoch(), &claim, manifest.clone(), self.now());
            if sealed == Ok(Seal::Waits) {
                self.hold_seal(HeldSeal { worker: worker.clone(), request, claim, manifest });
                return Ok(());
            }
            self.let_go(worker, &claim);
            match sealed {
                Ok(Seal::Waits) => {}
                Ok(Seal::Change(change)) if self.together.has_room_for(&change) => {
                    self.together.add(*change, Then::Sealed { worker: worker.clone(), request, way });
                }
                // It may be the second seal of a task, and is judged by what the first has made of it.
                Ok(Seal::Change(_)) => {
                    self.write_together().await?;
                    continue;
                }
                Ok(Seal::AlreadySealed) => self.answer_seal(worker, request, true),
                Err(refused) => {
                    info!(%worker, task = %claim.task, token = %claim.token, %refused, "seal refused");
                    self.metrics.fenced();
                    self.answer_seal(worker, request, false);
                }
            }
            return Ok(());
        }
    }

    /// Writes what has come together, in one transaction. The store can refuse it only if the ledger is not what this leader
    /// knows; then each is tried by itself, so that those that are right are kept, and the leader goes.
    pub(super) async fn write_together(&mut self) -> Result<(), LedgerError> {
        let Together { all, waiting, .. } = std::mem::take(&mut self.together);
        if waiting.is_empty() {
            return Ok(());
        }
        match self.write(&all, &waiting).await {
            Err(LedgerError::Conflict) if waiting.len() > 1 => {}
            Err(error) => return Err(error),
            Ok(()) => return self.follow(waiting).await,
        }
        let mut refused = false;
        for one in waiting {
            match self.write(&one.change, std::slice::from_ref(&one)).await {
                Ok(()) => self.follow(vec![one]).await?,
                Err(LedgerError::Conflict) => refused = true,
                Err(error) => return Err(error),
            }
        }
        if refused { Err(LedgerError::Conflict) } else { Ok(()) }
    }

    async fn write(&mut self, change: &Change, waiting: &[Waiting]) -> Result<(), LedgerError> {
        self.look_over(change);
        let revision = self.ledger.write(change).await?;
        for one in waiting {
            if let Then::Published { sink, .. } = &one.then {
                failpoint::reach(Point::Finalized, sink.as_str()).await?;
            }
        }
        self.take_over(change, revision);
        Ok(())
    }

    async fn follow(&mut self, written: Vec<Waiting>) -> Result<(), LedgerError> {
        for Waiting { then, .. } in written {
            match then {
                Then::Sealed { worker, request, way } => {
                    if let Some(sink_worker) = way {
                        self.workers.hop_held(&sink_worker);
                    }
                    if failpoint::reach(Point::Sealed, worker.as_str()).await.is_err() {
                        self.hang_up(&worker);
                    }
                    self.answer_seal(&worker, request, true);
                }
                Then::Intended { sink } => {
                    failpoint::reach(Point::Intended, sink.as_str()).await?;
                    let now = self.clock.elapsed();
                    self.run(&sink).resume(now);
                }
                Then::Published { sink, tasks, settling } => {
                    drop(settling);
                    self.metrics.published(&sink, &tasks, self.clock.now());
                    self.run(&sink).done();
                }
            }
        }
        Ok(())
    }

    fn answer_seal(&mut self, worker: &WorkerId, request: u64, accepted: bool) {
        self.tell(worker, Out::Seal(v1::SealReply { request, accepted }));
    }
}
