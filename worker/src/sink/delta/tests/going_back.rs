//! Versions that are kept and shown again.

use std::collections::BTreeSet;

use windrow_common::error;

use super::*;
use crate::{
    sink::{
        Again,
        regroup::tests::{RULE, groups},
        versions::{self, Version},
    },
    stage::manifest,
};

/// The world's sink, for full loads of which so many versions are kept.
fn keeping(world: &World, keep_versions: u32) -> DeltaSink {
    let mut pipeline = world.pipeline();
    pipeline.sink.write = WriteMode::ReplaceAll;
    pipeline.sink.params.insert("expose".to_owned(), json!({ "keep_versions": keep_versions }));
    let params = Params::decode(&pipeline.sink.params).unwrap();
    DeltaSink::new(&pipeline, params, Storage::over(world.objects.clone(), world.place.clone()))
}

fn rows(number: u32) -> Vec<Row> {
    (0..10).map(|id| (Some(i64::from(number)), id, "eu")).collect()
}

/// Loads a version on top of another commit.
async fn version(sink: &DeltaSink, seq: Seq, previous: Option<Digest>, number: u32) -> Digest {
    let task = stage(sink, &load(Window::version(number), WriteMode::ReplaceAll, &rows(number))).await;
    let next = Next { seq, previous, previous_aborted: false, tasks: vec![task] };
    let body = sink.prepare(next).await.unwrap();
    let (_, digest) = manifest::put_intent(&sink.storage, &body).await.unwrap();
    assert!(matches!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { .. }));
    digest
}

async fn known(sink: &DeltaSink) -> Vec<Version> {
    versions::walk(&sink.storage, sink.probe().await.unwrap(), 9).await.unwrap()
}

/// The commit that shows a version again.
async fn back(sink: &DeltaSink, seq: Seq, previous: Digest, number: u32) -> Result<(IntentBody, Digest)> {
    let all = known(sink).await;
    let version = all.iter().find(|version| version.number == number).unwrap();
    let (id, token) = (TaskId::from_bytes([0xee; 16]), Token { epoch: 1, revision: 100 });
    let again = Again { seq, previous: Some(previous), previous_aborted: false, id, token };
    let body = sink.show_again(version, again).await?;
    let (_, digest) = manifest::put_intent(&sink.storage, &body).await.unwrap();
    Ok((body, digest))
}

fn paths(version: &Version) -> BTreeSet<String> {
    version.load.as_ref().unwrap().add.iter().map(|file| file.path.clone()).collect()
}

/// Has the table give removed files up at once, as another writer may.
fn retain_nothing(world: &World, at: u64) {
    let path = world.folder.path().join(format!("_delta_log/{:020}.json", 0));
    let first = std::fs::read_to_string(path).unwrap();
    let line = first.lines().find(|line| line.contains("metaData")).unwrap();
    let mut metadata: serde_json::Value = serde_json::from_str(line).unwrap();
    metadata["metaData"]["configuration"] = json!({ "delta.deletedFileRetentionDuration": "interval 0 seconds" });
    world.foreign_commit(at, &[metadata]);
}

/// Proves FL7. One commit takes the present files out and adds the old ones, whose rows a reader that is not ours finds.
#[tokio::test]
async fn a_version_is_shown_again_by_one_commit_that_is_made_once() {
    let world = World::new();
    let sink = keeping(&world, 2);
    let first = version(&sink, 1, None, 0).await;
    let second = version(&sink, 2, Some(first), 1).await;
    let (body, digest) = back(&sink, 3, second, 0).await.unwrap();
    let Applied::Committed { version: made } = sink.commit(&body, &digest).await.unwrap() else { panic!("it fits") };
    assert_eq!(world.rows().await, sorted(&rows(0)));
    let again = keeping(&world, 2);
    assert_eq!(again.commit(&body, &digest).await.unwrap(), Applied::Committed { version: made });
    assert_eq!(again.abort(&body, &digest).await.unwrap(), Applied::Committed { version: made });
    assert_eq!(world.table().await.version(), Some(made));
    version(&sink, 4, Some(digest), 2).await;
    assert_eq!(world.rows().await, sorted(&rows(2)));
    assert_eq!(known(&sink).await.iter().map(|version| version.number).collect::<Vec<_>>(), [2, 0, 1]);
}

/// A load of two files on top of another commit.
async fn in_two_files(sink: &DeltaSink, seq: Seq, previous: Option<Digest>, number: u32) -> Digest {
    let part = |rows: &[Row]| load(Window::version(number), WriteMode::ReplaceAll, rows);
    let mut task = stage(sink, &part(&rows(number)[..4])).await;
    task.1.files.extend(stage(sink, &part(&rows(number)[4..])).await.1.files);
    let body = sink.prepare(Next { seq, previous, previous_aborted: false, tasks: vec![task] }).await.unwrap();
    let (_, digest) = manifest::put_intent(&sink.storage, &body).await.unwrap();
    assert!(matches!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { .. }));
    digest
}

/// What is shown as one file.
async fn compacted(sink: &DeltaSink, seq: Seq, previous: Digest) -> Digest {
    let group = groups(sink, RULE).await.remove(0);
    let task = compacting::rewritten(sink, &group, u8::try_from(seq).unwrap()).await.unwrap();
    let next = Next { seq, previous: Some(previous), previous_aborted: false, tasks: vec![task] };
    let body = sink.replace_files(next).await.unwrap();
    let (_, digest) = manifest::put_intent(&sink.storage, &body).await.unwrap();
    assert!(matches!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { .. }));
    digest
}

/// Proves CO3. Versions are what was loaded, whatever was rewritten since: one that was compacted is gone back to, from one that was.
#[tokio::test]
async fn a_version_is_shown_again_after_its_files_were_rewritten() {
    let world = World::new();
    let sink = keeping(&world, 2);
    let mut newest = None;
    for number in 0..2 {
        let loaded = in_two_files(&sink, 2 * u64::from(number) + 1, newest, number).await;
        newest = Some(compacted(&sink, 2 * u64::from(number) + 2, loaded).await);
        assert_eq!((world.file_count().await, world.rows().await), (1, sorted(&rows(number))));
    }
    assert_eq!(known(&sink).await.iter().map(|version| version.number).collect::<Vec<_>>(), [1, 0]);
    let (body, digest) = back(&sink, 5, newest.unwrap(), 0).await.unwrap();
    assert!(matches!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { .. }));
    assert_eq!((world.file_count().await, world.rows().await), (2, sorted(&rows(0))));
    compacted(&sink, 6, digest).await;
    assert_eq!((world.file_count().await, world.rows().await), (1, sorted(&rows(0))));
}

/// The sweep is told to leave the files of the versions that are kept, even where the table has given them up.
#[tokio::test]
async fn files_of_kept_versions_outlive_the_retention_of_the_table_and_others_do_not() {
    let world = World::new();
    let sink = keeping(&world, 2);
    let first = version(&sink, 1, None, 0).await;
    let second = version(&sink, 2, Some(first), 1).await;
    let third = version(&sink, 3, Some(second), 2).await;
    let all = known(&sink).await;
    assert_eq!(sink.gone(&all[1..]).await.unwrap(), [None, None], "the table keeps removed files for a while");
    retain_nothing(&world, 4);
    let referenced = sink.referenced().await.unwrap();
    assert!(paths(&all[0]).is_subset(&referenced) && paths(&all[1]).is_subset(&referenced));
    assert!(paths(&all[2]).is_disjoint(&referenced));
    let gone = sink.gone(&all[1..]).await.unwrap();
    assert!(gone[0].is_none() && gone[1].is_some(), "{gone:?}");
    let (body, digest) = back(&sink, 4, third, 1).await.unwrap();
    assert!(matches!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { .. }));
    assert_eq!(world.rows().await, sorted(&rows(1)));
}

/// Proves FL7. Files that are vacuumed away between working the commit out and making it are not referred to.
#[tokio::test]
async fn what_was_vacuumed_meanwhile_is_not_brought_back() {
    let world = World::new();
    let sink = keeping(&world, 2);
    let first = version(&sink, 1, None, 0).await;
    let second = version(&sink, 2, Some(first), 1).await;
    let (body, digest) = back(&sink, 3, second, 0).await.unwrap();
    for file in &body.add {
        std::fs::remove_file(world.folder.path().join(&file.path)).unwrap();
    }
    let applied = sink.commit(&body, &digest).await.unwrap();
    assert_eq!(applied, Applied::Refused(crate::sink::Refusal::Conflict));
    assert!(matches!(sink.abort(&body, &digest).await.unwrap(), Applied::Aborted { .. }));
    assert_eq!(world.rows().await, sorted(&rows(1)));
    let gone = sink.gone(&known(&sink).await[1..]).await.unwrap();
    assert!(gone[0].as_ref().is_some_and(|why| why.contains("vacuumed")), "{gone:?}");
}

/// A table that only takes additions cannot show what was removed from it.
#[tokio::test]
async fn a_table_that_only_grows_is_not_rolled_back() {
    let world = World::new();
    let sink = keeping(&world, 2);
    let first = version(&sink, 1, None, 0).await;
    let second = version(&sink, 2, Some(first), 1).await;
    let path = world.folder.path().join(format!("_delta_log/{:020}.json", 0));
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.contains("metaData")).unwrap();
    let mut metadata: serde_json::Value = serde_json::from_str(line).unwrap();
    metadata["metaData"]["configuration"] = json!({ "delta.appendOnly": "true" });
    world.foreign_commit(3, &[metadata]);
    let refused = back(&sink, 3, second, 0).await.unwrap_err();
    assert_eq!(refused.code(), error::SINK_UNSUPPORTED);
}
