//! The sweep: list, be told what lives, look at what the sink refers to, delete.

use crate::{
    act::Speaker,
    invariants,
    ledger::{MAX_TASKS, Phase},
    model::Lifecycle,
    mutant::Mutant,
    state::{Heard, MAX_CLAIMS, State, Sweep, SweepPhase},
};

impl Lifecycle {
    pub(crate) fn sweep_list(&self, state: &mut State, speaker: Speaker) {
        let there = files(state, |attempt| attempt.file);
        if self.is(Mutant::SweepAsksFirst) {
            state.sweep.files = there & !state.sweep.files;
            state.sweep.phase = SweepPhase::Listed;
            return;
        }
        state.sweep = Sweep { phase: SweepPhase::Listed, files: there, heard: speaker.heard() };
        state.spent.sweeps += 1;
    }

    /// The leader answers only after the store has confirmed that it leads.
    pub(crate) fn sweep_tell(&self, state: &mut State) {
        let speaker = match state.sweep.heard {
            Heard::ByFormer => Speaker::Former,
            Heard::ByLeader => Speaker::Leader,
            Heard::No if self.is(Mutant::SweepAsksFirst) => Speaker::Leader,
            Heard::No => return state.sweep = Sweep::default(),
        };
        let leader = state.coordinator(speaker);
        let leads = (leader.elected, leader.epoch) == (state.store.leader, state.store.epoch);
        if !leads && !self.is(Mutant::SweepByFormerLeader) {
            state.sweep = Sweep::default();
            return state.forget_former();
        }
        let live = live(state, speaker);
        if self.is(Mutant::SweepAsksFirst) {
            state.sweep = Sweep { phase: SweepPhase::Told, files: live, heard: Heard::No };
            state.spent.sweeps += 1;
            return;
        }
        let files = state.sweep.files & !live;
        state.sweep = match files {
            0 => Sweep::default(),
            files => Sweep { phase: SweepPhase::Told, files, heard: Heard::No },
        };
    }

    pub(crate) fn sweep_look(&self, state: &mut State) {
        for task in 0..MAX_TASKS {
            let applied = usize::from(state.sink.applied[task]);
            if applied != 0 {
                state.sweep.files &= !State::file_bit(task, applied - 1);
            }
        }
        state.sweep.phase = SweepPhase::Looked;
        if state.sweep.files == 0 {
            state.sweep = Sweep::default();
        }
    }

    pub(crate) fn sweep_delete(&self, state: &mut State) {
        let doomed = std::mem::take(&mut state.sweep).files;
        state.broken = invariants::of_deletion(state, doomed);
        for task in 0..MAX_TASKS {
            for attempt in 0..MAX_CLAIMS {
                if doomed & State::file_bit(task, attempt) != 0 {
                    state.attempts[task][attempt].file = false;
                }
            }
        }
    }
}

fn files(state: &State, chosen: impl Fn(&crate::state::Attempt) -> bool) -> u16 {
    let mut files = 0;
    for task in 0..MAX_TASKS {
        for attempt in 0..state.claims(task) {
            if chosen(&state.attempts[task][attempt]) {
                files |= State::file_bit(task, attempt);
            }
        }
    }
    files
}

/// The files whose names carry the token of a claim or a seal of this coordinator's table.
fn live(state: &State, speaker: Speaker) -> u16 {
    let leader = state.coordinator(speaker);
    let mut live = 0;
    for task in 0..MAX_TASKS {
        let record = &leader.table.tasks[task];
        let token = match record.phase {
            Phase::Claimed => (leader.epoch, record.revision),
            Phase::Sealed => (record.epoch, record.token),
            Phase::Gone | Phase::Pending | Phase::Quarantined => continue,
        };
        for attempt in 0..state.claims(task) {
            let found = &state.attempts[task][attempt];
            if (found.epoch, found.token) == token {
                live |= State::file_bit(task, attempt);
            }
        }
    }
    live
}
