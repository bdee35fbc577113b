//! A store that is put back to an old backup, and `admin restore`, which makes the ledger good from the sink.

use crate::{
    act::Speaker,
    decide::{Decision, Question},
    ledger::{HEAD, Write},
    model::Lifecycle,
    mutant::Mutant,
    state::{Backup, BackupPhase, State},
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

    /// `admin restore`: the epoch is raised, claims are dropped, the sink's commits are taken over one by one, and seals are
    /// dropped. Nothing else is written meanwhile.
    pub(crate) fn make_good(&self, state: &mut State) {
        if !self.is(Mutant::RestoreInSameEpoch) {
            state.store.epoch += 1;
        }
        self.replace_leader(state);
        let speaker = Speaker::Leader;
        while self.decide_and_write(state, speaker, Question::DropClaims) {}
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
