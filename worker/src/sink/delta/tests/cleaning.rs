//! What is cleaned away of a table, and what of it pins hold.

use std::{collections::BTreeSet, time::Duration};

use windrow_common::{
    clock::Clock,
    error,
    pin::{Version, Wanted},
};

use super::*;
use crate::{
    clean::{self, List, Report},
    sink::cleaning::Extent,
    sweep::{self, LiveSet},
};

const DAY: i64 = 86_400_000;

/// The world's sink so many days from now, with files kept for a week and the log for a month.
fn later(world: &World, days: i64) -> DeltaSink {
    let mut pipeline = world.pipeline();
    pipeline.sink.params.insert("cleaning".to_owned(), json!({ "keep": "7d", "log": "30d" }));
    let params = Params::of(&pipeline).unwrap();
    let storage = Storage::over(world.objects.clone(), world.place.clone());
    DeltaSink { later: days * DAY, ..DeltaSink::new(&pipeline, params, storage) }
}

/// As a committer cleans: it lists, then it looks what is needed, then it deletes.
async fn cleaned(sink: &DeltaSink, pins: &[Version]) -> Report {
    let list = listed(sink).await;
    let kept = sweep::kept(sink, pins).await.unwrap();
    clean::take_away((sink, &sink.id), &list, &kept, false).await.unwrap()
}

async fn listed(sink: &DeltaSink) -> List {
    clean::list(sink, sink.stale(Extent::Declared).await.unwrap()).await.unwrap()
}

/// What a sweep of the sink would look at, however young it is.
async fn staged(sink: &DeltaSink) -> Vec<sweep::Listed> {
    let soon = sink.clock.now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    sweep::list(sink, soon, Duration::ZERO).await.unwrap()
}

fn gone(report: &Report) -> BTreeSet<String> {
    report.files.iter().map(|file| file.path.clone()).collect()
}

fn day(number: i64, rows: &[Row]) -> Load {
    load(time(number * 10, number * 10 + 10), WriteMode::ReplaceWindow, rows)
}

fn revised(revision: u32, load: Load) -> Load {
    Load { revision, ..load }
}

/// Versions 1 to 4: two windows, then the first of them twice anew.
async fn thrice(world: &World) -> (DeltaSink, Vec<Recorded>) {
    let sink = world.sink();
    let mut made = vec![publish(&sink, 1, &[day(0, &[(Some(1), 1, "a")]), day(1, &[(Some(11), 2, "a")])]).await];
    for seq in 2..=3 {
        let rows = [(Some(1), i64::try_from(seq).unwrap() * 10, "a")];
        made.push(publish(&sink, seq, &[revised(u32::try_from(seq).unwrap(), day(0, &rows))]).await);
    }
    (sink, made)
}

fn added(recorded: &Recorded) -> BTreeSet<String> {
    recorded.body.add.iter().map(|file| file.path.clone()).collect()
}

async fn pin(sink: &DeltaSink, version: u64, pins: &[Version]) -> Result<u64, &'static str> {
    let found = sink.whole(Wanted::Version(Version::Table(version)), pins).await;
    found.map(|whole| whole.files).map_err(|cause| cause.code().code)
}

/// Proves CO9. Not a day before, and then only what no version from now on needs.
#[tokio::test]
async fn removed_files_go_when_they_were_removed_so_long_ago_and_not_before() {
    let world = World::new();
    let (_, made) = thrice(&world).await;
    for days in [0, 6] {
        assert_eq!(cleaned(&later(&world, days), &[]).await, Report::default());
    }
    let before = world.rows().await;
    let report = cleaned(&later(&world, 8), &[]).await;
    let replaced: BTreeSet<String> = made.iter().flat_map(|one| one.body.remove.clone()).collect();
    assert_eq!((gone(&report), replaced.len(), report.whole_from), (replaced, 2, Some(3)));
    assert!(report.files.iter().all(|file| file.bytes > 0));
    assert_eq!(world.rows().await, before);
    assert_eq!(cleaned(&later(&world, 8), &[]).await, Report::default(), "what is gone is not told of again");
}

/// Proves CO9. A file that is part of the table stays, whatever its tombstones say; so does what lies elsewhere, and whatever
/// is no file of a table.
#[tokio::test]
async fn a_file_that_is_part_of_the_table_again_stays() {
    let world = World::new();
    let (sink, made) = thrice(&world).await;
    let theirs = world.foreign_add("theirs.parquet", &[(Some(21), 9, "a")], true);
    std::fs::create_dir_all(world.folder.path().join("_windrow")).unwrap();
    std::fs::write(world.folder.path().join("_windrow/note"), "kept").unwrap();
    let remove = |path: &str| json!({ "remove": { "path": path, "dataChange": true, "deletionTimestamp": 1 } });
    let log = "_delta_log/00000000000000000000.json";
    let outside = world.folder.path().join("../outside.parquet");
    std::fs::write(&outside, "kept").unwrap();
    let newest = world.table().await.version().unwrap();
    world.foreign_commit(newest + 1, std::slice::from_ref(&theirs));
    let strange = ["theirs.parquet", "_windrow/note", log, "../outside.parquet", "s3://elsewhere/x.parquet"];
    world.foreign_commit(newest + 2, &strange.map(remove));
    world.foreign_commit(newest + 3, std::slice::from_ref(&theirs));
    assert_eq!(sink.probe().await.unwrap().unwrap().seq, 3);

    let before = world.rows().await;
    let report = cleaned(&later(&world, 8), &[]).await;
    assert_eq!(gone(&report), made.iter().flat_map(|one| one.body.remove.clone()).collect());
    assert_eq!(world.rows().await, before);
    assert!(outside.exists() && world.folder.path().join(log).exists());
    assert!(world.folder.path().join("_windrow/note").exists());
    std::fs::remove_file(outside).unwrap();
}

/// Proves CO9. Clocks of other writers are not believed: the store's own time of the commit counts, too. A tombstone that has no
/// time keeps its file.
#[tokio::test]
async fn the_time_of_a_removal_is_the_later_of_what_log_and_store_say() {
    let world = World::new();
    publish(&world.sink(), 1, &[day(0, &[(Some(1), 1, "a")])]).await;
    let add = |name: &str| world.foreign_add(name, &[(Some(21), 9, "a")], true);
    world.foreign_commit(2, &["early.parquet", "future.parquet", "timeless.parquet"].map(add));
    let remove = |path: &str, at: serde_json::Value| {
        let mut remove = json!({ "remove": { "path": path, "dataChange": true } });
        if !at.is_null() {
            remove["remove"]["deletionTimestamp"] = at;
        }
        remove
    };
    let future = world.sink().now() + 100 * DAY;
    let all = [
        remove("early.parquet", json!(1)),
        remove("future.parquet", json!(future)),
        remove("timeless.parquet", json!(null)),
    ];
    world.foreign_commit(3, &all);
    assert_eq!(cleaned(&later(&world, 0), &[]).await, Report::default());
    let report = cleaned(&later(&world, 8), &[]).await;
    assert_eq!(gone(&report), BTreeSet::from(["early.parquet".to_owned()]));
}

/// Without `cleaning` in the pipeline nothing of others goes by itself, and by the usual rules if somebody asks for it.
#[tokio::test]
async fn files_of_other_writers_go_only_if_somebody_says_so() {
    let world = World::new();
    publish(&world.sink(), 1, &[day(0, &[(Some(1), 1, "a")])]).await;
    world.foreign_commit(2, &[world.foreign_add("theirs.parquet", &[(Some(21), 9, "a")], true)]);
    let at = world.sink().now();
    let remove = json!({ "remove": { "path": "theirs.parquet", "dataChange": true, "deletionTimestamp": at } });
    world.foreign_commit(3, &[remove]);
    let undeclared = DeltaSink { later: 8 * DAY, ..world.sink() };
    assert!(undeclared.stale(Extent::Declared).await.unwrap().files.is_empty());
    let asked = undeclared.stale(Extent::Asked).await.unwrap();
    assert_eq!(asked.files.into_iter().collect::<Vec<_>>(), [("theirs.parquet".to_owned(), Some(3))]);
}

/// Proves CO10. What a pinned version needs stays, and goes when it is let go of.
#[tokio::test]
async fn a_pinned_version_stays_whole_and_the_rest_goes() {
    let world = World::new();
    let (sink, made) = thrice(&world).await;
    assert_eq!(pin(&sink, 2, &[]).await, Ok(2));
    let pins = [Version::Table(2)];
    let report = cleaned(&later(&world, 8), &pins).await;
    let of_the_first: BTreeSet<String> = made[1].body.remove.iter().cloned().collect();
    assert_eq!(gone(&report), of_the_first);
    assert_eq!(report.held.iter().map(|(version, files, _)| (*version, *files)).collect::<Vec<_>>(), [(pins[0], 1)]);
    assert!(added(&made[1]).iter().all(|path| world.folder.path().join(path).exists()));
    assert_eq!(gone(&cleaned(&later(&world, 8), &[]).await), added(&made[1]));
}

/// Proves CO10. Refused: what is gone, what may be on a list of somebody who is late, what is not there yet. What another pin
/// holds is certain.
#[tokio::test]
async fn only_a_version_that_is_certain_to_stay_is_pinned() {
    let world = World::new();
    let (sink, made) = thrice(&world).await;
    let gone = Err(error::PIN_GONE.code);
    assert_eq!((pin(&sink, 3, &[]).await, pin(&sink, 1, &[]).await), (Ok(2), Ok(2)));
    assert_eq!(pin(&sink, 9, &[]).await, gone);
    // Not deleted yet, but soon: half an hour is less than clocks differ.
    let nearly = DeltaSink { later: 7 * DAY - DAY / 48, ..later(&world, 0) };
    assert_eq!(pin(&nearly, 2, &[]).await, gone);
    assert_eq!(pin(&nearly, 2, &[Version::Table(2)]).await, Ok(2));
    assert_eq!(pin(&nearly, 3, &[]).await, Ok(2), "the newest is part of the table");
    std::fs::remove_file(world.folder.path().join(added(&made[1]).first().unwrap())).unwrap();
    assert_eq!(pin(&sink, 2, &[]).await, gone);
    let at = sink.clock.now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    let newest = sink.whole(Wanted::At(at), &[]).await.unwrap();
    assert_eq!(newest.version, Version::Table(3));
    let before = sink.whole(Wanted::At(jiff::Timestamp::UNIX_EPOCH), &[]).await.unwrap_err();
    assert_eq!(before.code(), error::PIN_GONE);
}

/// Proves CO10. A committer stands still with its lists for longer than files are kept, and meanwhile a version is pinned, which it has
/// not heard of: what came of age after its lists were made is on neither of them.
#[tokio::test]
async fn what_comes_of_age_after_it_was_listed_is_left_to_the_next() {
    let world = World::new();
    let (sink, made) = thrice(&world).await;
    let now = later(&world, 0);
    let (list, orphans) = (listed(&now).await, staged(&now).await);
    assert_eq!(pin(&sink, 2, &[]).await, Ok(2));
    let woken = later(&world, 8);
    let kept = sweep::kept(&woken, &[]).await.unwrap();
    sweep::take_away(&woken, &orphans, &LiveSet::default(), &kept).await.unwrap();
    assert_eq!(clean::take_away((&woken, &woken.id), &list, &kept, false).await.unwrap(), Report::default());
    let is_there = |path: &String| world.folder.path().join(path).exists();
    assert!(made.iter().flat_map(added).all(|path| is_there(&path)), "the pinned version is whole");
    // Lists that are made then name them, and respect the pin.
    assert_eq!((listed(&woken).await.files.len(), staged(&woken).await.len()), (2, 2));
    let kept = sweep::kept(&woken, &[Version::Table(2)]).await.unwrap();
    let swept = sweep::take_away(&woken, &staged(&woken).await, &LiveSet::default(), &kept).await.unwrap();
    assert!(swept.files == 1 && added(&made[1]).iter().all(is_there));
}

/// Proves CO9, CO10. The log is shortened to the checkpoint that the newest version and every pinned one is made from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_goes_up_to_what_pins_and_readers_need() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[day(0, &[(Some(1), 1, "a")])]).await;
    let mut metadata = serde_json::to_value(world.table().await.snapshot().unwrap().metadata()).unwrap();
    metadata["configuration"] = json!({ "delta.checkpointInterval": "5" });
    world.foreign_commit(2, &[json!({ "metaData": metadata })]);
    for seq in 2..=20 {
        publish(&sink, seq, &[day(i64::try_from(seq).unwrap(), &[(Some(1), 1, "a")])]).await;
        sink.checkpoints.settled().await;
    }
    let commits = || {
        let log = std::fs::read_dir(world.folder.path().join("_delta_log")).unwrap();
        let names = log.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let versions = names.filter_map(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
        versions.collect::<BTreeSet<u64>>()
    };
    assert_eq!(commits().first(), Some(&0));
    assert_eq!(cleaned(&later(&world, 29), &[]).await.log, []);
    let early = listed(&later(&world, 29)).await;
    let kept = sweep::kept(&later(&world, 31), &[]).await.unwrap();
    let late = clean::take_away((&later(&world, 31), &sink.id), &early, &kept, false).await.unwrap();
    assert_eq!(late.log, [], "what expired after it was listed may be pinned meanwhile");
    let pins = [Version::Table(12)];
    assert!(!cleaned(&later(&world, 31), &pins).await.log.is_empty());
    let first = *commits().first().unwrap();
    assert!((1..=12).contains(&first), "{first}");
    assert!(deltalake_core::open_table_with_version(world.url(), 12).await.is_ok());
    assert!(deltalake_core::open_table_with_version(world.url(), first - 1).await.is_err());
    assert_eq!(pin(&later(&world, 31), first, &[]).await, Err(error::PIN_GONE.code), "its log may go");
    let before = world.rows().await;
    assert!(!cleaned(&later(&world, 31), &[]).await.log.is_empty());
    assert!(*commits().first().unwrap() > 12);
    assert_eq!(world.rows().await, before);
    assert_eq!(world.sink().probe().await.unwrap(), sink.probe().await.unwrap());
    // A pin that somebody else's cleaning broke ends ours, instead of being guessed at.
    let broken = sweep::kept(&later(&world, 31), &pins).await.unwrap_err();
    assert_eq!(broken.code(), error::PIN_BROKEN);
}
