//! Which files of a table are rewritten now, and by whom. The sink's committer knows the files and gathers those that are worth
//! it into groups ([`GroupRef`]); what becomes of a group is decided here, by what windows are about to be written, what the
//! hour and the budget say, and what is worth most.
//!
//! A group is a task like any other: it is claimed, sealed and committed through the sink's one lane. Its id is the hash of its
//! list of files, so planning it twice changes nothing, and a group whose files changed meanwhile is another one. It is dropped
//! where a window is run again: the files it was made of are not there any more, and others will be found.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use windrow_common::{
    compaction::{Compaction, GroupRef},
    error,
    id::{SinkId, TaskId, WorkerId},
    manifest::WriteMode,
    pipeline::Pipeline,
    task::{Failure, Lane, Outage, Part, Seams, Task, TaskPhase, TaskState},
    window::{Axis, Window},
};

use super::{
    lifecycle::{self, Now},
    plan,
    table::{Change, Key, PipelineEntry, Record, Table, Versioned},
    workers::{Role, Workers},
};

/// Most open groups of a sink; more are looked for when they are done.
pub const MOST_OPEN: usize = 64;
/// Most bytes of what a task is told of its group, which is part of its record.
const MOST_PART_BYTES: usize = 2 << 10;
/// The version of the session protocol that knows them.
const PROTOCOL: u32 = 3;

/// What was rewritten on a day, held against the budget. It is in the leader's memory; a new one begins with nothing spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Days since 1970.
    day: i64,
    bytes: u64,
}

/// Whether a sink's small files may be rewritten now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nobody asks: hours and budget decide.
    ByItself,
    /// Somebody does, and it is done.
    ByHand,
}

/// The pipeline that says how a sink's files are compacted: of several the first by name that is not paused.
pub fn owner<'a>(table: &'a Table, sink: &SinkId) -> Option<&'a PipelineEntry> {
    let all = table.pipelines().map(|(_, entry)| entry).filter(|entry| entry.sink == *sink);
    let mut able = all.filter(|entry| entry.spec().compaction.is_some() && entry.state.value.paused.is_none());
    able.next()
}

/// [`owner`] of every sink that has one.
pub fn owners(table: &Table) -> BTreeMap<&SinkId, &PipelineEntry> {
    let mut owners = BTreeMap::new();
    for (_, entry) in table.pipelines() {
        if entry.spec().compaction.is_some() && entry.state.value.paused.is_none() {
            owners.entry(&entry.sink).or_insert(entry);
        }
    }
    owners
}

/// Whether rows of a window may have to be told from others of the table: some pipeline replaces windows.
pub fn windows_are_replaced(table: &Table, sink: &SinkId) -> bool {
    let mut all = table.pipelines().filter(|(_, entry)| entry.sink == *sink);
    all.any(|(_, entry)| entry.spec().sink.write == WriteMode::ReplaceWindow)
}

/// Whether it is the hour.
pub fn is_due(compaction: &Compaction, now: Timestamp) -> bool {
    let Some(hours) = &compaction.off_hours else { return true };
    // A zone the machine does not know was refused when the pipeline was applied, elsewhere perhaps: better at any hour than never.
    let Ok(zone) = TimeZone::get(&hours.timezone) else { return true };
    hours.contain(now.to_zoned(zone).time())
}

/// Tasks for those of the groups that are worth most, as far as there is room and budget; what they come to is added to what is
/// spent. Those that are open already are left as they are, but for given up ones that somebody asks for.
pub fn plan(
    table: &Table,
    sink: &SinkId,
    groups: &[GroupRef],
    (asked, spent): (Asked, &mut Spent),
    now: Now,
) -> Option<(Change, Vec<TaskId>)> {
    let entry = owner(table, sink)?;
    let compaction = entry.spec().compaction.as_deref()?;
    if asked == Asked::ByItself && !is_due(compaction, now.wall) {
        return None;
    }
    spent.turn(now.wall);
    let mut room = MOST_OPEN.saturating_sub(table.groups_of(sink).count());
    // A try of this write may reach the store when the groups are done and their records gone: with the next commit it counts no more.
    let head = table.sink(sink).and_then(|entry| entry.head.as_ref()).map(|head| head.revision);
    let mut change = Change::default();
    let mut tasks = Vec::new();
    for group in by_gain(groups) {
        let id = TaskId::of_group(sink, &group.sha256.0);
        let before = table.task(&id);
        let given_up = before.filter(|task| task.value.state.phase() == TaskPhase::Quarantined);
        match (before, given_up) {
            (Some(_), None) => {
                tasks.push(id);
                continue;
            }
            (Some(_), Some(_)) if asked == Asked::ByItself => continue,
            _ => {}
        }
        let affordable = compaction.bytes_per_day.is_none_or(|most| spent.bytes + group.bytes <= most.0);
        let skip = is_about_to_be_written(table, sink, group) || asked == Asked::ByItself && !affordable;
        if skip || (room == 0 && given_up.is_none()) {
            continue;
        }
        let Some(task) = task(entry, id, group, now) else { continue };
        spent.bytes = spent.bytes.saturating_add(group.bytes);
        change = change.and(match given_up {
            Some(before) => Change::replace(Record::Task(task), before.revision),
            None => {
                room -= 1;
                Change::create(Record::Task(task))
            }
        });
        tasks.push(id);
    }
    if !change.is_empty() {
        change.expect.push((Key::Head(sink.clone()), head));
    }
    Some((change, tasks))
}

/// Groups that are open although nobody says any more how, or that files be compacted at all. Those an intent names are left
/// to it.
pub fn orphans(table: &Table) -> Option<Change> {
    let is_orphan = |task: &&Versioned<Task>| {
        let entry = table.pipeline(&task.value.pipeline);
        let wanted = entry.is_some_and(|entry| entry.spec().compaction.is_some() && entry.sink == task.value.sink);
        let intended = table.sink(&task.value.sink).is_some_and(|sink| sink.intent.is_some());
        !(wanted || intended && task.value.state.phase() == TaskPhase::Sealed)
    };
    let no_intent = |task: &Task| Change { expect: vec![(Key::Intent(task.sink.clone()), None)], ..Change::default() };
    let drop = |task: &Versioned<Task>| match task.value.state.phase() {
        TaskPhase::Sealed => lifecycle::gone(task).and(no_intent(&task.value)),
        _ => lifecycle::gone(task),
    };
    // One at a time where it rests on its sink: a transaction names a record once.
    table.groups().find(is_orphan).map(drop)
}

/// Whether a failure ends a task that rewrites files: what it was to rewrite is not there any more. It is no error of anybody's.
pub(super) fn is_over(task: &Task, failure: &Failure) -> bool {
    task.lane == Lane::Compact && failure.code == error::GROUP_GONE.code
}

/// Whether a worker knows what groups are; an older one would take one for a window.
pub(super) fn are_known_to(workers: &Workers, worker: &WorkerId) -> bool {
    workers.speaks(worker, PROTOCOL)
}

/// Whether a worker may rewrite files: it holds the sinks' credentials, and knows how.
pub(super) fn rewrites(workers: &Workers, worker: &WorkerId) -> bool {
    let holds = |role| workers.get(worker).is_some_and(|state| state.info.roles.contains(&role));
    are_known_to(workers, worker) && (holds(Role::Sink) || holds(Role::Compact))
}

/// Whether a worker may read sources.
pub(super) fn ingests(workers: &Workers, worker: &WorkerId) -> bool {
    workers.get(worker).is_some_and(|state| state.info.roles.contains(&Role::Ingest))
}

/// Most groups of a pipeline's table that are rewritten at a time.
pub(super) fn concurrency(pipeline: &Pipeline) -> usize {
    pipeline.compaction.as_ref().map_or(1, |compaction| compaction.concurrency.get() as usize)
}

/// A committer may be asked for groups.
pub fn can_plan(workers: &Workers, committer: &WorkerId) -> bool {
    workers.can_commit(committer) && are_known_to(workers, committer)
}

fn by_gain(groups: &[GroupRef]) -> Vec<&GroupRef> {
    let mut all: Vec<&GroupRef> = groups.iter().filter(|group| group.files > group.makes).collect();
    all.sort_by(|a, b| b.gain().total_cmp(&a.gain()).then_with(|| a.sha256.cmp(&b.sha256)));
    // One that was named twice is one task.
    all.dedup_by_key(|group| group.sha256);
    all
}

/// Whether tasks or backfills are about to replace what the group holds: rewriting it would be for nothing.
fn is_about_to_be_written(table: &Table, sink: &SinkId, group: &GroupRef) -> bool {
    let writers = table.pipelines().map(|(_, entry)| entry).filter(|entry| entry.sink == *sink);
    writers.filter(|entry| !plan::moves_nothing(entry)).any(|entry| match entry.spec().sink.write {
        WriteMode::Append | WriteMode::Upsert => false,
        WriteMode::ReplaceAll => is_busy(table, entry, |_| true),
        WriteMode::ReplaceWindow => match group.window.filter(|window| window.axis() == Axis::Time) {
            Some(window) => is_busy(table, entry, |other| other.overlaps(&window)),
            None => false,
        },
    })
}

/// Whether windows that concern it are open, or wait in a backfill.
fn is_busy(table: &Table, entry: &PipelineEntry, concerns: impl Fn(&Window) -> bool) -> bool {
    let name = &entry.spec().name;
    let is_open = |task: &Versioned<Task>| {
        let open = !matches!(task.value.state.phase(), TaskPhase::Quarantined | TaskPhase::Cancelled);
        open && concerns(&task.value.window)
    };
    let axis = entry.coverage.value.axis;
    let waits = |(start, end): (i64, i64)| Window::new(axis, start, end).is_ok_and(|window| concerns(&window));
    let mut backfills = table.backfills().map(|found| &found.value);
    table.tasks_of(name).any(is_open)
        || backfills.any(|found| found.pipeline == *name && found.phase.is_unsettled() && found.todo.iter().any(waits))
}

fn task(entry: &PipelineEntry, id: TaskId, group: &GroupRef, now: Now) -> Option<Task> {
    let what = serde_json::to_string(group).ok().filter(|what| what.len() <= MOST_PART_BYTES)?;
    Some(Task {
        id,
        pipeline: entry.spec().name.clone(),
        sink: entry.sink.clone(),
        shard: 0,
        part: Some(Part { of: 1, what }),
        window: group.window.unwrap_or(Window::version(0)),
        seams: Seams::None,
        revision: 0,
        lane: Lane::Compact,
        proof: None,
        loaded: None,
        declared: None,
        created: now.wall,
        attempts: 0,
        errors: 0,
        lost_leases: 0,
        outage: Outage::default(),
        trace: None,
        state: TaskState::Pending { not_before: now.wall, last_failure: None },
    })
}

impl Spent {
    /// A new day begins with nothing spent.
    fn turn(&mut self, now: Timestamp) {
        let day = now.as_second().div_euclid(86_400);
        if day != self.day {
            *self = Self { day, bytes: 0 };
        }
    }
}
