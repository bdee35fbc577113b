//! Cleaning: what of a sink no version needs any more, as the sink's own records tell it. Nothing is taken away because it
//! is not known. The parameter `cleaning` of sinks with older versions, and what cleaning asks of every sink.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use windrow_common::{error, failpoint, pin, quantity::Pause};

use crate::source::ParamError;

/// What is taken away of versions that nobody reads any more, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cleaning {
    /// How long files stay after they were removed from the table, for those who read an older version of it.
    #[schemars(with = "String")]
    pub(super) keep: Pause,
    /// How long the log's entries stay, by which older versions are found.
    #[schemars(with = "String")]
    pub(super) log: Pause,
    /// Accepts a `keep` below 7 days: whoever reads an older version for longer fails in the middle.
    pub(super) accept_short: bool,
}

/// Shorter only if somebody says so.
const USUAL_KEEP: Duration = Duration::from_secs(7 * 86_400);
const USUAL_LOG: Duration = Duration::from_secs(30 * 86_400);
/// How much longer than an attempt may take: its lease, and clocks that differ.
const ROOM: Duration = Duration::from_secs(3_600);

impl Default for Cleaning {
    fn default() -> Self {
        Self { keep: Pause(USUAL_KEEP), log: Pause(USUAL_LOG), accept_short: false }
    }
}

impl Cleaning {
    /// What is wrong with it for a pipeline whose attempts may take so long.
    pub(super) fn check(&self, deadline: Duration) -> Result<(), ParamError> {
        let refused = |path: &str, code, message: String, fix: String| {
            Err(ParamError { path: format!("cleaning.{path}"), code, message, fix: Some(fix) })
        };
        if self.keep.0 < USUAL_KEEP && !self.accept_short {
            let message =
                format!("files would go {} after their removal, while somebody may still read them", self.keep);
            let fix = "write 7d or more, or accept it: `accept_short: true`".to_owned();
            return refused("keep", error::RETENTION_SHORT, message, fix);
        }
        let least = deadline + ROOM;
        if self.keep.0 < least {
            let message =
                format!("an attempt may take {} (`limits.deadline`), and reads files all the while", Pause(deadline));
            let fix = format!("write {} or more, or shorten `limits.deadline`", Pause(least));
            return refused("keep", error::RETENTION_SHORT, message, fix);
        }
        if self.log.0 < self.keep.0 {
            let message = format!("the log would go after {}, and says until {} which files go", self.log, self.keep);
            return refused("log", error::CONTRADICTION, message, "make `log` at least `keep`".to_owned());
        }
        Ok(())
    }
}

/// How much sooner than it is taken away a file counts as given up: more than clocks differ, and never all of the time.
pub(super) fn margin(keep: Duration) -> Duration {
    (keep / 8).min(ROOM)
}

/// How much later than it is a test has sinks believe it is.
pub(super) fn played_ms() -> i64 {
    let days: i64 = failpoint::played("WINDROW_PLAY_DAYS_LATER").and_then(|days| days.parse().ok()).unwrap_or(0);
    days.saturating_mul(86_400_000)
}

/// How far a cleaning goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What the pipeline declares.
    Declared,
    /// Somebody asks for it: by the usual rules where the pipeline declares none.
    Asked,
    /// The same, to be told and not done.
    Looked,
}

/// What may be taken away but for pins, and for what changes until then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Files by path, with the version of the table that does without them, if that is known.
    pub files: BTreeMap<String, Option<u64>>,
    /// Objects of the log.
    pub log: BTreeSet<String>,
    /// How long removed files are kept.
    pub keep: Duration,
}

/// An object by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub path: String,
    pub bytes: u64,
}

/// A version that is there with all it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub version: pin::Version,
    pub files: u64,
    pub bytes: u64,
}

/// A table of a database that was vacuumed, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vacuumed {
    pub table: String,
    pub dead_before: u64,
    pub dead_after: u64,
    pub took: Duration,
    /// Why it was left as it is.
    pub left: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves CO9. Shorter than a week only if that is accepted, shorter than an attempt never.
    #[test]
    fn files_are_kept_for_as_long_as_somebody_may_read_them() {
        let day = |days: u64| Duration::from_secs(days * 86_400);
        let hour = Duration::from_secs(3_600);
        let check = |keep, log, accept_short, deadline| {
            let cleaning = Cleaning { keep: Pause(keep), log: Pause(log), accept_short };
            cleaning.check(deadline).map_err(|bad| (bad.path, bad.code))
        };
        assert_eq!(check(day(7), day(30), false, 6 * hour), Ok(()));
        assert_eq!(check(day(1), day(30), true, 6 * hour), Ok(()));
        let short = |path: &str| Err((format!("cleaning.{path}"), error::RETENTION_SHORT));
        assert_eq!(check(day(1), day(30), false, 6 * hour), short("keep"));
        assert_eq!(check(6 * hour, day(30), true, 6 * hour), short("keep"));
        assert_eq!(check(day(7), day(30), false, day(8)), short("keep"), "a week is not enough for such attempts");
        assert_eq!(check(day(30), day(7), false, 6 * hour), Err(("cleaning.log".to_owned(), error::CONTRADICTION)));
        assert!(margin(day(7)) == hour && margin(hour) < hour && margin(Duration::ZERO).is_zero());
    }
}
