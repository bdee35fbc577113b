//! What attempts prove of their sources: a full load that would change nothing is published from its claim, and a recount is
//! done with.

use tracing::info;
use windrow_common::{
    id::WorkerId,
    manifest::{Digest, Proof},
    task::{Lane, Task},
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{Controller, traces};
use crate::{
    core::{
        lifecycle::{HeldClaim, Refused},
        recount::{self, Counted},
        table::Change,
        unchanged::{self, Loaded},
    },
    ledger::LedgerError,
};

impl Controller {
    /// A worker has proven what the source of its task holds. Whether that is all there is to do, it hears when it is
    /// written.
    pub(super) async fn proven(
        &mut self,
        worker: &WorkerId,
        request: u64,
        claim: &HeldClaim,
        (found, words): ((Proof, u64), &str),
    ) -> Result<(), LedgerError> {
        let task = self.table.task(&claim.task).map(|entry| entry.value.clone());
        let done = match task {
            Some(task) if task.lane == Lane::Recount => self.counted(&task, claim, (&found.0, words)).await?,
            Some(task) => self.found_unchanged(&task, claim, (found.0.whole, found.1)).await?,
            // It is done with: this answer was lost, or somebody else was faster.
            None => true,
        };
        if done {
            self.let_go(worker, claim);
        }
        self.tell(worker, Out::Proven(v1::ProvenReply { request, done }));
        Ok(())
    }

    async fn found_unchanged(
        &mut self,
        task: &Task,
        claim: &HeldClaim,
        found: (Digest, u64),
    ) -> Result<bool, LedgerError> {
        match unchanged::publish(&self.table, self.ledger.epoch(), claim, found) {
            Ok(Some(change)) => {
                self.persist(&change).await?;
                info!(pipeline = %task.pipeline, window = %task.window, "is unchanged; nothing moved");
                self.metrics.unchanged(&task.pipeline);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(refused) => Ok(self.too_late(task, &refused)),
        }
    }

    async fn counted(&mut self, task: &Task, claim: &HeldClaim, found: (&Proof, &str)) -> Result<bool, LedgerError> {
        let counted = recount::counted(&self.table, self.ledger.epoch(), claim, found, self.now());
        match counted {
            Ok(Counted::Same(change)) => {
                self.persist(&change).await?;
                self.metrics.recounted(&task.pipeline, "same");
                Ok(true)
            }
            Ok(Counted::Stale(change)) => {
                self.persist_stale(task, change, "stale").await?;
                Ok(true)
            }
            Ok(Counted::Late(change, policy)) => {
                self.persist_stale(task, change, policy).await?;
                Ok(true)
            }
            Err(refused) => Ok(self.too_late(task, &refused)),
        }
    }

    /// What becomes of the window is said by its policy, in a word.
    async fn persist_stale(
        &mut self,
        task: &Task,
        mut change: Change,
        policy: &'static str,
    ) -> Result<(), LedgerError> {
        traces::begin(&mut change);
        self.persist(&change).await?;
        info!(pipeline = %task.pipeline, window = %task.window, policy, "has changed in its source since it was loaded");
        self.metrics.recounted(&task.pipeline, policy);
        Ok(())
    }

    fn too_late(&mut self, task: &Task, refused: &Refused) -> bool {
        info!(task = %task.id, %refused, "a proof is refused");
        false
    }

    /// What an attempt at the task is told of what is published: absent if it has to load it whatever its source holds.
    pub(super) fn published(&self, task: &Task) -> Option<v1::Published> {
        let Loaded { proof, seq, rows } = unchanged::loaded(&self.table, task)?;
        Some(v1::Published { proof: proof.0.to_vec(), seq, rows })
    }
}
