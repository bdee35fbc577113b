//! What can happen next. An act and its argument are two numbers, so that a walk is a list of pairs and shrinks by itself.

use std::time::Duration;

use windrow_common::{
    error,
    id::{BackfillId, PipelineName, WorkerId},
    task::{Retry, TaskState},
    window::Window,
};

use super::{Mail, Outcome, SimWorker, World};
use crate::core::{
    backfill::{self, Choice, Command, Order, Origin, Request},
    lifecycle::{self, HeldClaim},
    rollback,
    shards::{self, Cut},
    tests::bench::{failure_with, hours},
};

#[derive(Clone, Copy, Debug)]
pub(in crate::core::tests) struct Act {
    pub kind: u8,
    pub arg: u16,
}

impl Act {
    /// How many kinds there are.
    pub(in crate::core::tests) const KINDS: u8 = 56;
}

impl World {
    pub(in crate::core::tests) fn step(&mut self, act: Act) -> Outcome {
        let arg = usize::from(act.arg);
        match act.kind % Act::KINDS {
            0..=7 => self.tick()?,
            8..=13 => self.finish_one(arg)?,
            14..=20 => self.deliver_one(arg)?,
            21 => self.fail_one(arg, Retry::Later)?,
            22 => self.fail_one(arg, Retry::Never)?,
            23 => self.defer_one(arg)?,
            24 => self.pass(Duration::from_secs(1 + act.arg as u64 % 20)),
            25 => self.pass(Duration::from_secs(2_400)),
            26 => self.toggle_silence(arg),
            27 => self.disconnect(arg % self.workers.len()),
            28..=30 => self.connect_one(arg)?,
            31 => self.crash(arg),
            32 => self.say_goodbye(arg)?,
            33 => self.restart(arg.is_multiple_of(2)),
            34 => self.former_acts()?,
            35 => self.ghost_speaks(arg)?,
            36 => self.operate(arg)?,
            37 => self.steer_one(arg)?,
            38 => self.disturb_mail(arg),
            39 | 40 => self.lose_touch(arg)?,
            41 => self.back_up(),
            42 if arg.is_multiple_of(3) => self.lose_the_store(arg.is_multiple_of(2))?,
            43 | 44 => self.ask_for_rollback(arg)?,
            45 | 46 => self.cut_one(arg)?,
            47..=49 => self.plan_groups(arg)?,
            50 => self.delete_a_file(arg),
            51..=54 => self.change_source(arg),
            _ => self.prepare_fault(arg),
        }
        self.check()
    }

    /// A worker that holds something, and what; a silent one works on, its words just are not heard.
    fn pick_claim(&self, arg: usize) -> Option<(usize, HeldClaim)> {
        let held = self.workers.iter().enumerate().filter(|(_, worker)| worker.session && !worker.silent);
        let held: Vec<_> = held.flat_map(|(i, worker)| worker.held.iter().map(move |claim| (i, *claim))).collect();
        (!held.is_empty()).then(|| held[arg % held.len()])
    }

    fn all_claims(&self) -> Vec<(WorkerId, HeldClaim)> {
        let held = |worker: &SimWorker| {
            let id = worker.info.id.clone();
            worker.held.clone().into_iter().map(move |claim| (id.clone(), claim))
        };
        self.workers.iter().flat_map(held).collect()
    }

    pub(super) fn let_go(&mut self, index: usize, claim: &HeldClaim) {
        self.workers[index].held.retain(|held| held != claim);
    }

    /// An attempt comes to its end, as its data has it.
    fn finish_one(&mut self, arg: usize) -> Outcome {
        let Some((index, claim)) = self.pick_claim(arg) else { return Ok(()) };
        self.finish(index, claim, (arg / 64).is_multiple_of(8))
    }

    pub(super) fn finish(&mut self, index: usize, claim: HeldClaim, reply_lost: bool) -> Outcome {
        if self.is_over(&claim, &self.faults.killer) {
            self.kill(index);
            return Ok(());
        }
        if self.is_over(&claim, &self.faults.poison) {
            self.let_go(index, &claim);
            return self.take_failure(&claim, Retry::Never);
        }
        let worker = self.workers[index].info.id.clone();
        if self.prove(worker, &claim) {
            return Ok(());
        }
        self.seal(&claim)?;
        let waits = self.leader.table.task(&claim.task).is_some_and(|task| {
            matches!(task.value.state, TaskState::Claimed { .. }) && task.revision == claim.token.revision
        });
        if !reply_lost && !waits {
            self.let_go(index, &claim);
        }
        Ok(())
    }

    /// An attempt finds its window large, and asks for others to load parts of it.
    fn cut_one(&mut self, arg: usize) -> Outcome {
        let Some((_, claim)) = self.pick_claim(arg) else { return Ok(()) };
        let parts = (0..1 + arg / 16 % 3).map(|part| format!("part {part}")).collect();
        let (leader, now) = (&self.leader, self.now());
        match shards::cut(&leader.table, &leader.workers, self.epoch, (&claim, parts), now) {
            Ok(Cut::Change(change)) => self.write(&change).map(drop),
            _ => Ok(()),
        }
    }

    /// Whether a claimed task has one of the windows that start so.
    fn is_over(&self, claim: &HeldClaim, bad: &[i64]) -> bool {
        let windows = self.leader.table.task(&claim.task).map(|task| task.value.each_window()).unwrap_or_default();
        windows.iter().any(|window| bad.contains(&window.start()))
    }

    fn seal(&mut self, claim: &HeldClaim) -> Outcome {
        let before = self.leader.table.task(&claim.task).map(|task| task.revision);
        let taken = self.take_seal(claim)?;
        let changed = before != self.leader.table.task(&claim.task).map(|task| task.revision);
        if taken && changed { self.token_acted(claim) } else { Ok(()) }
    }

    fn fail_one(&mut self, arg: usize, retry: Retry) -> Outcome {
        let Some((index, claim)) = self.pick_claim(arg) else { return Ok(()) };
        self.let_go(index, &claim);
        self.take_failure(&claim, retry)
    }

    /// A stream to a sink worker breaks, or a place is away for the moment.
    fn lose_touch(&mut self, arg: usize) -> Outcome {
        let Some((index, claim)) = self.pick_claim(arg) else { return Ok(()) };
        self.let_go(index, &claim);
        let codes = [error::FLIGHT_BROKEN, error::SINK_UNREACHABLE, error::SNAPSHOT_LOST];
        let elapsed = self.elapsed;
        self.leader.table.sinks().filter_map(|(_, entry)| entry.committer.as_ref()).for_each(|committer| {
            self.leader.workers.hop_broke(&committer.value, elapsed);
        });
        self.take_this_failure(&claim, failure_with(codes[arg % 3], Retry::Later, self.wall))
    }

    fn defer_one(&mut self, arg: usize) -> Outcome {
        let Some((index, claim)) = self.pick_claim(arg) else { return Ok(()) };
        self.let_go(index, &claim);
        self.take_not_ready(&claim)
    }

    fn deliver_one(&mut self, arg: usize) -> Outcome {
        if self.mail.is_empty() {
            return self.tick();
        }
        let mail = self.mail.swap_remove(arg % self.mail.len());
        self.deliver(mail)
    }

    /// Mail to or from a committer gets lost with its session, or comes twice.
    fn disturb_mail(&mut self, arg: usize) {
        if self.mail.is_empty() {
            return;
        }
        let mail = self.mail[arg % self.mail.len()].clone();
        if !arg.is_multiple_of(3) && self.mail.len() < 20 {
            return self.mail.push(mail);
        }
        let (Mail::Prepare { to: worker, .. }
        | Mail::Commit { to: worker, .. }
        | Mail::Prepared { from: worker, .. }
        | Mail::Settled { from: worker, .. }
        | Mail::Proven { from: worker, .. }) = &mail;
        let index = self.workers.iter().position(|known| known.info.id == *worker);
        self.mail.swap_remove(arg % self.mail.len());
        if let Some(index) = index {
            self.disconnect(index);
        }
    }

    fn toggle_silence(&mut self, arg: usize) {
        let count = self.workers.len();
        let worker = &mut self.workers[arg % count];
        worker.silent = !worker.silent;
    }

    fn connect_one(&mut self, arg: usize) -> Outcome {
        let without: Vec<usize> = (0..self.workers.len()).filter(|i| !self.workers[*i].session).collect();
        if without.is_empty() { self.tick() } else { self.connect(without[arg % without.len()]) }
    }

    /// A worker dies; another is started. What it held may still come to an end somewhere.
    fn crash(&mut self, arg: usize) {
        self.kill(arg % self.workers.len());
    }

    pub(super) fn kill(&mut self, index: usize) {
        self.disconnect(index);
        let dead = self.workers.remove(index);
        self.ghosts.extend(dead.held);
        self.give_birth();
    }

    fn say_goodbye(&mut self, arg: usize) -> Outcome {
        let index = arg % self.workers.len();
        if !self.workers[index].session {
            return Ok(());
        }
        let id = self.workers[index].info.id.clone();
        self.leader.workers.drain(&id);
        self.disconnect(index);
        let leaving = self.workers.remove(index);
        self.ghosts.extend(leaving.held);
        self.give_birth();
        for task in self.leader.workers.remove(&id) {
            self.give_back(&task)?;
        }
        Ok(())
    }

    /// A worker that was given up seals or fails what it once held.
    fn ghost_speaks(&mut self, arg: usize) -> Outcome {
        if self.ghosts.is_empty() {
            return Ok(());
        }
        let claim = self.ghosts[arg % self.ghosts.len()];
        match arg % 5 {
            0 => self.take_failure(&claim, Retry::Later),
            1 => self.take_not_ready(&claim),
            2 => self.ghost_proves(&claim),
            _ if self.is_over(&claim, &self.faults.killer) || self.is_over(&claim, &self.faults.poison) => Ok(()),
            _ => self.seal(&claim),
        }
    }

    /// An operator asks for a backfill, or withdraws a task.
    fn operate(&mut self, arg: usize) -> Outcome {
        if !arg.is_multiple_of(4) {
            return self.ask_for_backfill(arg);
        }
        let tasks: Vec<_> = self.leader.table.tasks().map(|task| task.value.clone()).collect();
        let Some(task) = tasks.get(arg / 4 % tasks.len().max(1)) else { return Ok(()) };
        let Ok(change) = lifecycle::cancel(&self.leader.table, &task.id) else { return Ok(()) };
        self.may_be_missing(&task.pipeline, &task.window);
        self.write(&change).map(drop)
    }

    fn ask_for_backfill(&mut self, arg: usize) -> Outcome {
        let names: Vec<_> = self.leader.table.pipelines().map(|(name, _)| name.clone()).collect();
        let from = i64::try_from(arg / 16 % 12).unwrap();
        let request = Request {
            pipeline: names[arg / 4 % names.len()].clone(),
            range: (!arg.is_multiple_of(7)).then(|| hours(from, from + 1 + i64::try_from(arg % 6).unwrap())),
            choice: [Choice::Missing, Choice::MissingAndFailed, Choice::All, Choice::All][arg % 4],
            order: if arg.is_multiple_of(2) { Order::OldestFirst } else { Order::NewestFirst },
            concurrency: u32::try_from(arg % 3).unwrap(),
            force: false,
            accept: false,
        };
        self.backfills += 1;
        let id: BackfillId = format!("b{}", self.backfills).parse().unwrap();
        let made = backfill::create(&self.leader.table, &request, id, Origin::default(), self.now());
        let Ok(made) = made else { return Ok(()) };
        let change = backfill::record(&self.leader.table, made).expect("its pipeline exists");
        self.write(&change).map(drop)
    }

    /// An operator wants another version shown; some ask twice, one of them with what was known a while ago.
    fn ask_for_rollback(&mut self, arg: usize) -> Outcome {
        let pipeline: PipelineName = "planes".parse().unwrap();
        let Some(entry) = self.leader.table.pipeline(&pipeline) else { return Ok(()) };
        let versions = self.sinks.get(&entry.sink).map(|model| model.versions()).unwrap_or_default();
        if !arg.is_multiple_of(5) {
            self.rollbacks += 1;
        }
        let to = (!arg.is_multiple_of(3)).then(|| u32::try_from(arg / 16 % 4).unwrap());
        let request = rollback::Request { request_id: format!("r{}", self.rollbacks), pipeline, to, trace: None };
        if !matches!(rollback::known(&self.leader.table, &request), Ok(None)) || self.leader.table.recovery().is_some()
        {
            return Ok(());
        }
        let Ok(made) = rollback::ask(&self.leader.table, &request, &versions, self.now()) else { return Ok(()) };
        let change = rollback::record(&self.leader.table, made).expect("none is under way");
        self.write(&change).map(drop)
    }

    fn steer_one(&mut self, arg: usize) -> Outcome {
        let ids: Vec<_> = self.leader.table.backfills().map(|backfill| backfill.value.id.clone()).collect();
        let Some(id) = ids.get(arg / 4 % ids.len().max(1)) else { return Ok(()) };
        let command = [Command::Pause, Command::Resume, Command::Resume, Command::Cancel][arg % 4];
        let Ok(change) = backfill::steer(&self.leader.table, id, command, self.now()) else { return Ok(()) };
        if command == Command::Cancel {
            self.all_may_be_missing(id);
        }
        self.write(&change).map(drop)
    }

    fn all_may_be_missing(&mut self, id: &BackfillId) {
        let Some(backfill) = self.leader.table.backfill(id).map(|found| found.value.clone()) else { return };
        let tasks = backfill::own(&self.leader.table, &backfill).map(|task| task.value.window);
        let queued =
            backfill.todo.iter().filter_map(|(start, end)| Window::new(backfill.range.axis(), start, end).ok());
        let windows: Vec<Window> = tasks.chain(queued).collect();
        windows.iter().for_each(|window| self.may_be_missing(&backfill.pipeline, window));
    }

    fn prepare_fault(&mut self, arg: usize) {
        match arg % 5 {
            0 => self.next.write_lost = Some(arg.is_multiple_of(2)),
            1 => self.next.staged_files_bad = true,
            2 => self.next.conflict = true,
            _ => self.next.commit_lost = Some(arg.is_multiple_of(2)),
        }
    }

    /// With all faults healed: everything that can be published is, and nothing is left to do.
    pub(in crate::core::tests) fn heal(&mut self) -> Outcome {
        self.next = Default::default();
        for _ in 0..3_000 {
            self.resume_backfills()?;
            for index in 0..self.workers.len() {
                self.workers[index].silent = false;
                if !self.workers[index].session {
                    self.connect(index)?;
                }
            }
            self.tick()?;
            // One that waits for others goes on holding its claim.
            for (worker, claim) in self.all_claims() {
                let index = self.workers.iter().position(|known| known.info.id == worker && known.session);
                if let Some(index) = index.filter(|index| self.workers[*index].held.contains(&claim)) {
                    self.finish(index, claim, false)?;
                }
            }
            while let Some(mail) = self.mail.pop() {
                self.deliver(mail)?;
            }
            self.check()?;
            if self.is_at_rest() {
                return self.check_all_settled();
            }
            self.pass(Duration::from_secs(7));
        }
        self.check_all_settled()
    }

    fn resume_backfills(&mut self) -> Outcome {
        let ids: Vec<_> = self.leader.table.backfills().map(|backfill| backfill.value.id.clone()).collect();
        for id in ids {
            if let Ok(change) = backfill::steer(&self.leader.table, &id, Command::Resume, self.now()) {
                self.write(&change)?;
            }
        }
        Ok(())
    }
}
