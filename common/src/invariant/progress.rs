//! That things stay bounded and come to an end.

use super::{Violation, holds};
use crate::{
    pipeline::Retries,
    task::{Outage, Task, TaskPhase},
};

/// INV-16: a task has no more errors, lost leases and broken hops than it may have.
pub fn attempts_are_capped(task: &Task, retries: &Retries) -> Result<(), Violation> {
    let Task { id, errors, lost_leases, outage, .. } = task;
    let capped = *errors <= retries.attempts
        && *lost_leases <= retries.lost_leases
        && outage.broken_hops <= Outage::MAX_BROKEN_HOPS;
    holds("INV-16", capped, || {
        format!("task {id} has {errors} errors, {lost_leases} lost leases and {} broken hops", outage.broken_hops)
    })
}

/// INV-20: something that must stay bounded does.
pub fn stays_within(what: &str, size: usize, most: usize) -> Result<(), Violation> {
    holds("INV-20", size <= most, || format!("{what}: {size}, at most {most} are allowed"))
}

/// INV-21: once nothing goes wrong any more, each task that is left waits for an operator, and no intent is open.
pub fn everything_settles<'a>(tasks: impl IntoIterator<Item = &'a Task>, open_intents: usize) -> Result<(), Violation> {
    for task in tasks {
        let phase = task.state.phase();
        let settled = matches!(phase, TaskPhase::Quarantined | TaskPhase::Cancelled);
        holds("INV-21", settled, || format!("task {} is {phase} in the end", task.id))?;
    }
    holds("INV-21", open_intents == 0, || format!("{open_intents} intents are open in the end"))
}
