//! What all hosts of a run share: the seed's chances, the clocks, the fake etcd and object store, and what was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use windrow_common::{invariant::Violation, shutdown::Shutdown, window::Window};
use windrow_coordinator::{
    core::coverage::IntervalSet,
    ledger::Keys,
    run::Standing,
    store::{EmbeddedStore, MetaStore, Range},
};

use crate::{
    bucket::Objects,
    clock::HostClock,
    etcd::Leases,
    plan::{Fault, Plan, Sabotage},
    trace::Trace,
};

pub(crate) const CLUSTER: &str = "sim";

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) sabotage: Option<Sabotage>,
    chance: Mutex<StdRng>,
    trace: Mutex<Trace>,
    elapsed: AtomicU64,
    /// Whether things go wrong at present.
    faulty: AtomicBool,
    injected: Mutex<BTreeMap<Fault, u64>>,
    violations: Mutex<Vec<String>>,
    clocks: Mutex<BTreeMap<String, HostClock>>,
    suspended: Mutex<BTreeSet<String>>,
    /// How each host's software is told to stop.
    running: Mutex<BTreeMap<String, Shutdown>>,
    starts: AtomicU64,
    /// Who leads, or believes to.
    standings: Mutex<BTreeMap<String, Arc<Standing>>>,
    asked: AtomicBool,
    /// The windows whose input is complete.
    delivered: Mutex<IntervalSet>,
    /// Whether somebody else goes on filling a folder.
    others: AtomicBool,
    /// What etcd holds.
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) leases: Mutex<Leases>,
    pub(crate) objects: Objects,
    pub(crate) keys: Keys,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, tells: bool) -> Arc<Self> {
        let plan = Plan::of(seed);
        Arc::new(Self {
            sabotage,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            trace: Mutex::new(Trace::new(tells)),
            elapsed: AtomicU64::new(0),
            faulty: AtomicBool::new(true),
            injected: Mutex::default(),
            violations: Mutex::default(),
            clocks: Mutex::default(),
            suspended: Mutex::default(),
            running: Mutex::default(),
            starts: AtomicU64::new(0),
            standings: Mutex::default(),
            asked: AtomicBool::new(false),
            delivered: Mutex::default(),
            others: AtomicBool::new(plan.compacts),
            store: Arc::new(EmbeddedStore::in_memory()),
            leases: Mutex::default(),
            objects: Objects::default(),
            keys: Keys::of_cluster(CLUSTER),
            plan,
        })
    }

    /// The simulation's time, the same for all hosts.
    pub(crate) fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or(Duration::from_micros(self.elapsed.load(Ordering::Relaxed)))
    }

    /// Tells the time to those who ask between two steps.
    pub(crate) fn set_now(&self, now: Duration) {
        self.elapsed.store(now.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self, host: &str) -> HostClock {
        self.clocks.lock().unwrap().entry(host.to_owned()).or_default().clone()
    }

    /// Stops a host's clock and its work; its network is up to the caller.
    pub(crate) fn suspend(&self, host: &str) {
        self.clock(host).stop(self.now());
        self.suspended.lock().unwrap().insert(host.to_owned());
    }

    pub(crate) fn wake(&self, host: &str) {
        self.clock(host).go_on(self.now());
        self.suspended.lock().unwrap().remove(host);
    }

    pub(crate) fn is_suspended(&self, host: &str) -> bool {
        self.suspended.lock().unwrap().contains(host)
    }

    /// Counts starts of processes.
    pub(crate) fn next_start(&self) -> u64 {
        self.starts.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn started(&self, host: &str, shutdown: Shutdown) {
        self.running.lock().unwrap().insert(host.to_owned(), shutdown);
    }

    pub(crate) fn serves(&self, host: &str, standing: Arc<Standing>) {
        self.standings.lock().unwrap().insert(host.to_owned(), standing);
    }

    /// How many coordinators lead, or believe to.
    pub(crate) fn leaders(&self) -> usize {
        self.standings.lock().unwrap().values().filter(|standing| standing.controller().is_some()).count()
    }

    /// The lease under which the leader leads.
    pub(crate) fn leader_lease(&self) -> Option<i64> {
        let leader = self.store.range(Range { limit: 1, ..Range::prefix(self.keys.leader()) }).now_or_never()?.ok()?;
        leader.entries.first()?.lease.map(|lease| lease.0)
    }

    /// The user has nothing more to ask for.
    pub(crate) fn all_asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// A window's input is complete.
    pub(crate) fn deliver(&self, window: &Window) {
        self.delivered.lock().unwrap().insert(window.start(), window.end());
    }

    /// Whether all of a stretch has its input.
    pub(crate) fn is_delivered(&self, start: i64, end: i64) -> bool {
        self.delivered.lock().unwrap().covers(start, end)
    }

    /// Nobody else has anything more to do either.
    pub(crate) fn others_are_done(&self) {
        self.others.store(false, Ordering::Relaxed);
    }

    /// Whether nobody has anything more to ask for.
    pub(crate) fn is_all_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && !self.others.load(Ordering::Relaxed)
    }

    /// Tells a host's software to stop.
    pub(crate) fn stop(&self, host: &str) {
        if let Some(shutdown) = self.running.lock().unwrap().get(host) {
            shutdown.begin();
        }
    }

    pub(crate) fn note(&self, event: impl AsRef<str>) {
        self.trace.lock().unwrap().note(self.now(), event.as_ref());
    }

    /// Whether a call goes wrong in this way.
    pub(crate) fn strikes(&self, fault: Fault, what: &str) -> bool {
        let chance = self.plan.chance(fault);
        if chance == 0.0 || !self.is_faulty() || !self.draw(|rng| rng.random_bool(chance)) {
            return false;
        }
        self.injected(fault, what);
        true
    }

    /// A fault was injected.
    pub(crate) fn injected(&self, fault: Fault, what: &str) {
        *self.injected.lock().unwrap().entry(fault).or_default() += 1;
        self.note(format!("fault {fault:?}: {what}"));
    }

    pub(crate) fn draw<T>(&self, from: impl FnOnce(&mut StdRng) -> T) -> T {
        from(&mut self.chance.lock().unwrap())
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.faulty.load(Ordering::Relaxed)
    }

    /// From now on everything works.
    pub(crate) fn heal(&self) {
        self.faulty.store(false, Ordering::Relaxed);
        self.note("healed");
    }

    pub(crate) fn require(&self, outcome: Result<(), Violation>) {
        if let Err(violation) = outcome {
            self.violated(violation.to_string());
        }
    }

    pub(crate) fn violated(&self, violation: String) {
        self.note(format!("VIOLATION {violation}"));
        self.violations.lock().unwrap().push(violation);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    pub(crate) fn counts(&self) -> BTreeMap<Fault, u64> {
        self.injected.lock().unwrap().clone()
    }

    /// Hash and number of all events.
    pub(crate) fn trace(&self) -> (String, u64) {
        let trace = self.trace.lock().unwrap();
        (trace.hash(), trace.events())
    }
}
