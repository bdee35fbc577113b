//! What must hold after every act.

use windrow_common::{
    id::PipelineName,
    intent::Effect,
    invariant::{self, SinkPosition, Violation},
    task::{Lane, Task, TaskPhase, TaskState},
    window::{Axis, Window},
};

use super::{Outcome, World};
use crate::core::{
    backfill,
    coverage::IntervalSet,
    lifecycle::HeldClaim,
    plan, recount, rollback,
    table::{Change, PipelineEntry, Record},
    tests::store::records_of,
    timeline::{Standing, Timeline},
};

impl World {
    /// Looks at a change that was just written.
    pub(super) fn look_at(&mut self, change: &Change) -> Outcome {
        for record in &change.put {
            match record {
                Record::Intent(sink, intent) => {
                    if let Some(before) = self.intents.insert(sink.clone(), intent.clone()) {
                        invariant::intent_is_immutable(&before, intent)?;
                    }
                }
                Record::Head(sink, head) => {
                    let model = self.sinks.entry(sink.clone()).or_default();
                    let Some((link, moved)) = model.published(head.seq) else {
                        let message = format!("seq {} is published, the sink does not hold it", head.seq);
                        return Err(Violation { id: "INV-6", message });
                    };
                    require("INV-6", Some(link.digest) == head.digest, || format!("seq {} is another one", head.seq))?;
                    for moved in moved {
                        let published = self.published.entry(moved.pipeline.clone()).or_default();
                        moved.windows.iter().for_each(|window| published.insert(window.start(), window.end()));
                    }
                }
                // Whoever asked is told what is so: readers see the version, or see what they saw.
                Record::Rollback(sink, found) => {
                    let done = matches!(found.phase, rollback::Phase::Done { .. });
                    let model = self.sinks.entry(sink.clone()).or_default();
                    let made = model.has_rolled_back(&found.request_id);
                    require("INV-6", !done || made, || format!("{found:?} is done, and the sink does not know it"))?;
                    let failed = matches!(found.phase, rollback::Phase::Failed { .. });
                    let lost = self.leader.table.recovery().is_some();
                    require("INV-6", !(failed && made) || lost, || {
                        format!("{found:?} has failed, and the sink holds it")
                    })?;
                }
                // What is unchanged moved nothing, and was looked at when it was said.
                Record::Coverage(name, coverage) => {
                    let published = self.published.entry(name.clone()).or_default();
                    coverage.unchanged.iter().for_each(|(start, end)| published.insert(start, end));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A seal was taken: no newer claim or seal of the task may exist.
    pub(super) fn token_acted(&mut self, claim: &HeldClaim) -> Outcome {
        let newest = self.tokens.insert(claim.task, claim.token).unwrap_or(claim.token);
        invariant::tokens_never_go_back(&[newest, claim.token])
    }

    pub(super) fn may_be_missing(&mut self, pipeline: &PipelineName, window: &Window) {
        self.withdrawn.entry(pipeline.clone()).or_default().insert(window.start(), window.end());
    }

    /// The invariants that can be told from the state alone; those of the records only when these have changed.
    pub(super) fn check(&mut self) -> Outcome {
        self.check_sinks()?;
        if self.checked == self.store.revision {
            return Ok(());
        }
        self.checked = self.store.revision;
        invariant::table_equals_store(&records_of(&self.leader.table), &self.store.records)?;
        let newest = self.store.writes.len().saturating_sub(8);
        invariant::leaders_never_go_back(&self.store.writes[newest..])?;
        let entries: Vec<&PipelineEntry> = self.leader.table.pipelines().map(|(_, entry)| entry).collect();
        entries.into_iter().try_for_each(|entry| self.check_pipeline(entry))
    }

    fn check_sinks(&self) -> Outcome {
        for (id, model) in &self.sinks {
            let entry = self.leader.table.sink(id);
            let head = entry.and_then(|entry| entry.head.as_ref()).map_or(0, |head| head.value.seq);
            let intent = entry.and_then(|entry| entry.intent.as_ref()).map(|intent| intent.value.seq);
            invariant::sink_matches_head(&SinkPosition { head, intent, sink: model.seq() })?;
        }
        Ok(())
    }

    /// Open tasks overlap nowhere, what is published is what the sink holds, and every planned window is somewhere.
    fn check_pipeline(&self, entry: &PipelineEntry) -> Outcome {
        let name = &entry.spec().name;
        let tasks: Vec<Window> = self.leader.table.tasks_of(name).map(|task| task.value.window).collect();
        invariant::windows_are_disjoint(&tasks)?;
        let shards = self.leader.table.shards().filter(|shard| shard.value.pipeline == *name);
        let all = self.leader.table.tasks_of(name).chain(shards);
        let claimed = all.filter(|task| task.value.state.phase() == TaskPhase::Claimed);
        invariant::stays_within("claims of a pipeline", claimed.count(), entry.spec().limits.concurrency as usize)?;
        let rewritten = self.leader.table.groups().filter(|task| task.value.pipeline == *name);
        let rewritten = rewritten.filter(|task| task.value.state.phase() == TaskPhase::Claimed);
        let most = entry.spec().compaction.as_ref().map_or(0, |compaction| compaction.concurrency.get() as usize);
        invariant::stays_within("groups of a table that are rewritten", rewritten.count(), most)?;
        let published = self.published.get(name).cloned().unwrap_or_default();
        require("INV-1", entry.coverage.value.published == published, || {
            format!("{name} is covered by {:?}, its sink holds {published:?}", entry.coverage.value.published)
        })?;
        self.check_shards()?;
        self.check_nothing_is_lost(entry, &tasks)
    }

    /// Shards stand beside the task they were cut off while that is claimed, or sealed with all of them.
    fn check_shards(&self) -> Outcome {
        let table = &self.leader.table;
        for shard in table.shards() {
            let first = table.task(&shard.value.first()).map(|first| &first.value.state);
            let sealed = shard.value.state.phase() == TaskPhase::Sealed;
            let right = match first.map(TaskState::phase) {
                Some(TaskPhase::Claimed) => true,
                Some(TaskPhase::Sealed) => sealed,
                _ => false,
            };
            require("INV-3", right, || format!("{:?} stands beside {first:?}", shard.value))?;
        }
        Ok(())
    }

    /// Published, in a task, in a backfill's plans, withdrawn: planned time has no other place.
    fn check_nothing_is_lost(&self, entry: &PipelineEntry, tasks: &[Window]) -> Outcome {
        let name = &entry.spec().name;
        let mut known = IntervalSet::new();
        let mut add = |set: &IntervalSet| set.iter().for_each(|(start, end)| known.insert(start, end));
        add(&tasks.iter().map(|window| (window.start(), window.end())).collect());
        self.withdrawn.get(name).into_iter().for_each(&mut add);
        let unsettled = self.leader.table.backfills().map(|backfill| &backfill.value);
        unsettled
            .filter(|found| found.pipeline == *name && found.phase.is_unsettled())
            .for_each(|found| add(&found.todo));
        let origin = entry.tiling.as_ref().map_or(0, |tiling| tiling.origin());
        require("INV-2", !known.overlaps(entry.cursor.value.next, i64::MAX), || {
            format!("{name} has tasks behind its cursor {}", entry.cursor.value.next)
        })?;
        entry.coverage.value.published.iter().for_each(|(start, end)| known.insert(start, end));
        let lost = known.gaps(origin, entry.cursor.value.next);
        require("INV-1", lost.is_empty(), || format!("{name} has lost {lost:?}"))
    }

    pub(super) fn is_at_rest(&self) -> bool {
        let table = &self.leader.table;
        let settled = |task: &Task| match task.state {
            TaskState::Quarantined { .. } => task.lane != Lane::Recount,
            // Its time may lie hours ahead.
            TaskState::Waiting { .. } => matches!(task.lane, Lane::Recount | Lane::Compare),
            _ => false,
        };
        table.whole_tasks().all(|task| settled(&task.value))
            && recount::clear(table).is_none()
            && table.sinks().all(|(_, sink)| sink.intent.is_none())
            && table.sinks().all(|(id, _)| rollback::open(table, id).is_none())
            && plan::plan(table, self.now()).is_empty()
            && backfill::advance(table, self.now()).is_empty()
    }

    /// In the end every window is published, quarantined or withdrawn, and the counts say what the sinks say.
    pub(super) fn check_all_settled(&self) -> Outcome {
        require("INV-21", self.is_at_rest(), || {
            let open = self.leader.table.tasks().filter(|task| task.value.state.phase() != TaskPhase::Quarantined);
            format!("not everything came to its end: {:?}", open.map(|task| &task.value).collect::<Vec<_>>())
        })?;
        for (name, entry) in self.leader.table.pipelines() {
            self.check_settled(name, entry)?;
        }
        for backfill in self.leader.table.backfills().map(|backfill| &backfill.value) {
            require("INV-1", !backfill.phase.is_unsettled() && backfill.published <= backfill.windows, || {
                format!("{backfill:?} is not settled")
            })?;
        }
        Ok(())
    }

    fn check_settled(&self, name: &PipelineName, entry: &PipelineEntry) -> Outcome {
        let timeline = Timeline::of(&self.leader.table, entry);
        let windows = match &entry.tiling {
            Some(tiling) => tiling.windows(tiling.origin(), tiling.closed_to(self.wall)),
            None => (0..entry.cursor.value.next).map(|at| Window::version(u32::try_from(at).unwrap())).collect(),
        };
        let withdrawn = self.withdrawn.get(name).cloned().unwrap_or_default();
        for window in &windows {
            let standing = timeline.standing(window);
            let fine = match standing {
                Standing::Published => true,
                // Only a window on its own is given up.
                Standing::Quarantined(task) => self.leader.table.task(&task).unwrap().value.windows() == 1,
                Standing::Missing => withdrawn.covers(window.start(), window.end()),
                _ => false,
            };
            require("INV-21", fine, || format!("window {window} of {name} is {standing:?} in the end"))?;
            let bad = [&self.faults.poison, &self.faults.killer, &self.faults.unpreparable, &self.faults.refused];
            let bad = window.axis() == Axis::Time && bad.iter().any(|bad| bad.contains(&window.start()));
            require("INV-16", !(bad && standing == Standing::Published), || format!("bad {window} is published"))?;
        }
        self.check_totals(name, entry)
    }

    /// Everything the sinks applied of a pipeline was counted, once.
    fn check_totals(&self, name: &PipelineName, entry: &PipelineEntry) -> Outcome {
        let commits = self.sinks.values().flat_map(|model| &model.log);
        let applied = commits.filter(|(_, effect, _)| matches!(effect, Effect::Applied(_)));
        let moved = applied.flat_map(|(_, _, moved)| moved).filter(|moved| moved.pipeline == *name);
        let rows: u64 = moved.map(|moved| moved.counts.rows_written).sum();
        let counted = entry.coverage.value.totals.rows_written;
        require("INV-1", rows == counted, || format!("{name} published {rows} rows and counts {counted}"))
    }
}

fn require(id: &'static str, condition: bool, message: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(Violation { id, message: message() }) }
}
