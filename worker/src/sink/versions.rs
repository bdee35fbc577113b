//! The versions of a full load, as the recorded intents tell them: each load is one, and a rollback shows one again. They
//! are ordered by when readers saw them last, and by that order the newest are kept.

use windrow_common::{
    error,
    intent::{Committed, IntentBody, Seq},
};

use crate::{error::Result, stage::chain, storage::Storage};

/// Most commits that are looked through for versions: more than a load an hour for a year.
const MOST_COMMITS: usize = 10_000;

/// A version readers were shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub number: u32,
    /// The newest commit that showed it: its load, or a rollback.
    pub newest: IntentBody,
    /// The newest commit that loaded it; `None` if its record is gone.
    pub load: Option<IntentBody>,
}

impl Version {
    pub fn seq(&self) -> Seq {
        self.newest.seq
    }

    pub fn rows(&self) -> u64 {
        self.load.as_ref().unwrap_or(&self.newest).add.iter().map(|file| file.rows).sum()
    }
}

/// At most so many versions, last shown first: the first is what readers see. Where the chain of intents is cut, older ones
/// are not known any more.
pub async fn walk(storage: &Storage, newest: Option<Committed>, most: usize) -> Result<Vec<Version>> {
    let mut versions: Vec<Version> = Vec::new();
    let Some(newest) = newest else { return Ok(versions) };
    let mut next = Some(chain::tip(storage, newest).await?);
    for _ in 0..MOST_COMMITS {
        let Some(link) = next else { break };
        let body = match chain::body(storage, &link).await {
            Err(cause) if cause.code() == error::SINK_HISTORY => break,
            found => found?,
        };
        next = chain::before(&body).ok().flatten();
        if !link.aborted {
            note(&mut versions, body, most);
        }
        if versions.len() == most && versions.iter().all(|version| version.load.is_some()) {
            break;
        }
    }
    Ok(versions)
}

fn note(versions: &mut Vec<Version>, body: IntentBody, most: usize) {
    let Some(number) = body.version() else { return };
    let load = body.shows.is_none();
    let room = versions.len() < most;
    match versions.iter_mut().find(|version| version.number == number) {
        Some(known) if load && known.load.is_none() => known.load = Some(body),
        Some(_) => {}
        None if room => {
            let of_load = load.then(|| body.clone());
            versions.push(Version { number, newest: body, load: of_load });
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use windrow_common::marker::Markers;
    use windrow_common::{
        claim::Token,
        id::TaskId,
        intent::{Effect, Fingerprint, IntentTask},
        manifest::{Counts, Digest, ManifestRef},
        window::Window,
    };

    use super::*;
    use crate::stage::{manifest, tests::Place};

    /// What a commit does.
    #[derive(Clone, Copy)]
    enum Does {
        Load(u32),
        Show(u32),
        Abort(u32),
    }

    /// Commits, how many versions are wanted, and the versions found with the commits that showed them.
    type Case<'a> = (&'a [Does], usize, &'a [(u32, Seq)]);

    /// Writes the bodies of these commits; the newest one.
    async fn commits(storage: &Storage, all: &[Does]) -> Option<Committed> {
        let (mut previous, mut aborted) = (None, false);
        for (at, does) in all.iter().enumerate() {
            let (Does::Load(version) | Does::Show(version) | Does::Abort(version)) = *does;
            let manifest =
                ManifestRef { path: String::new(), sha256: Digest([0; 32]), counts: Counts::default(), proof: None };
            let task = IntentTask {
                task: TaskId::from_bytes([at as u8; 16]),
                pipeline: "planes".parse().unwrap(),
                window: Window::version(version),
                revision: 0,
                token: Token { epoch: 1, revision: at as i64 },
                manifest,
                declared: None,
            };
            let show = matches!(does, Does::Show(_));
            let body = IntentBody {
                sink: "planes".parse().unwrap(),
                seq: at as u64 + 1,
                previous,
                previous_aborted: aborted,
                tasks: if show { Vec::new() } else { vec![task] },
                schema: json!(null),
                add: Vec::new(),
                remove: Vec::new(),
                dead_letters: Vec::new(),
                change: None,
                shows: show.then_some(version),
                markers: Markers::default(),
            };
            previous = Some(manifest::put_intent(storage, &body).await.unwrap().1);
            aborted = matches!(does, Does::Abort(_));
        }
        let fingerprint = Fingerprint::of(&previous?);
        let effect = if aborted { Effect::Aborted(fingerprint) } else { Effect::Applied(fingerprint) };
        Some(Committed { seq: all.len() as u64, effect })
    }

    #[tokio::test]
    async fn versions_stand_in_the_order_they_were_last_shown_in() {
        use Does::{Abort, Load, Show};
        let cases: [Case<'_>; 6] = [
            (&[], 9, &[]),
            (&[Load(0), Load(1), Load(2)], 9, &[(2, 3), (1, 2), (0, 1)]),
            (&[Load(0), Load(1), Load(2)], 2, &[(2, 3), (1, 2)]),
            (&[Load(0), Load(1), Abort(2)], 9, &[(1, 2), (0, 1)]),
            (&[Load(0), Load(1), Show(0)], 9, &[(0, 3), (1, 2)]),
            // The one that was gone back to is newer than the one it replaced.
            (&[Load(0), Load(1), Show(0), Load(2)], 2, &[(2, 4), (0, 3)]),
        ];
        for (all, most, expected) in cases {
            let place = Place::new();
            let newest = commits(&place.storage, all).await;
            let found = walk(&place.storage, newest, most).await.unwrap();
            let seen: Vec<(u32, Seq)> = found.iter().map(|version| (version.number, version.seq())).collect();
            assert_eq!(seen, expected);
            assert!(found.iter().all(|version| version.load.as_ref().is_some_and(|load| load.shows.is_none())));
        }
    }
}
