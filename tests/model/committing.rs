//! Committers and the sink: working an intent out, the rule of committing, and what the leader makes of the answers.

use windrow_common::intent::{Committed, Effect, Fingerprint, Verdict, judge};

use crate::{
    act::Speaker,
    decide::{Decision, Question, decide, digest_of},
    invariants::{self, HALTED},
    ledger::{MAX_TASKS, Phase},
    model::{FULL_BATCH, Lifecycle},
    mutant::Mutant,
    state::{BackupPhase, Body, Deed, DeedPhase, Draft, Heard, MAX_BODIES, Settled, Sink, State},
};

impl Lifecycle {
    /// Verifies the files and writes the body down. Files are merged anew each time, so no two bodies are the same.
    pub(crate) fn prepare(&self, state: &mut State, place: usize) {
        let draft = state.deeds[place].draft;
        let missing = (0..MAX_TASKS).find(|task| {
            let manifest = draft.manifests[*task];
            manifest != 0 && !state.attempts[*task][usize::from(manifest) - 1].file
        });
        if let Some(task) = missing {
            state.deeds[place].phase = DeedPhase::FilesBad(task as u8);
            return;
        }
        let free =
            (0..MAX_BODIES).find(|at| state.bodies[*at] == Body::default()).expect("bodies nobody names are gone");
        // Digests count up, so the free place is behind all that are named.
        let Draft { seq, previous, manifests, .. } = draft;
        state.bodies[free] = Body { seq, previous, manifests, aborted: false };
        (state.deeds[place].phase, state.deeds[place].digest) = (DeedPhase::Prepared, free as u8 + 1);
    }

    pub(crate) fn find_bad(&self, state: &mut State, place: usize) {
        let draft = &state.deeds[place].draft;
        let Some(task) = draft.manifests.iter().position(|manifest| *manifest != 0) else { return };
        state.deeds[place].phase = DeedPhase::FilesBad(task as u8);
        state.spent.bad_files += 1;
    }

    /// The committer looks at the sink and judges by the one rule.
    pub(crate) fn probe(&self, state: &mut State, place: usize) {
        let deed = state.deeds[place];
        let body = state.bodies[usize::from(deed.digest) - 1];
        let verdict = self.judge(&state.sink, &body, deed.digest);
        state.deeds[place].phase = match verdict {
            Verdict::Apply => DeedPhase::Probed(true),
            Verdict::Done => DeedPhase::Settled(Settled::Committed),
            Verdict::Aborted => DeedPhase::Settled(Settled::Aborted),
            Verdict::Stale => DeedPhase::Settled(Settled::Stale),
            Verdict::Forked | Verdict::RolledBack => DeedPhase::Settled(Settled::Halt),
        };
    }

    fn judge(&self, sink: &Sink, body: &Body, digest: u8) -> Verdict {
        if self.is(Mutant::NoProbe) {
            return Verdict::Apply;
        }
        if self.is(Mutant::DoneBySeq) && sink.seq == body.seq {
            return Verdict::Done;
        }
        let fingerprint = Fingerprint::of(&digest_of(sink.digest));
        let effect = if sink.aborted { Effect::Aborted(fingerprint) } else { Effect::Applied(fingerprint) };
        let found = (sink.seq != 0).then(|| Committed { seq: sink.seq.into(), effect });
        judge(body.seq.into(), &digest_of(digest), found)
    }

    /// The sink's compare-and-set on what was read; whether the committer hears of its success.
    pub(crate) fn commit(&self, state: &mut State, place: usize, heard: bool) {
        let deed = state.deeds[place];
        let unchanged = deed.phase == DeedPhase::Probed(true) || self.is(Mutant::ProbeWithoutCas);
        if !unchanged {
            state.deeds[place].phase = DeedPhase::Asked;
            return;
        }
        let body = state.bodies[usize::from(deed.digest) - 1];
        let manifests = match self.is(Mutant::BatchNotRedoLogged) {
            true => deed.draft.manifests,
            false => body.manifests,
        };
        let mut sink = Sink { seq: body.seq, digest: deed.digest, aborted: deed.abort, ..state.sink };
        if !deed.abort {
            (0..MAX_TASKS).filter(|at| manifests[*at] != 0).for_each(|at| sink.applied[at] = manifests[at]);
        }
        state.broken = invariants::of_commit(&state.sink, &sink, body.previous, &manifests);
        state.sink = sink;
        state.bodies[usize::from(deed.digest) - 1].aborted = deed.abort;
        state.sink_has_changed();
        state.deeds[place].phase = match (heard, deed.abort) {
            (false, _) => DeedPhase::Asked,
            (true, false) => DeedPhase::Settled(Settled::Committed),
            (true, true) => DeedPhase::Settled(Settled::Aborted),
        };
    }

    pub(crate) fn refuse(&self, state: &mut State, place: usize) {
        if state.deeds[place].phase == DeedPhase::Probed(true) {
            state.deeds[place].phase = DeedPhase::Settled(Settled::Refused);
            state.spent.refusals += 1;
        }
    }

    /// An answer arrives at the leader that waits for it.
    pub(crate) fn answer(&self, state: &mut State, place: usize) {
        let deed = std::mem::take(&mut state.deeds[place]);
        let speaker = match deed.heard {
            Heard::ByLeader => Speaker::Leader,
            Heard::ByFormer => Speaker::Former,
            Heard::No => return,
        };
        match deed.phase {
            DeedPhase::Prepared => {
                self.decide_and_write(state, speaker, Question::Record(deed.draft, deed.digest));
            }
            DeedPhase::FilesBad(task) => {
                self.decide_and_write(state, speaker, Question::Unseal(task));
            }
            DeedPhase::Settled(settled) => self.settled(state, speaker, settled),
            DeedPhase::None | DeedPhase::Preparing | DeedPhase::Asked | DeedPhase::Probed(_) => {}
        }
    }

    fn settled(&self, state: &mut State, speaker: Speaker, settled: Settled) {
        match settled {
            Settled::Committed => {
                let leader = state.coordinator_mut(speaker);
                (leader.batch, leader.abort) = ((leader.batch * 2).min(FULL_BATCH), false);
                self.publish(state, speaker);
            }
            Settled::Aborted => {
                let leader = state.coordinator_mut(speaker);
                let tasks = leader.table.intent.seals.iter().filter(|seal| **seal != 0).count() as u8;
                (leader.batch, leader.abort) = ((tasks / 2).max(1), false);
                if let Decision::Write(txn) = self.ask(state, speaker, Question::FinalizeAbort) {
                    self.write(state, speaker, &txn, true);
                }
            }
            Settled::Refused => state.coordinator_mut(speaker).abort = true,
            Settled::Stale => {}
            // Only a leader that leads calls an operator; a former one is late. After a restore there is a reason: whoever held
            // an intent of the other life has committed it. `admin restore` takes it over.
            Settled::Halt if speaker == Speaker::Former => {}
            Settled::Halt if state.backup.phase == BackupPhase::Restored => self.make_good(state),
            Settled::Halt => state.broken = HALTED,
        }
    }

    /// T9.
    fn publish(&self, state: &mut State, speaker: Speaker) {
        let leader = state.coordinator(speaker);
        let mut table = leader.table;
        if self.is(Mutant::BatchNotRedoLogged) && table.intent.revision != 0 {
            table.intent.seals = self.batch_of_the_moment(state, speaker).seals;
        }
        let published: [u8; MAX_TASKS] = std::array::from_fn(|at| match table.intent.seals[at] {
            0 => 0,
            _ => table.tasks[at].manifest,
        });
        let decision = decide(self.setting(), &table, leader.epoch, Question::Finalize);
        if let Decision::Write(txn) = decision
            && self.write(state, speaker, &txn, true)
            && state.broken == 0
        {
            state.broken = invariants::of_publication(state, &published);
        }
    }

    /// What is sealed right now: the batch of the mutant whose intents do not name theirs; nothing else looks at it.
    pub(crate) fn batch_of_the_moment(&self, state: &State, speaker: Speaker) -> Draft {
        let mut draft = Draft::default();
        if self.is(Mutant::BatchNotRedoLogged) {
            let tasks = &state.coordinator(speaker).table.tasks;
            for (at, task) in tasks.iter().enumerate().filter(|(_, task)| task.phase == Phase::Sealed) {
                (draft.seals[at], draft.manifests[at]) = (task.revision, task.manifest);
            }
        }
        draft
    }
}

impl Deed {
    pub(crate) fn is_under_way(&self) -> bool {
        self.phase != DeedPhase::None
    }
}
