//! One run: hosts start, things go wrong for a while, everything heals, and then every window has to be published.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mad_turmoil::time::SimClocksGuard;
use serde::Serialize;
use turmoil::Sim;

use crate::{
    admin,
    check::Checks,
    coordinator, etcd,
    faults::{Faults, LATENCY},
    input, oracle, others,
    plan::{Fault, Sabotage},
    reader, worker,
    world::World,
};

/// Time advances by so much at once; nothing happens in between.
const TICK: Duration = Duration::from_millis(10);
/// How long after everything works again the last window may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: String,
    pub(crate) events: u64,
    pub(crate) simulated_ms: u64,
    pub(crate) rows_lost: u64,
    pub(crate) rows_doubled: u64,
    /// How often two coordinators led at once, as far as they knew.
    pub(crate) two_leaders: u64,
    /// Files that commits rewrote.
    pub(crate) files_rewritten: u64,
    /// Sealed tasks that waited for others.
    pub(crate) tasks_gathered: u64,
    /// Markers a consumer found, each with the rows it tells of.
    pub(crate) markers_seen: u64,
    pub(crate) faults: BTreeMap<Fault, u64>,
}

pub(crate) fn coordinator(n: usize) -> String {
    format!("c{}", n + 1)
}

pub(crate) fn run(seed: u64, sabotage: Option<Sabotage>, tells: bool) -> Report {
    let _clocks = SimClocksGuard::init();
    let world = World::new(seed, sabotage, tells);
    world.note(format!("{:?}", world.plan));
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(24 * 3_600))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(2 * LATENCY)
        .tcp_capacity(4_096)
        .build();
    let hosts = start(&mut sim, &world);
    let mut faults = Faults::new(world.clone(), hosts);
    let mut checks = Checks::new(world.clone());
    let faulty_for = world.plan.faulty_for;
    loop {
        let now = sim.elapsed();
        world.set_now(now);
        world.objects.arrive(now);
        faults.act(&mut sim, now);
        if world.is_faulty() && now >= faulty_for {
            faults.heal(&mut sim);
        }
        if let Err(error) = sim.step() {
            world.violated(format!("a host gave up: {error}"));
        }
        checks.after_step();
        if !world.violations().is_empty() || (!world.is_faulty() && checks.is_complete()) {
            break;
        }
        if now > faulty_for + PATIENCE {
            world.violated(format!("INV-21: still open: {}", checks.open()));
            break;
        }
    }
    if world.plan.waits && world.violations().is_empty() {
        world.require(checks.consumer().end());
    }
    let found = oracle::compare(&world, world.violations().is_empty());
    let (trace, events) = world.trace();
    Report {
        seed,
        violations: world.violations(),
        trace,
        events,
        simulated_ms: sim.elapsed().as_millis() as u64,
        rows_lost: found.lost,
        rows_doubled: found.doubled,
        two_leaders: checks.two_leaders(),
        files_rewritten: checks.rewritten(),
        tasks_gathered: checks.gathered(),
        markers_seen: checks.consumer().seen(),
        faults: world.counts(),
    }
}

/// Puts every host in place; returns those things may befall.
fn start(sim: &mut Sim<'_>, world: &Arc<World>) -> Vec<String> {
    let mut hosts = vec!["etcd".to_owned()];
    let shared = world.clone();
    sim.host("etcd", move || etcd::host(shared.clone()));
    for n in 0..world.plan.coordinators {
        let (shared, name) = (world.clone(), coordinator(n));
        hosts.push(name.clone());
        sim.host(name.as_str(), {
            let name = name.clone();
            move || coordinator::host(shared.clone(), name.clone())
        });
    }
    for n in 0..world.plan.workers {
        let (shared, name) = (world.clone(), format!("w{}", n + 1));
        hosts.push(name.clone());
        sim.host(name.as_str(), {
            let name = name.clone();
            move || worker::host(shared.clone(), name.clone())
        });
    }
    sim.client("user", admin::client(world.clone()));
    if world.plan.waits {
        sim.client("producer", input::client(world.clone()));
    }
    if world.plan.compacts {
        sim.client("others", others::client(world.clone()));
    }
    if world.plan.pins {
        sim.client("reader", reader::client(world.clone()));
    }
    hosts
}
