//! When files may be rewritten, and how much of a day that may take.

use std::num::NonZeroU64;

use windrow_common::{
    compaction::{Compaction, GroupRef},
    id::TaskId,
    quantity::ByteSize,
};

use super::{compacted, group, sink_of, take_up, with};
use crate::core::{
    compact::{self, Asked, Spent},
    lifecycle,
    tests::bench::Bench,
};

/// Proves CO11.
#[test]
fn hours_and_budget_decide_unless_somebody_asks() {
    let night = |compaction: &mut Compaction| {
        let hours = serde_json::json!({ "from": "22:00", "to": "06:00", "timezone": "Europe/Paris" });
        compaction.off_hours = Some(serde_json::from_value(hours).unwrap());
    };
    // The bench's clock shows 04:00 UTC, 05:00 in Paris; an hour later the night is over there.
    for (hours, due) in [(4, true), (5, false), (20, false), (21, true)] {
        let mut bench = Bench::new(hours, [with(compacted("flights", "lake"), night)]);
        let sink = sink_of(&bench, "flights");
        let taken = take_up(&mut bench, &sink, &[group(1, 9, 9)], Asked::ByItself).len();
        assert_eq!(taken == 1, due, "at {hours}:00 UTC");
        assert_eq!(take_up(&mut bench, &sink, &[group(2, 9, 9)], Asked::ByHand).len(), 1);
    }
    let budget = |compaction: &mut Compaction| compaction.bytes_per_day = Some(ByteSize(2_500));
    let mut bench = Bench::new(0, [with(compacted("flights", "lake"), budget)]);
    let sink = sink_of(&bench, "flights");
    let groups: Vec<GroupRef> = (0..5).map(|number| group(number, 10, 1_000)).collect();
    let mut spent = Spent::default();
    let mut taken = |bench: &Bench, groups: &[GroupRef], asked| {
        let made = compact::plan(&bench.table, &sink, groups, (asked, &mut spent), bench.now());
        made.map_or(0, |(_, tasks)| tasks.len())
    };
    assert_eq!(taken(&bench, &groups, Asked::ByItself), 2);
    assert_eq!(taken(&bench, &groups, Asked::ByItself), 0, "the day's bytes are spent");
    assert_eq!(taken(&bench, &groups[..1], Asked::ByHand), 1);
    bench.pass(86_400);
    assert_eq!(taken(&bench, &groups, Asked::ByItself), 2, "and tomorrow there are others");
}

/// Proves CO11. Seconds are those between claims and what ends them: a group that runs counts as it runs, and one that ended stays
/// counted for its day.
#[test]
fn seconds_of_slots_are_spent_as_groups_run() {
    let budget = |compaction: &mut Compaction| compaction.seconds_per_day = NonZeroU64::new(100);
    let mut bench = Bench::new(0, [with(compacted("flights", "lake"), budget)]);
    bench.name_committers();
    let sink = sink_of(&bench, "flights");
    let groups: Vec<GroupRef> = (0..9).map(|number| group(number, 10, 1_000)).collect();
    let mut spent = Spent::default();
    let taken = |bench: &mut Bench, spent: &mut Spent, asked| {
        let before = bench.table.groups_of(&sink).count();
        let made = compact::plan(&bench.table, &sink, &groups, (asked, spent), bench.now());
        let change = made.unwrap().0;
        if !change.is_empty() {
            bench.apply(&change);
        }
        bench.table.groups_of(&sink).count() - before
    };
    assert_eq!(taken(&mut bench, &mut spent, Asked::ByItself), 2, "no more than run at a time");
    let tasks: Vec<TaskId> = bench.table.groups_of(&sink).map(|task| task.value.id).collect();
    let end = |bench: &mut Bench, spent: &mut Spent, task: &TaskId| {
        let change = lifecycle::reap(&bench.table, task, bench.now()).unwrap();
        spent.take(&bench.table, &sink, &change, bench.now().wall);
        bench.apply(&change);
    };
    bench.claim(&tasks[0]);
    bench.claim(&tasks[1]);
    bench.pass(40);
    end(&mut bench, &mut spent, &tasks[0]);
    bench.pass(10);
    end(&mut bench, &mut spent, &tasks[1]);
    // 90 seconds are spent: there is room for more groups, but these two are open still.
    assert_eq!(taken(&mut bench, &mut spent, Asked::ByItself), 0);
    for task in &tasks {
        bench.apply(&lifecycle::gone(bench.table.task(task).unwrap()));
    }
    assert_eq!(taken(&mut bench, &mut spent, Asked::ByItself), 2);
    let running = bench.table.groups_of(&sink).next().unwrap().value.id;
    bench.claim(&running);
    bench.pass(10);
    let waiting = bench.table.groups_of(&sink).find(|task| task.value.id != running).unwrap().value.id;
    bench.apply(&lifecycle::gone(bench.table.task(&waiting).unwrap()));
    assert_eq!(taken(&mut bench, &mut spent, Asked::ByItself), 0, "the day's seconds are spent while it runs");
    let mut next_leaders = Spent::known(&bench.table, &sink);
    assert_eq!(next_leaders, Spent { bytes: 4_000, ..spent }, "the next leader goes on from there");
    assert_eq!(taken(&mut bench, &mut next_leaders, Asked::ByItself), 0);
    assert!(taken(&mut bench, &mut spent, Asked::ByHand) > 0, "whoever asks is not kept from it");
    let hand: Vec<TaskId> = bench.table.groups_of(&sink).map(|task| task.value.id).collect();
    for task in &hand {
        bench.apply(&lifecycle::gone(bench.table.task(task).unwrap()));
    }
    bench.pass(86_400);
    assert_eq!(taken(&mut bench, &mut spent, Asked::ByItself), 2, "and tomorrow there are others");
}
