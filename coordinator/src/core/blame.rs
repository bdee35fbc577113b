//! Whose fault a failure is, and what follows from that: how long the task pauses, and whether it is to be given up.
//!
//! | what failed | counts as | given up after |
//! |---|---|---|
//! | the task: bad data, a bug, a deadline | an error | `retries.attempts` errors; at once if trying again cannot help |
//! | the way to the sink worker | no error | [`Outage::MAX_BROKEN_HOPS`] in a row: then the task is what breaks it |
//! | the source or the sink cannot be reached, no space is left | no error | `retries.outage` |
//!
//! An outage is as long as its attempts and the pauses between them. The wall clock has no say: one that jumps by a day
//! would end an outage of a minute.

use std::time::Duration;

use windrow_common::{
    error::{self, ErrorCode},
    pipeline::Retries,
    task::{Failure, Outage, Retry, Task},
};

use super::lifecycle::Now;

/// Whose fault a failed attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The task's own, as far as anybody can tell.
    Task,
    /// The way to the sink worker: it stopped, its address is wrong, it does not know the ticket's key yet.
    Hop,
    /// The source or the sink: it would fail any task that needs it now.
    Place,
}

/// The shortest pause after something could not be reached, before it is spread: no loop is hot.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// However short a pipeline's pauses are, these grow up to so much at least.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// Whose fault the failure is.
pub fn of(failure: &Failure) -> Blame {
    let any = |codes: &[ErrorCode]| codes.iter().any(|code| code.code == failure.code);
    match failure.retry {
        Retry::Never => Blame::Task,
        Retry::Later if any(&[error::FLIGHT_BROKEN, error::TICKET_REFUSED]) => Blame::Hop,
        Retry::Later if any(&[error::SOURCE_UNREADABLE, error::SINK_UNREACHABLE, error::SINK_FULL]) => Blame::Place,
        Retry::Later => Blame::Task,
    }
}

/// Counts a failure against the task. Returns how long it is to pause, or `None` if it is given up.
pub fn count(task: &mut Task, retries: &Retries, failure: &Failure, now: Now) -> Option<Duration> {
    let blame = of(failure);
    if blame == Blame::Task {
        task.errors += 1;
        task.outage = Outage::default();
        let hopeless = failure.retry == Retry::Never || task.errors >= retries.attempts;
        return (!hopeless).then(|| backoff(retries, task.errors, now.jitter));
    }
    let outage = &mut task.outage;
    outage.since.get_or_insert(now.wall);
    outage.attempts = outage.attempts.saturating_add(1);
    outage.lasted_ms = outage.lasted_ms.saturating_add(millis(failure.took));
    let over = match blame {
        Blame::Hop => {
            outage.broken_hops += 1;
            outage.broken_hops >= Outage::MAX_BROKEN_HOPS
        }
        _ => outage.lasted_ms >= millis(retries.outage.0),
    };
    if over {
        return None;
    }
    let pause = pause(retries, outage.attempts, now.jitter);
    outage.lasted_ms = outage.lasted_ms.saturating_add(millis(pause));
    Some(pause)
}

/// The longest pause after any failure.
pub fn longest_pause(retries: &Retries) -> Duration {
    retries.max_backoff.0.max(LONG_PAUSE)
}

/// Whether each half of a run would fail in the same way, at the price of reading the input again: it is the input as a
/// whole, the pipeline or the sink that is to blame.
pub fn concerns_every_window(failure: &Failure) -> bool {
    let whole = [
        error::SOURCE_MISSING,
        error::SOURCE_UNREADABLE,
        error::SOURCE_CORRUPT,
        error::SOURCE_FORBIDDEN,
        error::SOURCE_REFUSED,
        error::SCHEMA_MISMATCH,
        error::UNKNOWN_CONNECTOR,
        error::SECRET_UNRESOLVED,
        error::BAD_SQL,
        error::SINK_UNREACHABLE,
        error::SINK_FORBIDDEN,
        error::SINK_FULL,
        error::SINK_SCHEMA,
        error::SINK_UNSUPPORTED_TYPE,
    ];
    whole.iter().any(|code| code.code == failure.code)
}

/// Exponential with full jitter, so that tasks that failed together do not come back together.
fn backoff(retries: &Retries, errors: u32, jitter: f64) -> Duration {
    doubled(retries.backoff.0, errors).min(retries.max_backoff.0).mul_f64(jitter.clamp(0.0, 1.0))
}

/// The same, but at least half of it passes: what is down now is down in a moment, too.
fn pause(retries: &Retries, attempts: u32, jitter: f64) -> Duration {
    let whole = doubled(retries.backoff.0.max(FIRST_PAUSE), attempts).min(longest_pause(retries));
    whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX))
}
