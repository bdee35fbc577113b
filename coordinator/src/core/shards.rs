//! Windows that were cut into shards while they were being loaded: a large table, which many workers read from one
//! snapshot.
//!
//! The attempt that cuts a window keeps the snapshot open and one shard for itself. Its task stands for the window as before, and
//! the others are tasks beside it. It is sealed last, when all others are, and all of them go into one intent. As long as
//! it is claimed the snapshot is there to be read; where it leaves its claim in any way but its seal, the snapshot is gone
//! and the others with it, in the same transaction. So there are others only beside a task that is claimed or sealed.

use windrow_common::{
    error,
    id::{TaskId, WorkerId},
    task::{Failure, Lane, Outage, Part, Task, TaskPhase, TaskState},
};

use super::{
    assign,
    lifecycle::{self, HeldClaim, Now, Refused},
    sources,
    table::{Change, Key, Record, Table, Versioned},
    workers::Workers,
};

/// Most shards of a window: they are sealed against each other in one transaction and published in one intent.
pub const MAX_SHARDS: usize = 64;
/// Most bytes of what a shard is told to read; it is part of its record.
pub const MAX_PART_BYTES: usize = 2 << 10;
/// The version of the session protocol that knows them.
const PROTOCOL: u32 = 2;

/// What cutting came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Cut {
    Change(Box<Change>),
    /// The same attempt cut before; only the answer was lost.
    Already,
    /// Whoever asks reads all of it.
    No,
}

/// A claimed task's window is cut; `parts` are what the others read. Its own record stays as it is, and its claim with it.
pub fn cut(
    table: &Table,
    workers: &Workers,
    epoch: i64,
    (claim, parts): (&HeldClaim, Vec<String>),
    now: Now,
) -> Result<Cut, Refused> {
    let entry = table.task(&claim.task).ok_or(Refused::Gone(claim.task))?;
    lifecycle::holder(entry, epoch, &claim.token)?;
    let mut known = table.shards_of(&entry.value.id).peekable();
    if known.peek().is_some() {
        let same = known.filter_map(|shard| shard.value.part.as_ref()).map(|part| &part.what).eq(parts.iter());
        return Ok(if same { Cut::Already } else { Cut::No });
    }
    let fit = !parts.is_empty() && parts.len() < MAX_SHARDS && parts.iter().all(|part| part.len() <= MAX_PART_BYTES);
    // A recount reads nothing that others could read.
    if !fit || entry.value.lane == Lane::Recount || !may_cut(table, workers, &entry.value) {
        return Ok(Cut::No);
    }
    let of = u32::try_from(parts.len() + 1).unwrap_or(u32::MAX);
    let key = Key::Task(entry.value.pipeline.clone(), entry.value.id);
    let held = Change { expect: vec![(key, Some(entry.revision))], ..Change::default() };
    let shards = (1..).zip(parts).map(|(shard, what)| Task {
        id: TaskId::of(&entry.value.pipeline, shard, &entry.value.window, entry.value.revision),
        shard,
        part: Some(Part { of, what }),
        created: now.wall,
        attempts: 0,
        errors: 0,
        lost_leases: 0,
        outage: Outage::default(),
        state: TaskState::Pending { not_before: now.wall, last_failure: None },
        ..entry.value.clone()
    });
    Ok(Cut::Change(Box::new(shards.fold(held, |change, shard| change.and(Change::create(Record::Task(shard)))))))
}

/// Whether others will come to read what is cut off. The one that cuts waits for them and keeps its place at the source and
/// in its pipeline, so each must have room for one more; and of those that wait at one source there may be one, for two
/// could take each other's room.
fn may_cut(table: &Table, workers: &Workers, task: &Task) -> bool {
    let Some(entry) = table.pipeline(&task.pipeline) else { return false };
    let waits_there = |first: &Versioned<Task>| {
        table.pipeline(&first.value.pipeline).is_some_and(|other| other.source == entry.source)
    };
    task.shard == 0
        && !matches!(task.lane, Lane::Compact | Lane::Compare)
        && task.windows() == 1
        && has_room(table, task)
        && workers.all_speak(PROTOCOL)
        && !table.cut().any(waits_there)
}

/// Whether a worker knows what shards are; an older one would take one for all of its window.
pub(super) fn are_known_to(workers: &Workers, worker: &WorkerId) -> bool {
    workers.speaks(worker, PROTOCOL)
}

fn has_room(table: &Table, task: &Task) -> bool {
    let Some(entry) = table.pipeline(&task.pipeline) else { return false };
    let connections = sources::limits(table, entry.source).connections;
    assign::limit(table, &task.pipeline, &task.lane) > 1 && connections.is_none_or(|most| most.get() > 1)
}

/// What is to be done about windows whose others will never be read, because limits were lowered meanwhile: they are begun
/// anew, and then not cut.
pub fn give_up(table: &Table, now: Now) -> Option<Change> {
    let stuck = table.cut().filter(|first| matches!(first.value.state, TaskState::Claimed { .. }));
    let stuck = stuck.filter(|first| !has_room(table, &first.value));
    stuck.filter_map(|first| lifecycle::hand_back(table, &first.value.id, now).ok()).next()
}

/// Whether all others are sealed, so that the one that cut may be.
pub fn are_sealed(table: &Table, first: &TaskId) -> bool {
    table.shards_of(first).all(|shard| matches!(shard.value.state, TaskState::Sealed { .. }))
}

/// How the task that cut is sealed with the others: it learns how many they are, and all of their seals must still hold.
pub(super) fn sealed_with(table: &Table, first: &TaskId) -> (Option<Part>, Change) {
    let shards: Vec<_> = table.shards_of(first).collect();
    let of = u32::try_from(shards.len() + 1).unwrap_or(u32::MAX);
    let expect = shards.iter().map(|shard| (key_of(&shard.value), Some(shard.revision)));
    let change = Change { expect: expect.collect(), ..Change::default() };
    ((of > 1).then(|| Part { of, what: String::new() }), change)
}

/// Those that are published with a sealed task, itself first; `None` if not all of them are there to be.
pub fn published_with<'a>(table: &'a Table, first: &'a Versioned<Task>) -> Option<Vec<&'a Versioned<Task>>> {
    let of = first.value.part.as_ref().map_or(1, |part| part.of as usize);
    let all: Vec<_> = std::iter::once(first).chain(table.shards_of(&first.value.id)).collect();
    let sealed = all.iter().all(|task| matches!(task.value.state, TaskState::Sealed { .. }));
    (sealed && all.len() == of).then_some(all)
}

/// The others go with the snapshot, whatever they are in. A zombie's seal then finds nothing, or another token.
pub(super) fn without_others(table: &Table, first: &TaskId) -> Change {
    table.shards_of(first).fold(Change::default(), |mut change, shard| {
        let key = key_of(&shard.value);
        change.expect.push((key.clone(), Some(shard.revision)));
        change.delete.push(key);
        change
    })
}

/// The task a failure counts against, if not the one it befell: what takes the snapshot takes the window.
pub(super) fn concerned<'a>(table: &'a Table, entry: &'a Versioned<Task>, failure: &Failure) -> &'a Versioned<Task> {
    match failure.code == error::SNAPSHOT_LOST.code {
        true => table.task(&entry.value.first()).unwrap_or(entry),
        false => entry,
    }
}

/// How many shards are being read, of those that are asked for.
pub(super) fn count_claimed(table: &Table, asked: impl Fn(&Task) -> bool) -> usize {
    table.shards().filter(|shard| shard.value.state.phase() == TaskPhase::Claimed && asked(&shard.value)).count()
}

fn key_of(task: &Task) -> Key {
    Key::Task(task.pipeline.clone(), task.id)
}
