//! The task: the unit of leasing, and its life.
//!
//! ```text
//!              plan                claim               seal            publish
//!   (nothing) ------> Pending ----------------> Claimed ------> Sealed --------> (gone; its window is covered)
//!                      ^  | ^                     |  |            |
//!            not ready |  | | error, lost lease   |  |            | manifest bad, intent aborted
//!                 Waiting | +---------------------+  |            v
//!                         v                          v         Pending
//!                     Cancelled                 Quarantined
//! ```
//!
//! A window may be cut into shards while its task is claimed: the others become tasks beside it, and it is sealed when all of
//! them are. Where it leaves its claim in any other way, they go.
//!
//! A published task leaves the ledger in the transaction that covers its window, unless the window is to be counted again:
//! then its record becomes that of the recount. A full load whose source is proven to be what is loaded is published from its
//! claim. A task over several windows that fails is replaced by two over half of them each.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    claim::Token,
    closed::Declared,
    compaction::GroupRef,
    id::{BackfillId, PipelineName, SinkId, TaskId, WorkerId},
    manifest::{Digest, ManifestRef, Proof},
    window::Window,
};

/// One window, or a run of adjacent windows, of one pipeline and one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    pub pipeline: PipelineName,
    pub sink: SinkId,
    /// 0 for a window that is loaded whole, and for the shard of whoever cut it.
    pub shard: u32,
    /// Which part of a window that was cut it is. The one that cut it learns that with its seal. Of a task that rewrites files:
    /// which ones; of one that compares keys, whether what it deletes is accepted unseen.
    pub part: Option<Part>,
    /// From the start of the first window to the end of the last one. Of a task that rewrites files: the stretch they lie in,
    /// or a version where nobody knows.
    pub window: Window,
    /// The starts of the windows behind the first, so that a run can be split where windows meet.
    pub seams: Seams,
    /// 0 for the first time a window is moved; one more for each time it is moved again.
    pub revision: u32,
    pub lane: Lane,
    /// Of a recount: what the source was proven to hold when the windows were loaded.
    pub proof: Option<Proof>,
    /// Of a recount of a window that is closed, and of a load of what came late to it: the manifest it was loaded with.
    pub loaded: Option<Digest>,
    /// Whoever has declared its window complete: nothing is read for it.
    pub declared: Option<Box<Declared>>,
    pub created: Timestamp,
    /// Times the task was claimed.
    pub attempts: u32,
    /// Attempts that ended with an error.
    pub errors: u32,
    /// Attempts that ended because nothing was heard of their worker.
    pub lost_leases: u32,
    /// Attempts that ended for want of something they need, since the last one that got through.
    pub outage: Outage,
    /// The W3C `traceparent` of the request that made the task.
    pub trace: Option<String>,
    pub state: TaskState,
}

/// One of the shards a window was cut into. They are published together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many there are.
    pub of: u32,
    /// What this one reads, in the words of the source that cut it; empty for whoever cut it.
    pub what: String,
}

/// Attempts in a row that ended because something could not be reached: the source, the sink's storage, or the sink
/// worker. They are no errors of the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// When the first of them ended; absent if there is none. For people: wall clocks jump.
    pub since: Option<Timestamp>,
    /// How long they and the pauses between them took together, by no wall clock.
    pub lasted_ms: u64,
    /// How many there were.
    pub attempts: u32,
    /// Those whose stream to the sink worker broke.
    pub broken_hops: u32,
}

impl Outage {
    /// Streams in a row that may break before the task itself is taken for what breaks them. With pauses that double up to
    /// `retries.max_backoff` that takes more than an hour by default.
    pub const MAX_BROKEN_HOPS: u32 = 30;
}

/// Whether a task came from the running schedule or from a backfill, only counts a published window again, came from looking
/// for small files, or compares keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Live,
    Backfill(BackfillId),
    /// It moves no row: the source is asked again what it holds for a window that is published.
    Recount,
    /// It rewrites a group of files of the table, and moves no window.
    Compact,
    /// It compares the keys of the table with those of the source, and moves no window.
    Compare,
}

impl Lane {
    /// The backfill it is of.
    pub fn backfill(&self) -> Option<&BackfillId> {
        match self {
            Self::Backfill(id) => Some(id),
            Self::Live | Self::Recount | Self::Compact | Self::Compare => None,
        }
    }
}

/// Where the windows of a run meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seams {
    /// The run has one window.
    None,
    /// The windows are `every` units of the axis long, the last one perhaps shorter.
    Every(i64),
    /// Calendar windows of unequal length: the inner bounds, ascending.
    At(Vec<i64>),
}

/// What may happen to a task next, and what is known because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Set when a worker found that the window's source is not complete yet. Costs no attempt and holds no worker.
    Waiting { until: Timestamp, reason: String },
    /// May be claimed from `not_before` on. Set by planning, by a failed attempt and by a lost lease.
    Pending { not_before: Timestamp, last_failure: Option<Failure> },
    /// Set by the claiming transaction, whose revision is the token.
    Claimed { worker: WorkerId, since: Timestamp },
    /// Set by the holder of the token. The files exist and will be published.
    Sealed { worker: WorkerId, token: Token, manifest: ManifestRef, since: Timestamp },
    /// Given up after too many attempts; an operator decides.
    Quarantined { failure: Failure },
    /// Withdrawn before it was sealed.
    Cancelled,
}

/// [`TaskState`] without what it carries, for metrics, logs and queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskPhase {
    Waiting,
    Pending,
    Claimed,
    Sealed,
    Quarantined,
    Cancelled,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A code of [`crate::error::CATALOGUE`].
    pub code: String,
    pub message: String,
    pub retry: Retry,
    pub at: Timestamp,
    /// How long the attempt had worked by then, by the worker's monotonic clock; zero if nobody worked at anything.
    pub took: Duration,
    pub worker: Option<WorkerId>,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The cause may pass: a network, a lock, a full disk.
    Later,
    /// The same input will fail the same way: bad data, a missing column, no permission.
    Never,
}

impl Task {
    /// One that nobody has tried yet, of a stretch that is moved for the first time and as a whole.
    pub fn new(
        id: TaskId,
        (pipeline, sink): (PipelineName, SinkId),
        lane: Lane,
        window: Window,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            pipeline,
            sink,
            shard: 0,
            part: None,
            window,
            seams: Seams::None,
            revision: 0,
            lane,
            proof: None,
            loaded: None,
            declared: None,
            created: now,
            attempts: 0,
            errors: 0,
            lost_leases: 0,
            outage: Outage::default(),
            trace: None,
            state: TaskState::Pending { not_before: now, last_failure: None },
        }
    }

    /// The files it rewrites; `None` for a task that moves windows.
    pub fn group(&self) -> Option<GroupRef> {
        let part = self.part.as_ref().filter(|_| self.lane == Lane::Compact)?;
        serde_json::from_str(&part.what).ok()
    }

    /// The task that stands for its window: itself, unless it is a shard that somebody cut off.
    pub fn first(&self) -> TaskId {
        match self.shard {
            0 => self.id,
            _ => TaskId::of(&self.pipeline, 0, &self.window, self.revision),
        }
    }
}

impl TaskState {
    pub fn phase(&self) -> TaskPhase {
        match self {
            Self::Waiting { .. } => TaskPhase::Waiting,
            Self::Pending { .. } => TaskPhase::Pending,
            Self::Claimed { .. } => TaskPhase::Claimed,
            Self::Sealed { .. } => TaskPhase::Sealed,
            Self::Quarantined { .. } => TaskPhase::Quarantined,
            Self::Cancelled => TaskPhase::Cancelled,
        }
    }
}

impl TaskPhase {
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Pending, Self::Claimed, Self::Sealed, Self::Quarantined, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Sealed => "sealed",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for TaskPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Task {
    /// How many windows the task covers.
    pub fn windows(&self) -> usize {
        self.inner_bounds().len() + 1
    }

    /// The windows the task covers, in order.
    pub fn each_window(&self) -> Vec<Window> {
        let (start, end) = (self.window.start(), self.window.end());
        let inner = self.inner_bounds();
        let starts = std::iter::once(start).chain(inner.iter().copied());
        let ends = inner.iter().copied().chain(std::iter::once(end));
        starts.zip(ends).filter_map(|(from, to)| Window::new(self.window.axis(), from, to).ok()).collect()
    }

    /// The starts of the windows behind the first.
    pub fn inner_bounds(&self) -> Vec<i64> {
        let (start, end) = (self.window.start(), self.window.end());
        match &self.seams {
            Seams::None => Vec::new(),
            Seams::Every(step) if *step > 0 => {
                std::iter::successors(start.checked_add(*step), |at| at.checked_add(*step))
                    .take_while(|at| *at < end)
                    .collect()
            }
            Seams::Every(_) => Vec::new(),
            Seams::At(bounds) => bounds.iter().copied().filter(|at| start < *at && *at < end).collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::window::Axis;

    pub(crate) fn run(start: i64, end: i64, seams: Seams) -> Task {
        let window = Window::new(Axis::Time, start, end).unwrap();
        let pipeline: PipelineName = "flights".parse().unwrap();
        Task {
            id: TaskId::of(&pipeline, 0, &window, 0),
            pipeline,
            sink: "lake".parse().unwrap(),
            shard: 0,
            part: None,
            window,
            seams,
            revision: 0,
            lane: Lane::Live,
            created: Timestamp::UNIX_EPOCH,
            attempts: 0,
            errors: 0,
            lost_leases: 0,
            proof: None,
            loaded: None,
            declared: None,
            outage: Outage::default(),
            trace: None,
            state: TaskState::Pending { not_before: Timestamp::UNIX_EPOCH, last_failure: None },
        }
    }

    #[test]
    fn the_windows_of_a_run_tile_it() {
        for task in [run(0, 10, Seams::None), run(0, 10, Seams::Every(3)), run(0, 10, Seams::At(vec![2, 7]))] {
            let windows = task.each_window();
            assert_eq!(windows.len(), task.windows());
            assert_eq!(windows[0].start(), 0);
            assert_eq!(windows.last().unwrap().end(), 10);
            assert!(windows.windows(2).all(|pair| pair[0].end() == pair[1].start()));
        }
        assert_eq!(run(0, 10, Seams::Every(3)).windows(), 4);
    }
}
