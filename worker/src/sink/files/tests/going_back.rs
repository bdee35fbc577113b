//! Versions that are kept, swept and shown again.

use std::time::Duration;

use jiff::ToSpan;
use windrow_common::{
    clock::{Clock, SystemClock},
    error,
    pin::{self, Wanted},
};

use super::*;
use crate::{
    sink::versions,
    sweep::{self, LiveSet},
};

/// Keeps so many versions.
fn keeping(place: &Place, keep_versions: u32) -> FilesSink {
    FilesSink::new(place.storage.clone(), Settings { keep_versions, ..settings() })
}

/// Loads a version; its rows are labelled by it.
async fn version(sink: &FilesSink, seq: u64, previous: Option<Digest>, number: u32) -> Digest {
    let window = Window::version(number);
    let rows = rows_of(hours(0, 10), &format!("v{number}"));
    let task = sealed(sink, u8::try_from(seq).unwrap(), WriteMode::ReplaceAll, window, rows).await;
    let (body, digest) = intent(sink, seq, previous, vec![task]).await;
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: seq });
    digest
}

async fn known(sink: &FilesSink) -> Vec<Version> {
    versions::walk(&sink.storage, sink.probe().await.unwrap(), 9).await.unwrap()
}

fn again(seq: u64, previous: Digest) -> Again {
    let (id, token) = (TaskId::from_bytes([0xee; 16]), Token { epoch: 1, revision: 100 });
    Again { seq, previous: Some(previous), previous_aborted: false, id, token }
}

/// The commit that shows a version again.
async fn back(sink: &FilesSink, seq: u64, previous: Digest, number: u32) -> Result<(IntentBody, Digest)> {
    let all = known(sink).await;
    let version = all.iter().find(|version| version.number == number).unwrap();
    let body = sink.show_again(version, again(seq, previous)).await?;
    let (_, digest) = manifest::put_intent(&sink.storage, &body).await.unwrap();
    Ok((body, digest))
}

/// All that nothing refers to goes, however young it is.
async fn sweep(sink: &FilesSink) {
    sweep_but(sink, &[]).await;
}

/// The same but for what pins hold.
async fn sweep_but(sink: &FilesSink, pins: &[pin::Version]) {
    let later = SystemClock::new().now().checked_add(48.hours()).unwrap();
    let listed = sweep::list(sink, later, Duration::ZERO).await.unwrap();
    let kept = sweep::kept(sink, pins).await.unwrap();
    sweep::take_away(sink, &listed, &LiveSet::default(), &kept).await.unwrap();
}

fn labelled(number: u32) -> Vec<(i64, String)> {
    expected(&[(0, 10, &format!("v{number}"))])
}

/// Proves FL7. Versions past those that are kept are swept and then refused; those that are kept survive the sweep, and the one
/// gone back to counts as the newest.
#[tokio::test]
async fn versions_past_those_kept_are_swept_and_the_others_can_be_shown_again() {
    let place = Place::new();
    let sink = keeping(&place, 2);
    let first = version(&sink, 1, None, 0).await;
    let second = version(&sink, 2, Some(first), 1).await;
    let third = version(&sink, 3, Some(second), 2).await;
    let gone = |answers: Vec<Option<String>>| answers.iter().map(Option::is_some).collect::<Vec<_>>();
    assert_eq!(gone(sink.gone(&known(&sink).await[1..]).await.unwrap()), [false, false], "nothing is swept yet");
    sweep(&sink).await;
    assert_eq!(gone(sink.gone(&known(&sink).await[1..]).await.unwrap()), [false, true]);
    assert_eq!(back(&sink, 4, third, 0).await.unwrap_err().code(), error::VERSION_GONE);

    let (body, fourth) = back(&sink, 4, third, 1).await.unwrap();
    for _ in 0..2 {
        assert_eq!(sink.commit(&body, &fourth).await.unwrap(), Applied::Committed { version: 4 });
        assert_eq!(visible(&place), labelled(1));
    }
    let fifth = version(&sink, 5, Some(fourth), 3).await;
    sweep(&sink).await;
    assert_eq!(visible(&place), labelled(3));
    let kept: Vec<(u32, bool)> = known(&sink)
        .await
        .iter()
        .zip(gone(sink.gone(&known(&sink).await).await.unwrap()))
        .map(|(version, gone)| (version.number, gone))
        .collect();
    assert_eq!(kept[1..], [(1, false), (2, true), (0, true)]);
    let (body, digest) = back(&sink, 6, fifth, 1).await.unwrap();
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 6 });
    assert_eq!(visible(&place), labelled(1));
}

/// A committer that stood still while it published a version goes on when others have been shown: it brings nothing back, for
/// nothing is published from where versions are kept.
#[tokio::test]
async fn a_committer_that_is_late_publishes_nothing_of_a_version_that_is_kept() {
    let place = Place::new();
    let sink = keeping(&place, 3);
    let first = version(&sink, 1, None, 0).await;
    let late = keeping(&place, 3);
    let entry = late.log.entry(1).await.unwrap().unwrap();
    let second = version(&sink, 2, Some(first), 1).await;
    publish::publish(&late.log, &entry).await.unwrap();
    assert_eq!(visible(&place), labelled(1));
    let (body, digest) = back(&sink, 3, second, 0).await.unwrap();
    sink.commit(&body, &digest).await.unwrap();
    let shown = late.log.entry(3).await.unwrap().unwrap();
    version(&sink, 4, Some(digest), 2).await;
    publish::publish(&late.log, &shown).await.unwrap();
    assert_eq!(visible(&place), labelled(2));
}

/// Its copies are made under names of its own each time, so an abort leaves orphans and nothing else.
#[tokio::test]
async fn an_aborted_rollback_changes_nothing_and_what_it_staged_is_swept() {
    let place = Place::new();
    let sink = keeping(&place, 2);
    let first = version(&sink, 1, None, 0).await;
    let second = version(&sink, 2, Some(first), 1).await;
    let (body, digest) = back(&sink, 3, second, 0).await.unwrap();
    assert_eq!(sink.abort(&body, &digest).await.unwrap(), Applied::Aborted { version: 3 });
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Aborted { version: 3 });
    sweep(&sink).await;
    assert_eq!(visible(&place), labelled(1));
    let left: Vec<String> = place.all_files().into_iter().filter(|path| path.contains("eeeeeeee")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(sink.gone(&known(&sink).await[1..]).await.unwrap(), [None]);
}

/// Proves CO10. A pinned version outlives those that are kept, and goes with its pin.
#[tokio::test]
async fn a_pinned_version_is_kept_past_the_others() {
    let place = Place::new();
    let sink = keeping(&place, 2);
    let pins = [pin::Version::Load(0)];
    let mut newest = version(&sink, 1, None, 0).await;
    let whole = sink.whole(Wanted::Version(pins[0]), &[]).await.unwrap();
    assert!(whole.version == pins[0] && whole.files > 0 && whole.bytes > 0);
    for number in 1..4 {
        newest = version(&sink, u64::from(number) + 1, Some(newest), number).await;
        sweep_but(&sink, &pins).await;
    }
    let kept = async |sink: &FilesSink| -> Vec<(u32, bool)> {
        let all = known(sink).await;
        let gone = sink.gone(&all[1..]).await.unwrap();
        all[1..].iter().zip(gone).map(|(version, gone)| (version.number, gone.is_none())).collect()
    };
    assert_eq!(kept(&sink).await, [(2, true), (1, false), (0, true)]);
    let refused = async |version| sink.whole(Wanted::Version(version), &[]).await.unwrap_err().code();
    assert_eq!(refused(pin::Version::Load(1)).await, error::PIN_GONE);
    assert_eq!(refused(pin::Version::Load(9)).await, error::PIN_GONE);
    assert_eq!(refused(pin::Version::Load(0)).await, error::PIN_GONE, "nothing but its pin keeps it");
    assert_eq!(refused(pin::Version::Table(1)).await, error::NOTHING_TO_PIN);
    assert!(sink.whole(Wanted::Version(pins[0]), &pins).await.is_ok(), "another pin may follow on the first");
    sweep(&sink).await;
    assert_eq!(kept(&sink).await, [(2, true), (1, false), (0, false)]);
    let alone = keeping(&place, 1).whole(Wanted::Version(pin::Version::Load(3)), &[]).await.unwrap_err();
    assert_eq!(alone.code(), error::NOTHING_TO_PIN);
}
