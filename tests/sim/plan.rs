//! What goes wrong in a run. Each seed has faults of its own, some kinds and not all of them: kinds that always come
//! together hide each other.

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// etcd refuses a call before doing anything.
    EtcdRefuses,
    /// etcd does what it was asked and the reply never comes.
    EtcdReplyLost,
    /// A call reaches etcd late, perhaps after its caller gave up.
    EtcdLate,
    /// A read that claims to be linearizable shows an older state.
    StaleRead,
    /// The leader's lease ends, and its renewals are answered as if it had not.
    FalseRenewal,
    /// A lease ends seconds after its time.
    LateExpiry,
    /// All history is compacted.
    Compaction,
    /// etcd goes down and comes back.
    EtcdDown,
    /// A coordinator is killed and started again.
    CoordinatorKilled,
    /// A worker is killed and started again.
    WorkerKilled,
    /// A worker is told to stop, drains and leaves.
    WorkerStopped,
    /// Two hosts cannot reach each other; what was under way is lost.
    Partition,
    /// One host cannot reach another, which can reach it.
    OneWay,
    /// What two hosts say to each other waits, and arrives later.
    Held,
    /// A host stands still: nothing it says leaves, nothing reaches it, and its clock stops; then it goes on as if
    /// no time had passed.
    Suspended,
    /// A host was stopped for seconds: to what runs on it, its monotonic clock leaps ahead.
    Jolted,
    /// Messages take longer.
    Slow,
    /// A wall clock jumps by an hour or a day.
    ClockJump,
    /// Reading fails.
    SourceFails,
    /// Reading stops for longer than a lease lasts.
    SourceStalls,
    /// The object store fails without doing anything.
    StoreFails,
    /// The object store does what it was asked and the reply is an error.
    StoreReplyLost,
    /// The object store creates an object, and says that it was there before.
    StoreEcho,
    /// A call of the object store takes longer than a lease lasts, then is done.
    StoreStalls,
    /// The object store is done at once, and its answer takes longer than a lease lasts.
    StoreAnswersLate,
}

impl Fault {
    pub(crate) const ALL: [Self; 25] = [
        Self::EtcdRefuses,
        Self::EtcdReplyLost,
        Self::EtcdLate,
        Self::StaleRead,
        Self::FalseRenewal,
        Self::LateExpiry,
        Self::Compaction,
        Self::EtcdDown,
        Self::CoordinatorKilled,
        Self::WorkerKilled,
        Self::WorkerStopped,
        Self::Partition,
        Self::OneWay,
        Self::Held,
        Self::Suspended,
        Self::Jolted,
        Self::Slow,
        Self::ClockJump,
        Self::SourceFails,
        Self::SourceStalls,
        Self::StoreFails,
        Self::StoreReplyLost,
        Self::StoreEcho,
        Self::StoreStalls,
        Self::StoreAnswersLate,
    ];

    /// Whether it befalls hosts and links from time to time, rather than single calls.
    pub(crate) fn is_timed(self) -> bool {
        use Fault::*;
        matches!(
            self,
            Compaction
                | FalseRenewal
                | EtcdDown
                | CoordinatorKilled
                | WorkerKilled
                | WorkerStopped
                | Partition
                | OneWay
                | Held
                | Suspended
                | Jolted
                | Slow
                | ClockJump
        )
    }

    /// How much rarer than others it is among single calls: those that hold something up for a minute are.
    fn rarity(self) -> f64 {
        use Fault::*;
        match self {
            StoreStalls | StoreAnswersLate => 6.0,
            // There are few occasions.
            LateExpiry => 0.02,
            _ => 1.0,
        }
    }
}

/// A guard left out, to show that the simulation sees what it guards against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// etcd takes writes of former leaders.
    Unguarded,
    /// etcd takes what the leader sent before its fence.
    Unfenced,
    /// A source gives its rows twice.
    Doubles,
    /// A commit does not say which files the rewritten ones stand for.
    Unretired,
    /// Markers cannot be taken away.
    Unwithdrawn,
    /// Whoever looks says that all input is complete.
    Unready,
}

impl Sabotage {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "unguarded" => Some(Self::Unguarded),
            "unfenced" => Some(Self::Unfenced),
            "doubles" => Some(Self::Doubles),
            "unretired" => Some(Self::Unretired),
            "unwithdrawn" => Some(Self::Unwithdrawn),
            "unready" => Some(Self::Unready),
            _ => None,
        }
    }
}

/// A run's settings.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) faults: BTreeSet<Fault>,
    /// How many of a hundred calls go wrong.
    rate: f64,
    /// How often something befalls a host or a link, about.
    pub(crate) every: Duration,
    /// How long things go wrong.
    pub(crate) faulty_for: Duration,
    pub(crate) coordinators: usize,
    pub(crate) workers: usize,
    pub(crate) per_task: u32,
    pub(crate) windows: u32,
    pub(crate) concurrency: u32,
    /// Whether small files are rewritten, windrow's own and those of others.
    pub(crate) compacts: bool,
    /// Whether windows wait for their input, get markers, and stay as they are when they are published.
    pub(crate) waits: bool,
    /// Whether some have sealed windows wait for more of them.
    pub(crate) gathers: bool,
    /// Whether somebody holds versions for moments.
    pub(crate) pins: bool,
}

impl Plan {
    /// Seed 0 is a run without faults, and with everything else.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let mut course = course(seed);
        let share = *pick(&mut rng, &[0.25, 0.5, 0.8]);
        let faults = Fault::ALL.into_iter().filter(|_| seed != 0 && rng.random_bool(share)).collect();
        Self {
            faults,
            rate: *pick(&mut rng, &[0.004, 0.01, 0.03]),
            every: Duration::from_millis(*pick(&mut rng, &[1_000, 2_500, 5_000])),
            faulty_for: Duration::from_secs(if seed == 0 { 0 } else { rng.random_range(12..45) }),
            coordinators: rng.random_range(2..=3),
            workers: rng.random_range(2..=3),
            per_task: *pick(&mut rng, &[1, 2, 5]),
            windows: rng.random_range(6..=16),
            concurrency: rng.random_range(2..=6),
            compacts: seed == 0 || course.random_bool(0.6),
            waits: seed == 0 || course.random_bool(0.6),
            gathers: seed == 0 || course.random_bool(0.5),
            pins: seed == 0 || course.random_bool(0.4),
        }
    }

    /// How likely a call is to go wrong in this way.
    pub(crate) fn chance(&self, fault: Fault) -> f64 {
        if self.faults.contains(&fault) { (self.rate / fault.rarity()).min(0.5) } else { 0.0 }
    }
}

/// What a run is about comes from numbers of its own: seeds that go without it go as they went before there was any of it.
fn course(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ 0x636f_7572)
}

pub(crate) fn pick<'a, T>(rng: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[rng.random_range(0..of.len())]
}
