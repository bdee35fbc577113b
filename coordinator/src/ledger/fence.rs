//! How a write gets to the store, and what becomes of one that is not answered. It may be applied, or come to nothing, or
//! arrive at any later time, when what it expects happens to be so again: what it creates was created by another try, and
//! has been deleted since.
//!
//! So before anything else is written the leader fences: it puts its own key again, as it is. That gives the key a new
//! revision, which every write compares, and whatever was sent before is refused from then on.
//!
//! Nothing here knows what is written.

use super::{
    Encoded, Ledger, LedgerError,
    patience::{Patience, not_older},
};
use crate::store::{Compare, KeyValue, Range, Revision, TxnOutcome};

impl Ledger {
    /// Writes it under the guard, as often as it takes. The answer holds: no other try of this write, nor of one before, is
    /// still on its way.
    pub(super) async fn send(&mut self, txn: &Encoded, patience: &mut Patience) -> Result<TxnOutcome, LedgerError> {
        loop {
            if self.unanswered {
                self.fence(patience).await?;
            }
            let compares = [self.guards(), txn.compares.clone()].concat();
            // Before it is known: a write that nobody waits for any more is on its way as well.
            self.unanswered = true;
            let answer = self.store.txn(compares, txn.ops.clone()).await;
            self.unanswered = answer.is_err();
            if let Some(outcome) = patience.hear(answer)? {
                return Ok(outcome);
            }
        }
    }

    /// Whether this coordinator leads still, asked of the store: what was read before the answer was true under it.
    pub async fn still_leads(&self) -> Result<bool, LedgerError> {
        let outcome = self.store.txn(self.guards(), Vec::new()).await?;
        Ok(outcome.succeeded)
    }

    /// What lies under a key, in a state that is not from before a revision: stores have shown older ones to reads.
    pub(super) async fn read(
        &self,
        key: &[u8],
        since: Revision,
        patience: &mut Patience,
    ) -> Result<Option<KeyValue>, LedgerError> {
        loop {
            // Keys that are read are no prefixes of each other, but a prefix read may return more than the key itself.
            let page = self.store.range(Range { limit: 1, ..Range::prefix(key) }).await;
            let page = page.and_then(|page| not_older(page.revision, since).map(|()| page));
            if let Some(page) = patience.hear(page)? {
                return Ok(page.entries.into_iter().find(|entry| entry.key == key));
            }
        }
    }

    /// Bars whatever was sent before. A try of the fence that goes unanswered is barred by the one that comes through.
    async fn fence(&mut self, patience: &mut Patience) -> Result<(), LedgerError> {
        loop {
            let answer = self.store.txn(self.guards(), vec![self.guard.take.clone()]).await;
            let Some(outcome) = patience.hear(answer)? else { continue };
            self.in_force = match outcome.succeeded {
                true => outcome.revision,
                false => self.find_fence(outcome.revision, patience).await?,
            };
            self.unanswered = false;
            tracing::warn!(fence = %self.in_force, "the store did not answer a write; if it comes late, it counts no more");
            return Ok(());
        }
    }

    /// The fence was refused: an earlier try of it has come through, or leadership is lost.
    async fn find_fence(&self, refused: Revision, patience: &mut Patience) -> Result<Revision, LedgerError> {
        let key = self.read(&self.keys.leader(), refused, patience).await?;
        let own = key.filter(|key| key.create_revision == self.guard.leader && key.mod_revision > self.in_force);
        own.map(|key| key.mod_revision).ok_or(LedgerError::NotLeader)
    }

    fn guards(&self) -> Vec<Compare> {
        vec![
            Compare::ModRevision { key: self.keys.leader(), equals: self.in_force },
            Compare::Value { key: self.keys.epoch(), equals: self.guard.epoch.to_string().into_bytes() },
        ]
    }
}
