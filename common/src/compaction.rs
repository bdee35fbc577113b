//! When and how the data files of a table become fewer and larger ones, and what a task is told of the files it is to rewrite.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    manifest::Digest,
    quantity::{ByteSize, Pause},
    window::Window,
};

/// How the small files of a pipeline's table are rewritten as few large ones. Left out, none are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compaction {
    /// The size a rewritten file is to reach.
    #[schemars(with = "String")]
    pub target_size: ByteSize,
    /// Files smaller than this share of `target_size` are small: only they are rewritten.
    pub small: f64,
    /// How many small files of a partition have to lie together before they are rewritten.
    pub min_files: u32,
    /// Fewer of them are rewritten all the same when the oldest one has waited so long.
    #[schemars(with = "String")]
    pub max_age: Pause,
    /// When it is looked for small files.
    pub when: When,
    /// Rewrite only in these hours of the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_hours: Option<OffHours>,
    /// Most bytes of files that are rewritten in a day (of UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub bytes_per_day: Option<ByteSize>,
    /// Most seconds in a day (of UTC) that workers spend on it, summed over their slots, from claims to seals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_per_day: Option<NonZeroU64>,
    /// Most groups of files that are rewritten at a time, over all workers.
    pub concurrency: NonZeroU32,
    /// Large files are rewritten, too, as soon as enough of their rows do not lie as this says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_by: Option<Clustering>,
}

/// Rows that are alike lie in the same file, so that whoever looks for some of them by these columns reads few files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clustering {
    /// At most four, the one that is asked for most first.
    pub columns: Vec<String>,
    /// How rows lie when there are several.
    #[serde(default)]
    pub order: Order,
}

/// Most columns that rows are clustered by; with more of them none would tell much of where a row lies.
pub const MOST_CLUSTERING_COLUMNS: usize = 4;

/// How rows lie that are clustered by several columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By the first column, and where that is the same by the next. Good for questions that name the first one.
    #[default]
    Sort,
    /// Near each other where they are alike in all of them. Good for questions that name any one.
    Zorder,
}

/// When it is looked for small files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once a minute.
    #[default]
    Asynchronous,
    /// After every commit, so that a window's or a partition's files are few soon after it is written.
    Inline,
}

/// Hours of the day; from a later to an earlier one they go over midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffHours {
    /// Such as `22:00`.
    #[schemars(with = "String")]
    pub from: jiff::civil::Time,
    /// Such as `06:00`; that minute is not part of them.
    #[schemars(with = "String")]
    pub to: jiff::civil::Time,
    /// IANA name of the zone they are in.
    #[serde(default = "utc")]
    pub timezone: String,
}

/// Files that one task rewrites, as its record and its claim tell it; their list lies under its digest in the sink's storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRef {
    pub sha256: Digest,
    pub files: u64,
    pub bytes: u64,
    /// How many files become of them.
    pub makes: u64,
    /// The stretch of the cursor they lie in, where all of them say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The partition, in words.
    pub place: String,
    /// Of a major rewrite: how its rows are clustered; without columns only files become as large as they should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<Clustering>,
}

/// How a table's files lie: what compaction is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileLayout {
    pub files: u64,
    pub small_files: u64,
    pub bytes: u64,
    pub partitions: u64,
    /// How many files the partition with the most has.
    pub most_in_partition: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            target_size: ByteSize(256 << 20),
            small: 0.5,
            min_files: 8,
            max_age: Pause(std::time::Duration::from_secs(24 * 3_600)),
            when: When::default(),
            off_hours: None,
            bytes_per_day: None,
            seconds_per_day: None,
            concurrency: NonZeroU32::MIN.saturating_add(1),
            cluster_by: None,
        }
    }
}

impl fmt::Display for Clustering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.order {
            Order::Zorder if self.columns.len() > 1 => write!(f, "{} (zorder)", self.columns.join(", ")),
            _ => f.write_str(&self.columns.join(", ")),
        }
    }
}

/// Most bytes of files that are clustered together, unless one is larger: what one task reads.
const MOST_CLUSTERED: u64 = 4 << 30;
/// As how many files those are, if they are not too large.
const CLUSTERED_FILES: u64 = 16;
const LEAST_CLUSTERED: u64 = 256 << 20;

impl Compaction {
    /// Most bytes of files that are clustered together. No more than may be read in a day, or they never would be.
    pub fn clustered_together(&self) -> u64 {
        let bytes = self.target_size.0.saturating_mul(CLUSTERED_FILES).clamp(LEAST_CLUSTERED, MOST_CLUSTERED);
        self.bytes_per_day.map_or(bytes, |most| bytes.min(most.0))
    }

    /// Files of fewer bytes are small.
    pub fn small_below(&self) -> u64 {
        (self.target_size.0 as f64 * self.small) as u64
    }
}

impl OffHours {
    /// Whether a time of the day is one of them.
    pub fn contain(&self, time: jiff::civil::Time) -> bool {
        match self.from <= self.to {
            true => self.from <= time && time < self.to,
            false => self.from <= time || time < self.to,
        }
    }
}

impl GroupRef {
    /// Files saved for each byte that is read: what rewriting costs and what it is good for.
    pub fn gain(&self) -> f64 {
        self.files.saturating_sub(self.makes) as f64 / self.bytes.max(1) as f64
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hours_may_go_over_midnight() {
        let hours = |from: &str, to: &str| -> OffHours {
            serde_json::from_value(serde_json::json!({ "from": from, "to": to })).unwrap()
        };
        let at = |text: &str| text.parse::<jiff::civil::Time>().unwrap();
        let (night, day) = (hours("22:00", "06:00"), hours("08:00", "17:30"));
        for (time, in_night, in_day) in [
            ("21:59", false, false),
            ("22:00", true, false),
            ("00:00", true, false),
            ("06:00", false, false),
            ("17:29", false, true),
        ] {
            assert_eq!((night.contain(at(time)), day.contain(at(time))), (in_night, in_day), "{time}");
        }
    }

    #[test]
    fn settings_have_defaults_and_no_others() {
        let found: Compaction = serde_json::from_value(serde_json::json!({ "target_size": "64MiB" })).unwrap();
        assert_eq!(found, Compaction { target_size: ByteSize(64 << 20), ..Compaction::default() });
        assert_eq!(found.small_below(), 32 << 20);
        assert!(serde_json::from_value::<Compaction>(serde_json::json!({ "size": 1 })).is_err());
        assert!(serde_json::from_value::<Compaction>(serde_json::json!({ "concurrency": 0 })).is_err());
    }
}
