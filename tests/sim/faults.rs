//! What befalls hosts and the links between them, from time to time, and its end.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use jiff::SignedDuration;
use rand::Rng;
use turmoil::Sim;
use windrow_coordinator::store::{MetaStore, Range};

use crate::{
    plan::{Fault, pick},
    world::World,
};

/// How long a message takes when nothing is wrong.
pub(crate) const LATENCY: Duration = Duration::from_millis(5);

pub(crate) struct Faults {
    world: Arc<World>,
    hosts: Vec<String>,
    next: Duration,
    /// What has to be undone, and when.
    under_way: Vec<(Duration, Undo)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Undo {
    Start(String),
    Repair(String, String),
    Release(String, String),
    Quick(String, String),
    Wake(String),
    Reset(String),
}

impl Faults {
    pub(crate) fn new(world: Arc<World>, hosts: Vec<String>) -> Self {
        let next = world.plan.every;
        Self { world, hosts, next, under_way: Vec::new() }
    }

    /// Does what is due.
    pub(crate) fn act(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let (due, later) = std::mem::take(&mut self.under_way).into_iter().partition(|(at, _)| *at <= now);
        self.under_way = later;
        for (_, undo) in due {
            self.undo(sim, undo);
        }
        if self.world.is_faulty() && now >= self.next {
            let every = self.world.plan.every.as_millis() as u64;
            self.next = now + Duration::from_millis(self.world.draw(|rng| rng.random_range(every / 2..every * 2)));
            self.strike(sim, now);
        }
    }

    /// Ends everything that is under way.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        self.world.heal();
        for (_, undo) in std::mem::take(&mut self.under_way) {
            self.undo(sim, undo);
        }
        for host in self.hosts.clone() {
            self.world.wake(&host);
            if !sim.is_host_running(host.as_str()) {
                self.start(sim, &host);
            }
        }
    }

    fn strike(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let timed: Vec<Fault> = self.world.plan.faults.iter().copied().filter(|fault| fault.is_timed()).collect();
        if timed.is_empty() {
            return;
        }
        let world = self.world.clone();
        let fault = world.draw(|rng| *pick(rng, &timed));
        let (host, other) = world.draw(|rng| (pick(rng, &self.hosts).clone(), pick(rng, &self.hosts).clone()));
        let coordinators = |host: &String| host.starts_with('c');
        let workers = |host: &String| host.starts_with('w');
        let a_coordinator = world.draw(|rng| pick(rng, &self.only(coordinators)).clone());
        let a_worker = world.draw(|rng| pick(rng, &self.only(workers)).clone());
        let long = Duration::from_millis(world.draw(|rng| rng.random_range(200..15_000)));
        let until = now + long;
        let mut then = |undo: Undo| self.under_way.push((until, undo));
        let what = match fault {
            Fault::EtcdDown => {
                sim.crash("etcd");
                then(Undo::Start("etcd".to_owned()));
                "etcd".to_owned()
            }
            Fault::CoordinatorKilled => {
                sim.crash(a_coordinator.as_str());
                then(Undo::Start(a_coordinator.clone()));
                a_coordinator
            }
            Fault::WorkerKilled => {
                sim.crash(a_worker.as_str());
                then(Undo::Start(a_worker.clone()));
                a_worker
            }
            Fault::WorkerStopped => {
                world.stop(&a_worker);
                then(Undo::Start(a_worker.clone()));
                a_worker
            }
            Fault::FalseRenewal => {
                let Some(lease) = world.leader_lease() else { return };
                world.leases.lock().unwrap().haunt(lease, until);
                format!("lease {lease}")
            }
            Fault::Compaction => {
                compact(&world);
                "etcd".to_owned()
            }
            Fault::ClockJump => {
                let hours = world.draw(|rng| *pick(rng, &[-24, -1, 1, 24]));
                world.clock(&host).jump(SignedDuration::from_hours(hours));
                then(Undo::Reset(host.clone()));
                format!("{host} by {hours} h")
            }
            Fault::Jolted => {
                let by = Duration::from_millis(world.draw(|rng| rng.random_range(1_000..9_000)));
                world.clock(&host).leap(by);
                format!("{host} by {by:?}")
            }
            Fault::Suspended => {
                let host = world.draw(|rng| pick(rng, &[a_coordinator, a_worker]).clone());
                // Long enough for others to lead, or to have its claims, meanwhile.
                let until = until + Duration::from_millis(world.draw(|rng| rng.random_range(0..10_000)));
                world.suspend(&host);
                for other in self.hosts.iter().filter(|other| **other != host) {
                    sim.hold(host.as_str(), other.as_str());
                }
                self.under_way.push((until, Undo::Wake(host.clone())));
                host
            }
            Fault::Partition | Fault::OneWay | Fault::Held | Fault::Slow if host == other => return,
            Fault::Partition => {
                sim.partition(host.as_str(), other.as_str());
                then(Undo::Repair(host.clone(), other.clone()));
                format!("{host} {other}")
            }
            Fault::OneWay => {
                sim.partition_oneway(host.as_str(), other.as_str());
                then(Undo::Repair(host.clone(), other.clone()));
                format!("{host} to {other}")
            }
            Fault::Held => {
                sim.hold(host.as_str(), other.as_str());
                then(Undo::Release(host.clone(), other.clone()));
                format!("{host} {other}")
            }
            Fault::Slow => {
                let latency = Duration::from_millis(world.draw(|rng| rng.random_range(100..2_500)));
                sim.set_link_latency(host.as_str(), other.as_str(), latency);
                then(Undo::Quick(host.clone(), other.clone()));
                format!("{host} {other} take {latency:?}")
            }
            _ => return,
        };
        world.injected(fault, &format!("{what} for {long:?}"));
    }

    fn only(&self, wanted: impl Fn(&String) -> bool) -> Vec<String> {
        self.hosts.iter().filter(|host| wanted(host)).cloned().collect()
    }

    fn undo(&mut self, sim: &mut Sim<'_>, undo: Undo) {
        self.world.note(format!("over: {undo:?}"));
        match undo {
            Undo::Start(host) => self.start(sim, &host),
            Undo::Repair(host, other) => sim.repair(host.as_str(), other.as_str()),
            Undo::Release(host, other) => sim.release(host.as_str(), other.as_str()),
            Undo::Quick(host, other) => sim.set_link_latency(host.as_str(), other.as_str(), LATENCY),
            Undo::Reset(host) => self.world.clock(&host).jump(SignedDuration::ZERO),
            Undo::Wake(host) => {
                self.world.wake(&host);
                for other in self.hosts.iter().filter(|other| **other != host) {
                    sim.release(host.as_str(), other.as_str());
                }
            }
        }
    }

    fn start(&self, sim: &mut Sim<'_>, host: &str) {
        sim.bounce(host);
    }
}

fn compact(world: &World) {
    let newest = world.store.range(Range { limit: 1, ..Range::prefix("/") }).now_or_never();
    if let Some(Ok(page)) = newest {
        let _ = world.store.compact(page.revision).now_or_never();
    }
}
