//! What the leader does by itself, and what it answers to workers about their claims.

use std::time::Duration;

use windrow_common::{
    claim::Token,
    id::TaskId,
    task::{Failure, Retry, TaskState},
};

use super::{LEASE, Leader, Outcome, Sabotage, World};
use crate::core::{
    assign, backfill,
    lifecycle::{self, HeldClaim, Seal},
    plan, recount,
    table::{Change, Record},
    tests::bench::failure,
};

impl World {
    /// One round of the leader: reap, plan, advance, assign, and see to every sink.
    pub(super) fn tick(&mut self) -> Outcome {
        self.hear();
        self.expire()?;
        for change in plan::plan(&self.leader.table, self.now()) {
            if self.write(&change)?.is_none() {
                return Ok(());
            }
        }
        let advanced = backfill::advance(&self.leader.table, self.now());
        for change in advanced.into_iter().chain(recount::clear(&self.leader.table)) {
            if self.write(&change)?.is_none() {
                return Ok(());
            }
        }
        self.assign()?;
        self.see_to_sinks()
    }

    fn hear(&mut self) {
        for worker in self.workers.iter().filter(|worker| worker.session && !worker.silent) {
            self.leader.workers.heard(&worker.info.id, self.elapsed);
        }
    }

    fn expire(&mut self) -> Outcome {
        for (gone, claims) in self.leader.workers.expire(self.elapsed, LEASE) {
            let elapsed = self.elapsed;
            self.leader.runs.values_mut().for_each(|run| run.lost(&gone, elapsed));
            if let Some(worker) = self.workers.iter_mut().find(|worker| worker.info.id == gone) {
                worker.session = false;
            }
            for task in claims {
                let Ok(change) = lifecycle::reap(&self.leader.table, &task, self.now()) else { continue };
                if self.write(&change)?.is_none() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn assign(&mut self) -> Outcome {
        let now = self.now();
        let assignments = assign::assign(&self.leader.table, &mut self.leader.workers, now);
        let claims = assignments.iter().map(|given| {
            lifecycle::claim(&self.leader.table, &given.task, &given.worker, now)
                .expect("an assigned task is claimable")
        });
        let change = claims.fold(Change::default(), Change::and);
        let Some(revision) = self.write(&change)? else { return Ok(()) };
        let token = Token { epoch: self.epoch, revision };
        for given in assignments {
            self.leader.workers.hold(&given.worker, given.task, self.elapsed);
            self.tokens.insert(given.task, token);
            if let Some(worker) = self.workers.iter_mut().find(|worker| worker.info.id == given.worker) {
                worker.held.push(HeldClaim { task: given.task, token });
            }
        }
        Ok(())
    }

    /// A seal arrives, from a holder or from a ghost. Returns whether it was taken.
    pub(super) fn take_seal(&mut self, claim: &HeldClaim) -> Outcome<bool> {
        let Some(task) = self.leader.table.task(&claim.task) else { return Ok(false) };
        let manifest = self.manifest(&task.value, claim.token);
        let seal = match (self.sabotage, &task.value.state) {
            // That those that were cut off it are sealed, all of them, is another guard.
            (Sabotage::SealUnguarded, TaskState::Claimed { worker, .. })
                if self.leader.table.shards_of(&claim.task).next().is_none() =>
            {
                let mut sealed = task.value.clone();
                sealed.state =
                    TaskState::Sealed { worker: worker.clone(), token: claim.token, manifest, since: self.wall };
                Ok(Seal::Change(Box::new(Change::replace(Record::Task(sealed), task.revision))))
            }
            _ => lifecycle::seal(&self.leader.table, self.epoch, claim, manifest, self.now()),
        };
        match seal {
            Ok(Seal::Change(change)) => self.write(&change).map(|revision| revision.is_some()),
            Ok(Seal::AlreadySealed) => Ok(true),
            Ok(Seal::Waits) => {
                for worker in &self.workers {
                    self.leader.workers.rest(&worker.info.id, claim.task);
                }
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    pub(super) fn take_failure(&mut self, claim: &HeldClaim, retry: Retry) -> Outcome {
        self.take_this_failure(claim, failure(retry, self.wall))
    }

    pub(super) fn take_this_failure(&mut self, claim: &HeldClaim, failure: Failure) -> Outcome {
        match lifecycle::fail(&self.leader.table, self.epoch, claim, failure, self.now()) {
            Ok(change) => self.write(&change).map(drop),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn take_not_ready(&mut self, claim: &HeldClaim) -> Outcome {
        match lifecycle::not_ready(&self.leader.table, self.epoch, claim, "no marker".to_owned(), self.now()) {
            Ok(change) => self.write(&change).map(drop),
            Err(_) => Ok(()),
        }
    }

    /// A worker opens a session: it keeps the claims both sides know of, the rest is pending again or a ghost.
    pub(super) fn connect(&mut self, index: usize) -> Outcome {
        let worker = &mut self.workers[index];
        (worker.session, worker.silent) = (true, false);
        let id = worker.info.id.clone();
        self.leader.workers.connect(worker.info.clone(), self.elapsed);
        let (table, epoch) = (&self.leader.table, self.epoch);
        let valid = |claim: &HeldClaim| {
            table.task(&claim.task).is_some_and(|task| {
                let current = Token { epoch, revision: task.revision };
                claim.token == current && matches!(task.value.state, TaskState::Claimed { .. })
            })
        };
        let (held, ghosts): (Vec<_>, Vec<_>) = worker.held.drain(..).partition(valid);
        self.ghosts.extend(ghosts);
        for claim in &held {
            self.leader.workers.hold(&id, claim.task, self.elapsed);
        }
        let known = self.leader.workers.get(&id).map(|state| state.claims.clone()).unwrap_or_default();
        let unknown: Vec<TaskId> =
            known.into_iter().filter(|task| held.iter().all(|claim| claim.task != *task)).collect();
        worker.held = held;
        unknown.iter().try_for_each(|task| self.give_back(task))
    }

    pub(super) fn give_back(&mut self, task: &TaskId) -> Outcome {
        match lifecycle::hand_back(&self.leader.table, task, self.now()) {
            Ok(change) => self.write(&change).map(drop),
            Err(_) => Ok(()),
        }
    }

    /// The session with a worker breaks.
    pub(super) fn disconnect(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.session = false;
        let (id, elapsed) = (worker.info.id.clone(), self.elapsed);
        self.leader.workers.disconnect(&id);
        self.leader.runs.values_mut().for_each(|run| run.lost(&id, elapsed));
    }

    /// Another coordinator takes over; the one before may not have noticed.
    pub(super) fn restart(&mut self, unnoticed: bool) {
        let leader = Leader::elected(&mut self.store, self.elapsed);
        let former = std::mem::replace(&mut self.leader, leader);
        self.former = unnoticed.then_some(former);
        self.workers.iter_mut().for_each(|worker| worker.session = false);
    }

    /// The former leader does what it believes to be due. The store must refuse all of it.
    pub(super) fn former_acts(&mut self) -> Outcome {
        let Some(mut former) = self.former.take() else { return Ok(()) };
        let now = self.now();
        let mut changes = plan::plan(&former.table, now);
        changes.extend(backfill::advance(&former.table, now));
        let lost = former.workers.expire(self.elapsed + Duration::from_secs(60), LEASE);
        let reaped = lost.iter().flat_map(|(_, claims)| claims);
        changes.extend(reaped.filter_map(|task| lifecycle::reap(&former.table, task, now).ok()));
        for change in changes {
            self.store.write(former.elected, &change)?;
        }
        self.former = Some(former);
        Ok(())
    }
}
