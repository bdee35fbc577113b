//! What can happen next.

use crate::{
    ledger::{MAX_TASKS, Phase},
    model::Bounds,
    mutant::Mutant,
    state::{AttemptPhase, BackupPhase, DeedPhase, Heard, State, SweepPhase},
};

/// One step of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// T1.
    Claim(Speaker, u8),
    /// T5.
    Reap(Speaker, u8),
    /// T10.
    Cancel(Speaker, u8),
    /// What the sink needs next: T6, a question to work out an intent, or to carry one out.
    Next(Speaker),
    /// An attempt (task, claim) writes its file; it may have lost its claim long ago.
    Stage(u8, u8),
    /// T3, asked of this leader.
    Seal(Speaker, u8, u8),
    /// T4.
    Fail(Speaker, u8, u8),
    /// A committer works an intent out, or finds a file missing.
    Prepare(u8),
    /// A committer takes a sound file for a bad one.
    FindBad(u8),
    /// A committer looks at the sink.
    Probe(u8),
    /// A committer writes to the sink what it was asked to; whether it hears that it succeeded.
    Commit(u8, bool),
    /// The sink refuses an intent.
    Refuse(u8),
    /// A committer's answer arrives: T7, T3', T9 or T11.
    Answer(u8),
    /// A committer dies.
    Crash(u8),
    /// The session with a committer breaks; it works on, unheard.
    Detach(u8),
    /// Somebody else commits to the table.
    WriteFromOutside,
    /// The committer is gone; the other one is there.
    ReplaceCommitter,
    /// Another coordinator leads; the one before has not noticed.
    ReplaceLeader,
    /// A sweep that this leader asked for lists what is staged.
    SweepList(Speaker),
    /// The leader that asked for the list tells what lives.
    SweepTell,
    /// The sweep looks at what the sink refers to.
    SweepLook,
    SweepDelete,
    BackUp,
    /// The store is put back to its backup, and `admin restore` repairs it from the sink.
    Restore,
}

/// Which coordinator acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speaker {
    Leader,
    Former,
}

impl Speaker {
    pub(crate) fn heard(self) -> Heard {
        match self {
            Self::Leader => Heard::ByLeader,
            Self::Former => Heard::ByFormer,
        }
    }
}

/// Everything that may happen, some of it to no effect.
pub(crate) fn possible(state: &State, bounds: &Bounds, mutant: Option<Mutant>, acts: &mut Vec<Act>) {
    if state.broken != 0 {
        return;
    }
    of_leaders(state, bounds, acts);
    of_attempts(state, bounds, acts);
    of_committers(state, bounds, acts);
    of_sweep(state, bounds, mutant, acts);
    let spent = &state.spent;
    if spent.leaders < bounds.leaders {
        acts.push(Act::ReplaceLeader);
    }
    if spent.committers < bounds.committers {
        acts.push(Act::ReplaceCommitter);
    }
    if bounds.restores {
        match state.backup.phase {
            BackupPhase::None => acts.push(Act::BackUp),
            BackupPhase::Taken => acts.push(Act::Restore),
            BackupPhase::Restored => {}
        }
    }
}

fn speakers(state: &State) -> impl Iterator<Item = Speaker> {
    let former = (state.former.elected != 0).then_some(Speaker::Former);
    std::iter::once(Speaker::Leader).chain(former)
}

fn of_leaders(state: &State, bounds: &Bounds, acts: &mut Vec<Act>) {
    for speaker in speakers(state) {
        let table = match speaker {
            Speaker::Leader => &state.leader.table,
            Speaker::Former => &state.former.table,
        };
        for task in 0..MAX_TASKS {
            let at = task as u8;
            match table.tasks[task].phase {
                Phase::Pending if state.claims(task) < usize::from(bounds.claims) => acts.push(Act::Claim(speaker, at)),
                Phase::Claimed => acts.push(Act::Reap(speaker, at)),
                _ => {}
            }
            let cancellable = matches!(table.tasks[task].phase, Phase::Pending | Phase::Claimed | Phase::Quarantined);
            if cancellable && state.spent.cancels < bounds.cancels {
                acts.push(Act::Cancel(speaker, at));
            }
        }
        if state.heard(speaker.heard()).is_none() {
            acts.push(Act::Next(speaker));
        }
    }
}

fn of_attempts(state: &State, bounds: &Bounds, acts: &mut Vec<Act>) {
    for task in 0..MAX_TASKS {
        for attempt in 0..state.claims(task) {
            let (task_, attempt_) = (task as u8, attempt as u8);
            let phase = state.attempts[task][attempt].phase;
            if phase == AttemptPhase::Running {
                acts.push(Act::Stage(task_, attempt_));
            }
            for speaker in speakers(state) {
                if phase == AttemptPhase::Staged {
                    acts.push(Act::Seal(speaker, task_, attempt_));
                }
                let alive = matches!(phase, AttemptPhase::Running | AttemptPhase::Staged);
                if alive && state.spent.failures < bounds.failures {
                    acts.push(Act::Fail(speaker, task_, attempt_));
                }
            }
        }
    }
}

fn of_committers(state: &State, bounds: &Bounds, acts: &mut Vec<Act>) {
    for (place, deed) in state.deeds.iter().enumerate() {
        let at = place as u8;
        match deed.phase {
            DeedPhase::None => continue,
            DeedPhase::Preparing => {
                acts.push(Act::Prepare(at));
                if state.spent.bad_files < bounds.bad_files {
                    acts.push(Act::FindBad(at));
                }
            }
            DeedPhase::Asked => acts.push(Act::Probe(at)),
            DeedPhase::Probed(fresh) => {
                acts.push(Act::Commit(at, true));
                acts.push(Act::Commit(at, false));
                if fresh {
                    acts.push(Act::WriteFromOutside);
                }
                if !deed.abort && state.spent.refusals < bounds.refusals {
                    acts.push(Act::Refuse(at));
                }
            }
            DeedPhase::Prepared | DeedPhase::FilesBad(_) | DeedPhase::Settled(_) => acts.push(Act::Answer(at)),
        }
        acts.push(Act::Crash(at));
        if deed.heard != Heard::No {
            acts.push(Act::Detach(at));
        }
    }
}

fn of_sweep(state: &State, bounds: &Bounds, mutant: Option<Mutant>, acts: &mut Vec<Act>) {
    let asks_first = mutant == Some(Mutant::SweepAsksFirst);
    match state.sweep.phase {
        SweepPhase::None if state.spent.sweeps < bounds.sweeps => match asks_first {
            true => acts.push(Act::SweepTell),
            false => acts.extend(speakers(state).map(Act::SweepList)),
        },
        SweepPhase::None => {}
        SweepPhase::Listed => acts.push(if asks_first { Act::SweepLook } else { Act::SweepTell }),
        SweepPhase::Told => acts.push(if asks_first { Act::SweepList(Speaker::Leader) } else { Act::SweepLook }),
        SweepPhase::Looked => acts.push(Act::SweepDelete),
    }
}
