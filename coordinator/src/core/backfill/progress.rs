//! How a backfill goes on: its windows become tasks, bit by bit; then it is settled. A cancelled one is cleared away.

use windrow_common::{
    pipeline::WindowSpec,
    task::{Lane, Task, TaskState},
    window::{Axis, Window},
};

use super::{Backfill, Order, Phase};
use crate::core::{
    lifecycle::{self, Now},
    plan, recount,
    table::{Change, Key, PipelineEntry, Record, Table, Versioned},
};

/// Most tasks, and most windows that replace quarantined ones, one task takes; with [`plan::MAX_PLANNED`] it keeps a
/// step within one transaction.
const MAX_STEP: usize = plan::MAX_PLANNED / 2;

/// The next step of every backfill that has one: plans tasks, settles what is done, withdraws what was cancelled.
pub fn advance(table: &Table, now: Now) -> Vec<Change> {
    let step = |entry: &Versioned<Backfill>| match entry.value.phase {
        Phase::Running => plan_next(table, entry, now).or_else(|| settle(table, entry, now)),
        Phase::Cancelled => withdraw_unsealed(table, &entry.value),
        Phase::Paused | Phase::Succeeded | Phase::Failed => None,
    };
    table.backfills().filter_map(step).collect()
}

fn plan_next(table: &Table, backfill: &Versioned<Backfill>, now: Now) -> Option<Change> {
    let entry = table.pipeline(&backfill.value.pipeline)?;
    let lane = Lane::Backfill(backfill.value.id.clone());
    let room = plan::MAX_OPEN.saturating_sub(table.open(&backfill.value.pipeline, &lane)).min(MAX_STEP);
    let quarantined: Vec<&Versioned<Task>> =
        table.tasks_of(&backfill.value.pipeline).filter(|task| is_quarantined(&task.value)).collect();
    let mut next = backfill.value.clone();
    let mut change = Change::default();
    for _ in 0..room {
        let Some(run) = next_run(entry, &next, &quarantined, now) else { break };
        let planned = plan::task(entry, &run, next.revision, lane.clone(), next.trace.clone(), now)?;
        next.todo.remove(planned.window.start(), planned.window.end());
        withdraw_quarantined(&quarantined, &planned.window, &mut change);
        change = change.and(Change::create(Record::Task(planned)));
        if change.size() >= MAX_STEP {
            break;
        }
    }
    (!change.is_empty()).then(|| change.and(Change::replace(Record::Backfill(next), backfill.revision)))
}

/// The next adjacent windows one task may take, from the end the order begins at.
fn next_run(
    entry: &PipelineEntry,
    backfill: &Backfill,
    quarantined: &[&Versioned<Task>],
    now: Now,
) -> Option<Vec<Window>> {
    let (start, end) = match backfill.order {
        Order::OldestFirst => backfill.todo.iter().next()?,
        Order::NewestFirst => backfill.todo.iter().next_back()?,
    };
    let Some(tiling) = &entry.tiling else {
        return Window::new(Axis::Version, start, end).ok().map(|window| vec![window]);
    };
    let inside = |window: &Window| start <= window.start() && window.end() <= end;
    let per_task = entry.spec().window.as_ref().map_or(1, WindowSpec::run) as usize;
    let run = |most: usize| -> Vec<Window> {
        match backfill.order {
            Order::OldestFirst => tiling.windows_from(start).take_while(inside).take(most).collect(),
            Order::NewestFirst => {
                let mut run: Vec<Window> = tiling.windows_back_from(end).take_while(inside).take(most).collect();
                run.reverse();
                run
            }
        }
    };
    let mut whole = run(per_task);
    let runs = recount::in_runs(entry, &whole, per_task, now);
    let first = match backfill.order {
        Order::OldestFirst => runs.min_by_key(|run| run.first().map(Window::start)),
        Order::NewestFirst => runs.max_by_key(|run| run.first().map(Window::start)),
    };
    whole = first.map(<[Window]>::to_vec).unwrap_or_default();
    let taken_over = |task: &&&Versioned<Task>| whole.iter().any(|window| task.value.window.overlaps(window));
    let run = if quarantined.iter().filter(taken_over).count() > MAX_STEP { run(MAX_STEP) } else { whole };
    (!run.is_empty()).then_some(run)
}

/// Withdraws, once, the quarantined tasks a planned window takes over.
fn withdraw_quarantined(quarantined: &[&Versioned<Task>], planned: &Window, change: &mut Change) {
    for task in quarantined.iter().filter(|task| task.value.window.overlaps(planned)) {
        let key = Key::Task(task.value.pipeline.clone(), task.value.id);
        if !change.delete.contains(&key) {
            change.expect.push((key.clone(), Some(task.revision)));
            change.delete.push(key);
        }
    }
}

fn settle(table: &Table, backfill: &Versioned<Backfill>, now: Now) -> Option<Change> {
    let (open, failed) = open_and_failed(table, &backfill.value);
    if open > 0 || !backfill.value.todo.is_empty() {
        return None;
    }
    let mut settled = backfill.value.clone();
    settled.phase = if failed > 0 { Phase::Failed } else { Phase::Succeeded };
    settled.failed = failed;
    settled.settled = Some(now.wall);
    Some(Change::replace(Record::Backfill(settled), backfill.revision))
}

/// A cancelled backfill's tasks go unless they are sealed; also those that come back later, because their files were bad
/// or their intent was aborted. Quarantined ones stay, for whoever looks into them.
fn withdraw_unsealed(table: &Table, backfill: &Backfill) -> Option<Change> {
    let unsealed = own(table, backfill).filter(|task| !is_quarantined(&task.value));
    let gone = unsealed.filter_map(|task| lifecycle::cancel(table, &task.value.id).ok());
    Change::up_to(plan::MAX_PLANNED, gone)
}

/// Windows of a backfill in open tasks, and in quarantined ones.
pub fn open_and_failed(table: &Table, backfill: &Backfill) -> (u64, u64) {
    own(table, backfill).fold((0, 0), |(open, failed), task| match is_quarantined(&task.value) {
        true => (open, failed + task.value.windows() as u64),
        false => (open + task.value.windows() as u64, failed),
    })
}

/// The tasks of a backfill.
pub fn own<'a>(table: &'a Table, backfill: &Backfill) -> impl Iterator<Item = &'a Versioned<Task>> {
    let lane = Lane::Backfill(backfill.id.clone());
    table.tasks_of(&backfill.pipeline).filter(move |task| task.value.lane == lane)
}

fn is_quarantined(task: &Task) -> bool {
    matches!(task.state, TaskState::Quarantined { .. })
}
