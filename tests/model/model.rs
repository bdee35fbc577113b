//! The model: its bounds, its first state, and its steps one by one.

use stateright::{Model, Property};

use crate::{
    act::{self, Act, Speaker},
    decide::Setting,
    heal, invariants,
    ledger::{INTENT, Ledger, MAX_TASKS, Phase, TaskRecord, Txn, Write},
    mutant::Mutant,
    state::{AttemptPhase, DeedPhase, Heard, Leader, State, Store},
};

/// How much of everything is explored. Claims, deeds and steps of committers have no bound of their own beyond these.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    pub tasks: u8,
    /// Claims of each task.
    pub claims: u8,
    /// Things committers do at a time, those of former leaders and broken sessions included.
    pub deeds: u8,
    /// Changes of leader.
    pub leaders: u8,
    /// Changes of committer.
    pub committers: u8,
    /// Attempts that report an error.
    pub failures: u8,
    /// Intents the sink refuses.
    pub refusals: u8,
    /// Sound files taken for bad ones.
    pub bad_files: u8,
    pub cancels: u8,
    pub sweeps: u8,
    /// Whether the store is put back to a backup once.
    pub restores: bool,
    /// Errors and lost leases a task may have; 0 for more than can happen.
    pub retries: u8,
}

/// The life cycle within bounds, whole or with a guard left out.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle {
    pub bounds: Bounds,
    pub mutant: Option<Mutant>,
}

impl Lifecycle {
    pub(crate) fn setting(&self) -> Setting {
        match self.bounds.retries {
            0 => Setting { attempts: 20, lost_leases: 20 },
            most => Setting { attempts: most, lost_leases: most },
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The state after an act, if the act changes anything.
    pub(crate) fn step(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        self.apply(&mut state, act);
        state.normalize();
        if state == *before {
            return None;
        }
        if state.broken == 0 {
            state.broken = invariants::of_state(&state);
        }
        Some(state)
    }

    pub(crate) fn apply(&self, state: &mut State, act: Act) {
        match act {
            Act::Claim(speaker, task) => self.claim(state, speaker, task),
            Act::Reap(speaker, task) => self.reap(state, speaker, task),
            Act::Cancel(speaker, task) => self.cancel(state, speaker, task),
            Act::Next(speaker) => self.next(state, speaker),
            Act::Stage(task, attempt) => stage(state, task, attempt),
            Act::Seal(speaker, task, attempt) => self.seal(state, speaker, task, attempt),
            Act::Fail(speaker, task, attempt) => self.fail(state, speaker, task, attempt),
            Act::Prepare(deed) => self.prepare(state, deed.into()),
            Act::FindBad(deed) => self.find_bad(state, deed.into()),
            Act::Probe(deed) => self.probe(state, deed.into()),
            Act::Commit(deed, heard) => self.commit(state, deed.into(), heard),
            Act::Refuse(deed) => self.refuse(state, deed.into()),
            Act::Answer(deed) => self.answer(state, deed.into()),
            Act::Crash(deed) => state.deeds[usize::from(deed)] = Default::default(),
            Act::Detach(deed) => state.deeds[usize::from(deed)].heard = Heard::No,
            Act::WriteFromOutside => state.sink_has_changed(),
            Act::ReplaceCommitter => self.replace_committer(state),
            Act::ReplaceLeader => self.replace_leader(state),
            Act::SweepList(speaker) => self.sweep_list(state, speaker),
            Act::SweepTell => self.sweep_tell(state),
            Act::SweepLook => self.sweep_look(state),
            Act::SweepDelete => self.sweep_delete(state),
            Act::BackUp => self.back_up(state),
            Act::Restore => self.restore(state),
        }
    }

    /// A coordinator's transaction: guarded by leadership and epoch, then by what it expects. A coordinator that is refused
    /// stops leading.
    pub(crate) fn write(&self, state: &mut State, speaker: Speaker, txn: &Txn, publishes: bool) -> bool {
        let leader = state.coordinator(speaker);
        let unguarded = publishes && self.is(Mutant::FinalizeUnguarded);
        let leads = (leader.elected, leader.epoch) == (state.store.leader, state.store.epoch)
            || self.is(Mutant::LeaderUnguarded)
            || unguarded;
        if !leads || !(unguarded || state.store.records.meets(txn)) {
            match speaker {
                // The only leader there is knows every record.
                Speaker::Leader => state.broken = 14,
                Speaker::Former => state.forget_former(),
            }
            return false;
        }
        let revision = state.store.next;
        state.store.next += 1;
        let (before, after) = (state.store.records.intent, txn.after.intent);
        let changes_intent = txn.write[INTENT] == Write::Put && before.revision != 0;
        if changes_intent && (before.seq, before.digest) != (after.seq, after.digest) {
            state.broken = 8;
        }
        state.store.records.apply(txn, revision);
        state.coordinator_mut(speaker).table.apply(txn, revision);
        if txn.broken != 0 {
            state.broken = txn.broken;
        }
        if speaker == Speaker::Former && !unguarded {
            state.broken = 13;
        }
        true
    }
}

fn stage(state: &mut State, task: u8, attempt: u8) {
    let attempt = &mut state.attempts[usize::from(task)][usize::from(attempt)];
    (attempt.phase, attempt.file) = (AttemptPhase::Staged, true);
}

impl State {
    pub(crate) fn coordinator(&self, speaker: Speaker) -> &Leader {
        match speaker {
            Speaker::Leader => &self.leader,
            Speaker::Former => &self.former,
        }
    }

    pub(crate) fn coordinator_mut(&mut self, speaker: Speaker) -> &mut Leader {
        match speaker {
            Speaker::Leader => &mut self.leader,
            Speaker::Former => &mut self.former,
        }
    }

    pub(crate) fn forget_former(&mut self) {
        self.former = Leader::default();
        for deed in self.deeds.iter_mut().filter(|deed| deed.heard == Heard::ByFormer) {
            deed.heard = Heard::No;
        }
        if self.sweep.heard == Heard::ByFormer {
            self.sweep.heard = Heard::No;
        }
    }

    /// Whoever has looked at the sink has looked too early now.
    pub(crate) fn sink_has_changed(&mut self) {
        for deed in &mut self.deeds {
            if deed.phase == DeedPhase::Probed(true) {
                deed.phase = DeedPhase::Probed(false);
            }
        }
    }
}

/// Most tasks of the first intent: more than there can be.
pub(crate) const FULL_BATCH: u8 = 4;

impl Model for Lifecycle {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let mut records = Ledger { covered_revision: 1, ..Ledger::default() };
        for task in records.tasks.iter_mut().take(usize::from(self.bounds.tasks)) {
            *task = TaskRecord { phase: Phase::Pending, revision: 1, ..TaskRecord::default() };
        }
        let store = Store { records, leader: 2, epoch: 1, next: 3 };
        let leader = Leader { elected: 2, epoch: 1, table: records, batch: FULL_BATCH, abort: false };
        let mut state = State { store, leader, tasks: self.bounds.tasks, ..State::default() };
        state.normalize();
        vec![state]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        act::possible(state, &self.bounds, self.mutant, acts);
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        self.step(state, act)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("INV-1", |_: &Self, state: &State| state.broken != 1),
            Property::always("INV-3", |_: &Self, state: &State| state.broken != 3),
            Property::always("INV-4", |_: &Self, state: &State| state.broken != 4),
            Property::always("INV-5", |_: &Self, state: &State| state.broken != 5),
            Property::always("INV-6", |_: &Self, state: &State| state.broken != 6),
            Property::always("INV-7", |_: &Self, state: &State| state.broken != 7),
            Property::always("INV-8", |_: &Self, state: &State| state.broken != 8),
            Property::always("INV-9", |_: &Self, state: &State| state.broken != 9),
            Property::always("INV-10", |_: &Self, state: &State| state.broken != 10),
            Property::always("INV-13", |_: &Self, state: &State| state.broken != 13),
            Property::always("INV-14", |_: &Self, state: &State| state.broken != 14),
            Property::always("INV-16", |_: &Self, state: &State| state.broken != 16),
            Property::always("INV-21", |model: &Self, state: &State| {
                model.mutant.is_some() || heal::check(model, state) == 0
            }),
            Property::always("no sink halts", |_: &Self, state: &State| state.broken != invariants::HALTED),
            Property::sometimes("everything is published", |_: &Self, state: &State| {
                state.store.records.covered.count_ones() == u32::from(state.tasks)
            }),
            Property::sometimes("two attempts of a task have staged", |model: &Self, state: &State| {
                let staged = |task: usize| state.attempts[task].iter().filter(|attempt| attempt.file).count();
                model.bounds.claims < 2 || (0..MAX_TASKS).any(|task| staged(task) > 1)
            }),
        ]
    }
}
