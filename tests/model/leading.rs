//! What a leader does by itself or because an attempt asks: claims, seals, failures, and being replaced.

use crate::{
    act::Speaker,
    decide::{Decision, Question, decide},
    invariants,
    ledger::{Expect, Phase, TaskRecord, Txn, Write},
    model::{FULL_BATCH, Lifecycle},
    mutant::Mutant,
    state::{Attempt, AttemptPhase, Deed, DeedPhase, Heard, Leader, State, SweepPhase},
};

impl Lifecycle {
    /// The core's decision on the table of a coordinator.
    pub(crate) fn ask(&self, state: &State, speaker: Speaker, question: Question) -> Decision {
        let leader = state.coordinator(speaker);
        decide(self.setting(), &leader.table, leader.epoch, question)
    }

    /// Asks and writes; whether it was written.
    pub(crate) fn decide_and_write(&self, state: &mut State, speaker: Speaker, question: Question) -> bool {
        match self.ask(state, speaker, question) {
            Decision::Write(txn) => self.write(state, speaker, &txn, false),
            _ => false,
        }
    }

    pub(crate) fn claim(&self, state: &mut State, speaker: Speaker, task: u8) {
        let revision = state.store.next;
        if !self.decide_and_write(state, speaker, Question::Claim(task)) {
            return;
        }
        let epoch = state.coordinator(speaker).epoch;
        let (task, claims) = (usize::from(task), state.claims(task.into()));
        state.attempts[task][claims] = Attempt { phase: AttemptPhase::Running, epoch, token: revision, file: false };
        if state.broken == 0 {
            state.broken = invariants::of_claim(state, task);
        }
    }

    pub(crate) fn reap(&self, state: &mut State, speaker: Speaker, task: u8) {
        self.decide_and_write(state, speaker, Question::Reap(task));
    }

    pub(crate) fn cancel(&self, state: &mut State, speaker: Speaker, task: u8) {
        if self.decide_and_write(state, speaker, Question::Cancel(task)) {
            state.withdrawn |= 1 << task;
            state.spent.cancels += 1;
        }
    }

    pub(crate) fn seal(&self, state: &mut State, speaker: Speaker, task: u8, attempt: u8) {
        let at = usize::from(task);
        let found = state.attempts[at][usize::from(attempt)];
        let (token, manifest) = ((found.epoch, found.token), attempt + 1);
        let decision = match self.carelessly(state.coordinator(speaker).table.tasks[at], token, (at, manifest)) {
            Some(txn) => Decision::Write(txn),
            None => self.ask(state, speaker, Question::Seal(task, token, manifest)),
        };
        if let Decision::Write(txn) = decision
            && self.write(state, speaker, &txn, false)
            && state.broken == 0
        {
            state.broken = invariants::of_seal(state, at, attempt.into());
        }
    }

    /// The seal of a mutant that does not look at the token.
    fn carelessly(&self, record: TaskRecord, token: (u8, u8), (at, manifest): (usize, u8)) -> Option<Txn> {
        let takes = match record.phase {
            Phase::Claimed => self.is(Mutant::SealOnStateOnly) || self.is(Mutant::SealUnguarded),
            Phase::Pending => self.is(Mutant::SealUnguarded),
            Phase::Sealed => self.is(Mutant::SealUnguarded) && record.manifest != manifest,
            Phase::Gone | Phase::Quarantined => false,
        };
        takes.then(|| {
            let mut txn = Txn::new();
            txn.expect[at] = Expect::Revision(record.revision);
            txn.write[at] = Write::Put;
            txn.after.tasks[at] =
                TaskRecord { phase: Phase::Sealed, epoch: token.0, token: token.1, manifest, ..record };
            txn
        })
    }

    pub(crate) fn fail(&self, state: &mut State, speaker: Speaker, task: u8, attempt: u8) {
        let found = state.attempts[usize::from(task)][usize::from(attempt)];
        if self.decide_and_write(state, speaker, Question::Fail(task, (found.epoch, found.token))) {
            state.attempts[usize::from(task)][usize::from(attempt)].phase = AttemptPhase::Dead;
            state.spent.failures += 1;
        }
    }

    pub(crate) fn next(&self, state: &mut State, speaker: Speaker) {
        let leader = state.coordinator(speaker);
        let question = Question::Next(state.committer, leader.batch, leader.abort);
        let deed = match self.ask(state, speaker, question) {
            Decision::Nothing => return,
            Decision::Write(txn) => {
                self.write(state, speaker, &txn, false);
                return;
            }
            // What a former leader has worked out comes to nothing but files nobody sees.
            Decision::AskToPrepare(_) if speaker == Speaker::Former => return,
            Decision::AskToPrepare(draft) => {
                Deed { heard: speaker.heard(), phase: DeedPhase::Preparing, draft, ..Deed::default() }
            }
            Decision::AskToCommit { digest, abort } => {
                let draft = self.batch_of_the_moment(state, speaker);
                Deed { heard: speaker.heard(), phase: DeedPhase::Asked, digest, abort, draft }
            }
        };
        if let Some(free) = state.free_deed(self.bounds.deeds.into()) {
            state.deeds[free] = deed;
        }
    }

    pub(crate) fn replace_committer(&self, state: &mut State) {
        state.committer = 1 - state.committer;
        state.spent.committers += 1;
        for deed in state.deeds.iter_mut().filter(|deed| deed.heard == Heard::ByLeader) {
            deed.heard = Heard::No;
        }
    }

    pub(crate) fn replace_leader(&self, state: &mut State) {
        state.forget_former();
        state.former = state.leader;
        for deed in state.deeds.iter_mut().filter(|deed| deed.heard == Heard::ByLeader) {
            deed.heard = Heard::ByFormer;
        }
        if state.sweep.heard == Heard::ByLeader {
            state.sweep.heard = Heard::ByFormer;
        }
        if state.sweep.phase == SweepPhase::None {
            state.sweep.heard = Heard::No;
        }
        self.elect(state);
        state.spent.leaders += 1;
    }

    /// Somebody leads who knows nothing but the records.
    pub(crate) fn elect(&self, state: &mut State) {
        let elected = state.store.next;
        state.store.next += 1;
        state.store.leader = elected;
        state.leader =
            Leader { elected, epoch: state.store.epoch, table: state.store.records, batch: FULL_BATCH, abort: false };
    }
}
