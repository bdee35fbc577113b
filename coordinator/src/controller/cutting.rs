//! Windows that are cut while they are loaded: taking the cut in, and keeping the seal of whoever cut until the others have theirs.

use std::collections::BTreeMap;

use tracing::info;
use windrow_common::{
    id::{TaskId, WorkerId},
    manifest::ManifestRef,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::Controller;
use crate::{
    core::{
        lifecycle::HeldClaim,
        shards::{self, Cut},
    },
    ledger::LedgerError,
};

/// Seals that wait for others. They live in memory: a worker says its own again to every new leader.
pub(super) type HeldSeals = BTreeMap<TaskId, HeldSeal>;

pub(super) struct HeldSeal {
    pub(super) worker: WorkerId,
    pub(super) request: u64,
    pub(super) claim: HeldClaim,
    pub(super) manifest: ManifestRef,
}

impl Controller {
    pub(super) async fn cut(
        &mut self,
        worker: &WorkerId,
        request: u64,
        claim: &HeldClaim,
        parts: Vec<String>,
    ) -> Result<(), LedgerError> {
        let others = parts.len();
        let cut = shards::cut(&self.table, &self.workers, self.ledger.epoch(), (claim, parts), self.now());
        let accepted = match cut {
            Ok(Cut::Change(change)) => {
                self.persist(&change).await?;
                info!(%worker, task = %claim.task, shards = others + 1, "is cut");
                true
            }
            Ok(Cut::Already) => true,
            Ok(Cut::No) | Err(_) => false,
        };
        self.tell(worker, Out::Cut(v1::CutReply { request, accepted }));
        Ok(())
    }

    /// The worker has done its own part of a window that it cut. It takes no slot while it waits for the others.
    pub(super) fn hold_seal(&mut self, held: HeldSeal) {
        self.workers.rest(&held.worker, held.claim.task);
        self.held_seals.insert(held.claim.task, held);
    }

    /// Seals whose time has come, or whose claim has ended.
    pub(super) async fn wake_seals(&mut self) -> Result<(), LedgerError> {
        let due = |held: &&HeldSeal| {
            !self.is_current(&held.worker, &held.claim) || shards::are_sealed(&self.table, &held.claim.task)
        };
        let due: Vec<TaskId> = self.held_seals.values().filter(due).map(|held| held.claim.task).collect();
        for task in due {
            if let Some(HeldSeal { worker, request, claim, manifest }) = self.held_seals.remove(&task) {
                self.seal(&worker, request, claim, manifest).await?;
            }
        }
        self.write_together().await
    }
}
