//! Manifests and intents as they lie in a sink's storage under their digest. What is read is what was written, to the
//! byte; and the rule of committing has an answer to every state of a sink.

use std::{collections::BTreeMap, sync::Arc};

use object_store::memory::InMemory;
use windrow_common::{
    error,
    intent::{Committed, Effect, Fingerprint, IntentBody, IntentRef, Verdict, judge},
    manifest::{Counts, Digest, Manifest},
};
use windrow_worker::{stage::manifest, storage::Storage};

use super::rows::block_on;

/// The input as a manifest and as the body of an intent.
pub fn check(data: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(data) {
        check_stable(&manifest);
        block_on(check_kept_manifest(&manifest));
    }
    if let Ok(body) = serde_json::from_slice::<IntentBody>(data) {
        check_stable(&body);
        block_on(check_kept_intent(&body));
    }
}

/// Written again it has the same bytes, and so the same digest.
fn check_stable<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let written = serde_json::to_vec(value).expect("it is JSON");
    let read: T = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(read, *value);
    assert_eq!(serde_json::to_vec(&read).expect("it is JSON"), written);
}

async fn check_kept_manifest(manifest: &Manifest) {
    let storage = storage();
    let kept = manifest::put_manifest(&storage, manifest).await.expect("it is kept");
    assert_eq!(manifest::put_manifest(&storage, manifest).await.expect("keeping it twice changes nothing"), kept);
    assert_eq!(manifest::get_manifest(&storage, &kept).await.expect("it is there"), *manifest);
    let mut another = kept.clone();
    another.sha256.0[0] ^= 1;
    let refused = manifest::get_manifest(&storage, &another).await.expect_err("a digest is checked");
    assert_eq!(refused.code(), error::STAGED_FILE_BAD);
}

async fn check_kept_intent(body: &IntentBody) {
    let storage = storage();
    let (path, digest) = manifest::put_intent(&storage, body).await.expect("it is kept");
    let mut counts = Counts::default();
    body.tasks.iter().for_each(|task| counts += task.manifest.counts);
    let tasks = body.tasks.iter().map(|task| (task.task, task.token.revision)).collect();
    let reference =
        IntentRef { seq: body.seq, previous: body.previous, path, digest, tasks, counts, files: BTreeMap::new() };
    assert_eq!(manifest::get_intent(&storage, &reference).await.expect("it is there"), *body);
    assert_eq!(manifest::find_intent(&storage, body.seq, &digest).await.expect("it is found"), *body);
    assert_eq!(manifest::intents_of(&storage, body.seq).await.expect("they are listed"), [digest]);
    check_verdicts(body, &digest);
}

/// A sink one behind takes the intent, a sink that has it does not take it again, and nothing else applies anything.
fn check_verdicts(body: &IntentBody, digest: &Digest) {
    let (seq, mine) = (body.seq, Fingerprint::of(digest));
    let other = Fingerprint::of(&body.previous.unwrap_or(Digest([1; 32])));
    for at in [0, 1, seq.wrapping_sub(2), seq.wrapping_sub(1), seq, seq.wrapping_add(1), u64::MAX] {
        for effect in [Effect::Applied(mine), Effect::Aborted(mine), Effect::Applied(other)] {
            assert_eq!(Fingerprint::from_signed(Fingerprint::to_signed(effect)), Some(effect));
            let verdict = judge(seq, digest, Some(Committed { seq: at, effect }));
            let expected = match at.cmp(&seq) {
                std::cmp::Ordering::Greater => Verdict::Stale,
                std::cmp::Ordering::Less if seq - at == 1 => Verdict::Apply,
                std::cmp::Ordering::Less => Verdict::RolledBack,
                std::cmp::Ordering::Equal if effect == Effect::Applied(mine) => Verdict::Done,
                std::cmp::Ordering::Equal if effect == Effect::Aborted(mine) => Verdict::Aborted,
                std::cmp::Ordering::Equal => Verdict::Forked,
            };
            assert_eq!(verdict, expected, "seq {seq} on a sink at {at} with {effect:?}");
        }
    }
}

fn storage() -> Storage {
    Storage::over(Arc::new(InMemory::new()), "memory:///".parse().expect("an address"))
}
