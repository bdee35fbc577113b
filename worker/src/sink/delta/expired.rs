//! Which objects of the log nobody needs any more: those before a checkpoint from which the newest version, every version
//! that is still to be read, and every pinned one can be made.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use object_store::path::Path;

use crate::{
    error::Result,
    storage::{Storage, sink_error},
};

const FOLDER: &str = "_delta_log";
const DIGITS: usize = 20;

/// An object of the log that is of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogObject {
    pub(super) path: String,
    pub(super) bytes: u64,
    /// The store's time of its last change, in milliseconds since 1970.
    pub(super) at: i64,
    pub(super) version: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    /// A checkpoint, or one part of so many.
    Checkpoint {
        part: u32,
        of: u32,
    },
    /// A checksum of a version: goes with its commit.
    Checksum,
}

/// What is needed of the log, beside its newest version.
pub(super) struct Needs<'a> {
    pub(super) newest: u64,
    /// Versions that were the newest after this time are to be read still.
    pub(super) since: i64,
    pub(super) pins: &'a [u64],
}

pub(super) async fn list(storage: &Storage) -> Result<Vec<LogObject>> {
    let folder = Path::from(FOLDER);
    let found = storage.objects().list(Some(&folder)).map_err(|cause| sink_error(cause, FOLDER));
    found
        .try_filter_map(|object| {
            let path = object.location.to_string();
            let parsed = parse(&path);
            let at = object.last_modified.timestamp_millis();
            std::future::ready(Ok(parsed.map(|(version, kind)| LogObject {
                path,
                bytes: object.size,
                at,
                version,
                kind,
            })))
        })
        .try_collect()
        .await
}

/// What else lies there (sidecars, compacted commits, hints) is not of one version.
fn parse(path: &str) -> Option<(u64, Kind)> {
    let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let (digits, rest) = name.split_once('.')?;
    if digits.len() != DIGITS || rest.contains('/') {
        return None;
    }
    let version = digits.parse().ok()?;
    let parts: Vec<&str> = rest.split('.').collect();
    let number = |text: &str| (text.len() == 10).then(|| text.parse::<u32>().ok()).flatten();
    let kind = match parts.as_slice() {
        ["json"] => Kind::Commit,
        ["crc"] => Kind::Checksum,
        ["checkpoint", "parquet"] => Kind::Checkpoint { part: 1, of: 1 },
        ["checkpoint", part, of, "parquet"] => Kind::Checkpoint { part: number(part)?, of: number(of)? },
        // Named by a UUID; whole or not there.
        ["checkpoint", _, "parquet" | "json"] => Kind::Checkpoint { part: 1, of: 1 },
        _ => return None,
    };
    Some((version, kind))
}

/// What may be deleted.
pub(super) fn expendable<'a>(log: &'a [LogObject], needs: &Needs<'_>) -> Vec<&'a LogObject> {
    let lately = log.iter().filter(|object| object.kind == Kind::Commit && object.at > needs.since);
    // At its time the version before was still the newest.
    let lately = lately.map(|object| object.version.saturating_sub(1)).min();
    let oldest = needs.pins.iter().copied().chain(lately).fold(needs.newest, u64::min);
    let Some(from) = checkpoints(log.iter()).into_iter().filter(|version| *version <= oldest).max() else {
        return Vec::new();
    };
    log.iter().filter(|object| object.version < from && object.at <= needs.since).collect()
}

/// Versions with a checkpoint all of whose parts are there.
fn checkpoints<'a>(log: impl Iterator<Item = &'a LogObject>) -> BTreeSet<u64> {
    let mut parts: BTreeMap<(u64, u32), BTreeSet<u32>> = BTreeMap::new();
    for object in log {
        if let Kind::Checkpoint { part, of } = object.kind {
            parts.entry((object.version, of)).or_default().insert(part);
        }
    }
    let whole = parts.into_iter().filter(|((_, of), parts)| parts.len() as u64 == u64::from(*of));
    whole.map(|((version, _), _)| version).collect()
}

/// Whether a version can be made of these objects.
pub(super) fn makes<'a>(log: impl Iterator<Item = &'a LogObject> + Clone, version: u64) -> bool {
    let commits: BTreeSet<u64> =
        log.clone().filter(|object| object.kind == Kind::Commit).map(|object| object.version).collect();
    let from = checkpoints(log).into_iter().filter(|checkpoint| *checkpoint <= version).max();
    let first = from.map_or(0, |checkpoint| checkpoint + 1);
    (first..=version).all(|needed| commits.contains(&needed))
}

/// The version that was the newest at a time, as far as the log goes back.
pub(super) fn newest_at(log: &[LogObject], time: i64) -> Option<u64> {
    let commits = log.iter().filter(|object| object.kind == Kind::Commit && object.at <= time);
    commits.map(|object| object.version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, at: i64) -> LogObject {
        let path = format!("{FOLDER}/{name}");
        let (version, kind) = parse(&path).unwrap_or((u64::MAX, Kind::Checksum));
        LogObject { path, bytes: 1, at, version, kind }
    }

    /// Commits 0 to `newest`, one each time, and checkpoints.
    fn log(newest: u64, checkpoints: &[u64]) -> Vec<LogObject> {
        let commits = (0..=newest).map(|version| object(&format!("{version:020}.json"), version as i64));
        let checkpoints =
            checkpoints.iter().map(|version| object(&format!("{version:020}.checkpoint.parquet"), *version as i64));
        commits.chain(checkpoints).collect()
    }

    fn left(log: &[LogObject], since: i64, pins: &[u64]) -> Vec<LogObject> {
        let newest = log.iter().map(|object| object.version).max().unwrap_or(0);
        let gone = expendable(log, &Needs { newest, since, pins });
        log.iter().filter(|object| !gone.contains(object)).cloned().collect()
    }

    #[test]
    fn only_objects_of_one_version_are_known() {
        let kind = |name: &str| parse(&format!("{FOLDER}/{name}"));
        let v = "00000000000000000012";
        assert_eq!(kind(&format!("{v}.json")), Some((12, Kind::Commit)));
        assert_eq!(kind(&format!("{v}.crc")), Some((12, Kind::Checksum)));
        let whole = Kind::Checkpoint { part: 1, of: 1 };
        assert_eq!(kind(&format!("{v}.checkpoint.parquet")), Some((12, whole)));
        assert_eq!(kind(&format!("{v}.checkpoint.0aa1-b.json")), Some((12, whole)));
        let part = Kind::Checkpoint { part: 2, of: 3 };
        assert_eq!(kind(&format!("{v}.checkpoint.0000000002.0000000003.parquet")), Some((12, part)));
        for other in ["_last_checkpoint", "12.json", &format!("{v}.{v}.compacted.json"), &format!("_sidecars/{v}.json")]
        {
            assert_eq!(kind(other), None, "{other}");
        }
    }

    /// Proves CO9. What is left makes the newest version and all that were the newest lately; without a checkpoint, all.
    #[test]
    fn what_is_left_of_the_log_makes_every_version_that_is_still_to_be_read() {
        assert_eq!(left(&log(9, &[]), 9, &[]).len(), 10);
        let all = log(30, &[10, 20]);
        for since in 0..31 {
            let left = left(&all, since, &[]);
            for version in u64::try_from(since).unwrap_or(0)..=30 {
                assert!(makes(left.iter(), version), "{version} of those since {since}");
            }
        }
        assert!(!makes(left(&all, 25, &[]).iter(), 15), "and what is older goes");
        // A checkpoint of two parts, of which one is missing, is none.
        let mut torn = log(30, &[10]);
        torn.push(object("00000000000000000020.checkpoint.0000000001.0000000002.parquet", 20));
        assert!(makes(left(&torn, 29, &[]).iter(), 30));
        assert_eq!(left(&torn, 29, &[]).len(), torn.len() - 10);
    }

    /// Proves CO10. A pinned version can be made for as long as it is pinned.
    #[test]
    fn a_pinned_version_can_be_made_of_what_is_left() {
        let all = log(40, &[10, 20, 30]);
        for pin in 0..=40 {
            let left = left(&all, 39, &[pin, 35]);
            assert!(makes(left.iter(), pin) && makes(left.iter(), 40), "{pin}");
        }
        assert_eq!(newest_at(&all, 17), Some(17));
        assert_eq!(newest_at(&all[20..], 17), None);
    }
}
