//! A store that is put back to an old backup, and `admin restore`, which repairs it from the sink.

use crate::{
    ledger::{Ledger, MAX_TASKS, Phase, TaskRecord},
    model::Lifecycle,
    mutant::Mutant,
    state::{Backup, BackupPhase, Body, MAX_BODIES, Sink, State},
};

impl Lifecycle {
    pub(crate) fn back_up(&self, state: &mut State) {
        let (records, next) = (state.store.records, state.store.next);
        state.backup = Backup { phase: BackupPhase::Taken, records, next };
    }

    /// All coordinators are stopped; committers and attempts may go on. Revisions go back with the records, so those made
    /// from now on may repeat what others hold: the epoch is raised. Then the sink is asked what was published.
    pub(crate) fn restore(&self, state: &mut State) {
        let mut records = state.backup.records;
        // One seq of the sink is spent, so that whoever still holds an intent for it finds the seq taken.
        if !self.is(Mutant::RestoreUnfenced) {
            spend_a_seq(state);
        }
        let mut revision = state.backup.next;
        catch_up(&mut records, state, &mut revision, self.is(Mutant::RestoreKeepsSeals));
        state.backup = Backup { phase: BackupPhase::Restored, ..Backup::default() };
        state.store.records = records;
        state.store.next = revision;
        if !self.is(Mutant::RestoreInSameEpoch) {
            state.store.epoch += 1;
        }
        // A coordinator that was not stopped after all.
        state.forget_former();
        state.former = state.leader;
        for deed in state.deeds.iter_mut().filter(|deed| deed.heard == crate::state::Heard::ByLeader) {
            deed.heard = crate::state::Heard::ByFormer;
        }
        if state.sweep.heard == crate::state::Heard::ByLeader {
            state.sweep.heard = crate::state::Heard::ByFormer;
        }
        self.elect(state);
    }
}

/// An abort of nothing, by the same compare-and-set as any commit.
fn spend_a_seq(state: &mut State) {
    let free = (0..MAX_BODIES).find(|at| state.bodies[*at] == Body::default()).expect("bodies nobody names are gone");
    let (seq, previous) = (state.sink.seq + 1, state.sink.digest);
    state.bodies[free] = Body { seq, previous, manifests: [0; MAX_TASKS] };
    state.sink = Sink { seq, digest: free as u8 + 1, aborted: true, ..state.sink };
    state.sink_has_changed();
}

/// Brings restored records to where the sink is: what it published leaves the ledger, claims are pending again. So are
/// seals: what was staged for one may have been given up since the backup, and a sweep that knows so may still be at work.
fn catch_up(records: &mut Ledger, state: &State, revision: &mut u8, keeps_seals: bool) {
    let written = *revision;
    *revision += 1;
    let mut covered = records.covered;
    // What each commit since the backup did is in its body; the table itself knows which attempt it holds.
    for task in 0..MAX_TASKS {
        if state.sink.applied[task] != 0 && records.covered & (1 << task) == 0 {
            covered |= 1 << task;
            records.tasks[task] = TaskRecord::default();
        }
    }
    if covered != records.covered {
        (records.covered, records.covered_revision) = (covered, written);
    }
    for task in &mut records.tasks {
        let again = task.phase == Phase::Claimed || (task.phase == Phase::Sealed && !keeps_seals);
        if again {
            let TaskRecord { attempts, errors, lost, .. } = *task;
            let pending =
                TaskRecord { phase: Phase::Pending, revision: written, attempts, errors, lost, ..Default::default() };
            *task = pending;
        }
    }
    let sink = &state.sink;
    if records.head.seq < sink.seq {
        records.head.seq = sink.seq;
        records.head.digest = sink.digest;
        records.head.revision = written;
        // Its seq is taken: by itself, or by another.
        if records.intent.revision != 0 && records.intent.seq <= sink.seq {
            records.intent = Default::default();
        }
    }
}
