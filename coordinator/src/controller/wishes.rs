//! What users wait for and only a sink's committer can tell: it is asked as soon as there is one, its answer is matched with the
//! question, and nobody waits for ever.

use std::time::Duration;

use windrow_common::id::{SinkId, WorkerId};

use super::Controller;
use crate::{core::commit, ledger::LedgerError};

/// Most of a kind that may wait at a time.
const MOST: usize = 64;

/// Those of one kind.
pub(super) struct Wishes<T>(Vec<Wish<T>>);

pub(super) struct Wish<T> {
    pub(super) sink: SinkId,
    /// By the clock that only goes on.
    since: Duration,
    /// The request that is under way, and who was asked.
    asked: Option<(u64, WorkerId)>,
    pub(super) of: T,
}

impl<T> Default for Wishes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Wishes<T> {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    pub(super) fn add(&mut self, sink: SinkId, since: Duration, of: T) {
        self.0.push(Wish { sink, since, asked: None, of });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Wish<T>> {
        self.0.get(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Wish<T>> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Wish<T>> {
        self.0.iter_mut()
    }

    /// It is not to be answered by a worker any more.
    pub(super) fn remove(&mut self, at: usize) -> Wish<T> {
        self.0.swap_remove(at)
    }

    pub(super) fn asked(&mut self, at: usize, request: u64, worker: WorkerId) {
        if let Some(wish) = self.0.get_mut(at) {
            wish.asked = Some((request, worker));
        }
    }

    /// The one a request is under way for.
    pub(super) fn find(&mut self, request: u64) -> Option<&mut Wish<T>> {
        self.0.iter_mut().find(|wish| wish.is_asked_by(request))
    }

    pub(super) fn take(&mut self, request: u64) -> Option<Wish<T>> {
        let at = self.0.iter().position(|wish| wish.is_asked_by(request))?;
        Some(self.0.swap_remove(at))
    }

    /// The one that this worker was asked about.
    pub(super) fn answered(&mut self, worker: &WorkerId, request: u64) -> Option<Wish<T>> {
        let wish = self.find(request)?;
        wish.asked.as_ref().is_some_and(|(_, who)| who == worker).then_some(())?;
        self.take(request)
    }

    /// Those that have waited so long for somebody to be asked, or so long altogether.
    pub(super) fn take_late(&mut self, now: Duration, patience: Duration, longest: Duration) -> Vec<Wish<T>> {
        let is_late = |wish: &Wish<T>| now > wish.since + if wish.asked.is_some() { longest } else { patience };
        let (late, waiting) = std::mem::take(&mut self.0).into_iter().partition(is_late);
        self.0 = waiting;
        late
    }

    /// The worker's session is gone: if it was asked, its answer will not come.
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.0.iter_mut().for_each(|wish| drop(wish.asked.take_if(|(_, worker)| worker == gone)));
    }
}

impl<T> Wish<T> {
    /// Nobody is at it any more.
    pub(super) fn ask_again(&mut self) {
        self.asked = None;
    }

    fn is_asked_by(&self, request: u64) -> bool {
        self.asked.as_ref().is_some_and(|(number, _)| *number == request)
    }
}

impl Controller {
    /// Whether somebody is to be asked: nobody was, or whoever was is the sink's committer no more. One that stands still is replaced, and
    /// answers nothing.
    pub(super) fn is_open<T>(&self, wish: &Wish<T>) -> bool {
        let serves = |worker: &WorkerId| {
            let committer = self.table.sink(&wish.sink).and_then(|entry| entry.committer.as_ref());
            committer.is_some_and(|found| found.value == *worker) && self.workers.can_commit(worker)
        };
        wish.asked.as_ref().is_none_or(|(_, worker)| !serves(worker))
    }

    /// Who may be asked about a sink.
    pub(super) async fn committer_of(&mut self, sink: &SinkId) -> Result<Option<WorkerId>, LedgerError> {
        if let Some(change) = commit::appoint(&self.table, &self.workers, sink, self.clock.elapsed()) {
            self.persist(&change).await?;
        }
        let committer = self.table.sink(sink).and_then(|entry| entry.committer.as_ref()).map(|found| &found.value);
        Ok(committer.filter(|worker| self.workers.can_commit(worker)).cloned())
    }
}
