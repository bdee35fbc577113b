//! From every state, with nothing going wrong any more, everything comes to its end: INV-21. Healing is one way and states
//! share most of it, so what was seen to heal is remembered.

use std::{
    cell::RefCell,
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use windrow_common::invariant::Violation;

use crate::{
    act::{Act, Speaker},
    ledger::{MAX_TASKS, Phase},
    model::Lifecycle,
    state::{AttemptPhase, DeedPhase, Heard, Spent, State},
};

/// Steps within which the largest model must be done.
const MOST_STEPS: usize = 100;

thread_local! {
    /// States that healed, by their hashes. The threads of each exploration are its own.
    static HEALED: RefCell<HashSet<u64>> = RefCell::default();
}

/// 0 if the state heals, else the number of what is broken.
pub(crate) fn check(model: &Lifecycle, state: &State) -> u8 {
    let mut now = *state;
    now.forget_former();
    now.spent = Spent::default();
    for deed in now.deeds.iter_mut().filter(|deed| deed.heard == Heard::No) {
        *deed = Default::default();
    }
    now.normalize();
    let mut way = Vec::new();
    for _ in 0..MOST_STEPS {
        let at = hash(&now);
        if HEALED.with_borrow(|healed| healed.contains(&at)) {
            return remember(&way);
        }
        way.push(at);
        let Some(act) = next(&now) else { break };
        model.apply(&mut now, act);
        now.normalize();
        now.broken = if now.broken == 0 { crate::invariants::of_state(&now) } else { now.broken };
        if now.broken != 0 {
            return now.broken;
        }
    }
    match settled(&now) {
        Ok(()) => remember(&way),
        Err(violation) => crate::invariants::number(Err(violation)),
    }
}

fn remember(way: &[u64]) -> u8 {
    HEALED.with_borrow_mut(|healed| healed.extend(way));
    0
}

fn hash(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// What a world without faults does next; nothing when there is nothing to do.
fn next(state: &State) -> Option<Act> {
    if let Some(at) = state.deeds.iter().position(|deed| deed.is_under_way()) {
        let place = at as u8;
        return Some(match state.deeds[at].phase {
            DeedPhase::None | DeedPhase::Prepared | DeedPhase::FilesBad(_) | DeedPhase::Settled(_) => {
                Act::Answer(place)
            }
            DeedPhase::Preparing => Act::Prepare(place),
            DeedPhase::Asked => Act::Probe(place),
            DeedPhase::Probed(_) => Act::Commit(place, true),
        });
    }
    for task in 0..MAX_TASKS {
        let at = task as u8;
        match state.leader.table.tasks[task].phase {
            Phase::Pending => return Some(Act::Claim(Speaker::Leader, at)),
            Phase::Claimed => {
                let newest = state.claims(task) - 1;
                let attempt = newest as u8;
                return Some(match state.attempts[task][newest].phase {
                    AttemptPhase::Running => Act::Stage(at, attempt),
                    AttemptPhase::Staged => Act::Seal(Speaker::Leader, at, attempt),
                    AttemptPhase::None | AttemptPhase::Dead => Act::Reap(Speaker::Leader, at),
                });
            }
            Phase::Gone | Phase::Sealed | Phase::Quarantined => {}
        }
    }
    let records = &state.leader.table;
    let open = records.intent.revision != 0 || records.tasks.iter().any(|task| task.phase == Phase::Sealed);
    open.then_some(Act::Next(Speaker::Leader))
}

fn settled(state: &State) -> Result<(), Violation> {
    let open = |at: &usize| !matches!(state.store.records.tasks[*at].phase, Phase::Gone | Phase::Quarantined);
    let message = match (0..MAX_TASKS).find(open) {
        Some(task) => format!("task {task} has not come to its end"),
        None if state.store.records.intent.revision != 0 => "an intent is open in the end".to_owned(),
        None => return Ok(()),
    };
    Err(Violation { id: "INV-21", message })
}
