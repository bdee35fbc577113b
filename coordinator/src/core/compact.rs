//! Which files of a table are rewritten now, and by whom. The sink's committer knows the files and gathers those that are worth
//! it into groups ([`GroupRef`]); what becomes of a group is decided here, by what windows are about to be written, what the
//! hour and the budget say, and what is worth most.
//!
//! A group is a task like any other: it is claimed, sealed and committed through the sink's one lane. Its id is the hash of its
//! list of files, so planning it twice changes nothing, and a group whose files changed meanwhile is another one. It is dropped
//! where a window is run again: the files it was made of are not there any more, and others will be found.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use windrow_common::{
    compaction::{Compaction, GroupRef},
    error,
    id::{PipelineName, SinkId, TaskId, WorkerId},
    manifest::WriteMode,
    pipeline::Pipeline,
    task::{Failure, Lane, Part, Task, TaskPhase, TaskState},
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
/// The version that knows major ones.
const MAJOR_PROTOCOL: u32 = 5;

/// What was rewritten on a day, held against the budgets. The leader counts it in memory and writes it down with the groups it
/// takes up, so the next one misses the seconds of the last few groups at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Days since 1970.
    pub day: i64,
    pub bytes: u64,
    /// How long claims of groups lasted that ended on that day.
    pub time: Duration,
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
    let mut room = room(table, sink, compaction, (asked, spent), now);
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
    let is_bounded = compaction.bytes_per_day.is_some() || compaction.seconds_per_day.is_some();
    if is_bounded && !change.is_empty() {
        change = change.and(spent.noted(table, sink));
    }
    Some((change, tasks))
}

/// Groups that are open although nobody says any more how, or that files be compacted at all, or that rows be clustered so. Those
/// an intent names are left to it.
pub fn orphans(table: &Table) -> Option<Change> {
    let is_orphan = |task: &&Versioned<Task>| {
        let entry = table.pipeline(&task.value.pipeline);
        let wanted = entry.is_some_and(|entry| {
            let rule = entry.spec().compaction.as_deref();
            rule.is_some_and(|rule| is_wanted(&task.value, rule)) && entry.sink == task.value.sink
        });
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

/// Whether a group's rows are to be clustered as it says, if it does.
fn is_wanted(task: &Task, rule: &Compaction) -> bool {
    let clustering = task.group().and_then(|group| group.major);
    clustering.is_none_or(|clustering| clustering == rule.cluster_by.clone().unwrap_or_default())
}

/// Whether a failure ends a task that rewrites files: what it was to rewrite is not there any more. It is no error of anybody's.
pub(super) fn is_over(task: &Task, failure: &Failure) -> bool {
    task.lane == Lane::Compact && failure.code == error::GROUP_GONE.code
}

/// Whether a worker knows what groups are; an older one would take one for a window.
pub(super) fn are_known_to(workers: &Workers, worker: &WorkerId) -> bool {
    workers.speaks(worker, PROTOCOL)
}

/// Whether a worker may rewrite files: it holds the sinks' credentials, and knows how, which whoever speaks that version does.
pub(super) fn rewrites(workers: &Workers, worker: &WorkerId, protocol: u32) -> bool {
    let holds = |role| workers.get(worker).is_some_and(|state| state.info.roles.contains(&role));
    workers.speaks(worker, protocol) && (holds(Role::Sink) || holds(Role::Compact))
}

/// The version that whoever rewrites files of a pipeline's table has to speak: an older one would take a major rewrite for one that
/// leaves rows in their order.
pub(super) fn protocol(table: &Table, pipeline: &PipelineName) -> u32 {
    let rule = table.pipeline(pipeline).and_then(|entry| entry.spec().compaction.as_deref());
    let mut groups = table.groups().filter(|task| task.value.pipeline == *pipeline);
    let major = |task: &Versioned<Task>| task.value.group().is_some_and(|group| group.major.is_some());
    match rule.is_some_and(|rule| rule.cluster_by.is_some()) || groups.any(major) {
        true => MAJOR_PROTOCOL,
        false => PROTOCOL,
    }
}

/// Whether a worker may read sources.
pub(super) fn ingests(workers: &Workers, worker: &WorkerId) -> bool {
    workers.get(worker).is_some_and(|state| state.info.roles.contains(&Role::Ingest))
}

/// Most groups of a pipeline's table that are rewritten at a time.
pub(super) fn concurrency(pipeline: &Pipeline) -> usize {
    pipeline.compaction.as_ref().map_or(1, |compaction| compaction.concurrency.get() as usize)
}

/// A committer may be asked for groups, major ones if they are wanted.
pub fn can_plan(workers: &Workers, committer: &WorkerId, major: bool) -> bool {
    let protocol = if major { MAJOR_PROTOCOL } else { PROTOCOL };
    workers.can_commit(committer) && workers.speaks(committer, protocol)
}

/// Groups of a sink that wait, are rewritten or about to be committed.
pub fn open<'a>(table: &'a Table, sink: &'a SinkId) -> impl Iterator<Item = &'a Task> {
    table.groups_of(sink).filter(|task| is_open(task)).map(|task| &task.value)
}

/// How many more groups may be open. Nobody knows how long a group takes, so where seconds count no more of them are open than run at
/// a time, and what goes past the budget is what these take.
fn room(table: &Table, sink: &SinkId, compaction: &Compaction, (asked, spent): (Asked, &Spent), now: Now) -> usize {
    let room = MOST_OPEN.saturating_sub(table.groups_of(sink).count());
    let Some(seconds) = compaction.seconds_per_day.filter(|_| asked == Asked::ByItself) else { return room };
    if spent.time + running_for(table, sink, now.wall) >= Duration::from_secs(seconds.get()) {
        return 0;
    }
    room.min((compaction.concurrency.get() as usize).saturating_sub(open(table, sink).count()))
}

fn is_open(task: &Versioned<Task>) -> bool {
    task.value.state.phase() != TaskPhase::Quarantined
}

/// How long the groups that are rewritten now have been, together.
fn running_for(table: &Table, sink: &SinkId, now: Timestamp) -> Duration {
    table.groups_of(sink).filter_map(|task| claimed_for(&task.value, now)).sum()
}

/// How long a claim has lasted, if the task is claimed. A clock that was set back makes it none.
fn claimed_for(task: &Task, now: Timestamp) -> Option<Duration> {
    match &task.state {
        TaskState::Claimed { since, .. } => Some(Duration::try_from(now.duration_since(*since)).unwrap_or_default()),
        _ => None,
    }
}

fn by_gain(groups: &[GroupRef]) -> Vec<&GroupRef> {
    let is_worth_it = |group: &&GroupRef| group.files > group.makes || group.major.is_some();
    let mut all: Vec<&GroupRef> = groups.iter().filter(is_worth_it).collect();
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
    let (place, window) = ((entry.spec().name.clone(), entry.sink.clone()), group.window.unwrap_or(Window::version(0)));
    Some(Task { part: Some(Part { of: 1, what }), ..Task::new(id, place, Lane::Compact, window, now.wall) })
}

impl Spent {
    /// As it was noted last.
    pub fn known(table: &Table, sink: &SinkId) -> Self {
        table.sink(sink).and_then(|entry| entry.spent.as_ref()).map(|spent| spent.value).unwrap_or_default()
    }

    fn noted(self, table: &Table, sink: &SinkId) -> Change {
        let record = Record::Spent(sink.clone(), self);
        match table.sink(sink).and_then(|entry| entry.spent.as_ref()) {
            Some(before) => Change::replace(record, before.revision),
            None => Change::create(record),
        }
    }

    /// Takes in the claims of a sink's groups that a change ends.
    pub fn take(&mut self, table: &Table, sink: &SinkId, change: &Change, now: Timestamp) {
        let put = change.put.iter().filter_map(|record| match record {
            Record::Task(task) if task.lane == Lane::Compact && task.state.phase() != TaskPhase::Claimed => {
                Some(task.id)
            }
            _ => None,
        });
        let gone = change.delete.iter().filter_map(|key| match key {
            Key::Group(_, id) => Some(*id),
            _ => None,
        });
        let ended = put.chain(gone).filter_map(|id| table.task(&id)).filter(|task| task.value.sink == *sink);
        let time: Duration = ended.filter_map(|task| claimed_for(&task.value, now)).sum();
        if !time.is_zero() {
            self.turn(now);
            self.time += time;
        }
    }

    /// A new day begins with nothing spent.
    fn turn(&mut self, now: Timestamp) {
        let day = now.as_second().div_euclid(86_400);
        if day != self.day {
            *self = Self { day, ..Self::default() };
        }
    }
}
