//! A store that is put back to an old backup, and `admin restore`, which makes the ledger good from the sink.

use crate::{
    act::Speaker,
    decide::{Decision, Question},
    ledger::{HEAD, MAX_TASKS, Write},
    model::Lifecycle,
    mutant::Mutant,
    state::{Backup, BackupPhase, Body, MAX_BODIES, Sink, State},
};

impl Lifecycle {
    pub(crate) fn back_up(&self, state: &mut State) {
        let (records, next) = (state.store.records, state.store.next);
        state.backup = Backup { phase: BackupPhase::Taken, records, next };
    }

    /// Revisions go back with the records, so those made from now on may repeat what attempts, committers and the leader of
    /// before still hold.
    pub(crate) fn restore(&self, state: &mut State) {
        let Backup { records, next, .. } = std::mem::take(&mut state.backup);
        (state.store.records, state.store.next) = (records, next);
        state.backup.phase = BackupPhase::Restored;
        self.make_good(state);
    }

    /// `admin restore`: the epoch is raised, claims are dropped, a seq of the sink is spent, its commits are taken over one by
    /// one, and seals are dropped. Nothing else is written meanwhile. (The recovery does not spend a seq yet, see ADR 9.)
    pub(crate) fn make_good(&self, state: &mut State) {
        if !self.is(Mutant::RestoreInSameEpoch) {
            state.store.epoch += 1;
        }
        self.replace_leader(state);
        let speaker = Speaker::Leader;
        while self.decide_and_write(state, speaker, Question::DropClaims) {}
        if !self.is(Mutant::RestoreUnfenced) {
            spend_a_seq(state);
        }
        let mut unknown: Vec<u8> = state.commits_since(state.store.records.head.digest).collect();
        while let Some(digest) = unknown.last().copied() {
            let body = state.bodies[usize::from(digest) - 1];
            let Decision::Write(txn) = self.ask(state, speaker, Question::Replay(body, digest)) else {
                // The sink's history is not the ledger's.
                state.broken = crate::invariants::HALTED;
                return;
            };
            self.write(state, speaker, &txn, false);
            if txn.write[HEAD] == Write::Put {
                unknown.pop();
            }
        }
        if !self.is(Mutant::RestoreKeepsSeals) {
            while self.decide_and_write(state, speaker, Question::DropSeals) {}
        }
    }
}

/// An abort of nothing, by the same compare-and-set as any commit: whoever still holds an intent for the seq finds it taken.
fn spend_a_seq(state: &mut State) {
    let free = (0..MAX_BODIES).find(|at| state.bodies[*at] == Body::default()).expect("bodies nobody names are gone");
    let (seq, previous) = (state.sink.seq + 1, state.sink.digest);
    state.bodies[free] = Body { seq, previous, manifests: [0; MAX_TASKS], aborted: true };
    state.sink = Sink { seq, digest: free as u8 + 1, aborted: true, ..state.sink };
    state.sink_has_changed();
}
