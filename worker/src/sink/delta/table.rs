//! The table as one version of its log describes it, kept in memory and advanced commit by commit, so that a commit
//! costs the same after three thousand others as after three. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow_schema::SchemaRef;
use deltalake_core::kernel::{Add, DeletionVectorDescriptor};
use serde::Deserialize;
use serde_json::Value;
use windrow_common::{
    compaction::Clustering,
    id::SinkId,
    intent::{Committed, Fingerprint},
    window::{Axis, Window},
};

use super::{actions::Commit, tag};
use crate::{delta::bounds::Bounds, sink::change::Standing};

/// The table at one version.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) version: u64,
    /// What identifies the commit object of `version`; another stamp means another history.
    pub(super) stamp: Option<Stamp>,
    pub(super) schema: SchemaRef,
    /// As the log has them: what the metadata of the next version are made of when its columns change.
    pub(super) metadata: Arc<Value>,
    pub(super) partition_by: Vec<String>,
    pub(super) configuration: BTreeMap<String, String>,
    /// By path, as it is under the table's root.
    pub(super) files: HashMap<String, ActiveFile>,
    /// Versions of the application ids that are this sink's.
    pub(super) txns: BTreeMap<String, i64>,
}

/// A data file that is part of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ActiveFile {
    pub(super) bytes: u64,
    /// Those that readers see; absent where nobody wrote it down.
    pub(super) rows: Option<u64>,
    pub(super) partition: BTreeMap<String, Option<String>>,
    /// The stretch of the cursor the rows lie in; absent for files of other writers.
    pub(super) window: Option<Window>,
    /// What the statistics say about the cursor, where the window does not tell.
    pub(super) bounds: Option<Bounds>,
    pub(super) deletion_vector: Option<Box<DeletionVectorDescriptor>>,
    /// Every row has a cursor, and so says which window it is of.
    pub(super) told_apart: bool,
    /// When it was written, in milliseconds since 1970.
    pub(super) modified: i64,
    /// How its rows lie, where windrow has put them in order.
    pub(super) clustered: Option<Arc<Clustering>>,
}

/// What a store says about a commit object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    pub(super) e_tag: Option<String>,
}

/// The application ids of a sink's `txn` records: one counts its commits, one holds the newest intent's digest.
#[derive(Clone, Debug)]
pub(super) struct AppIds {
    pub(super) seq: String,
    pub(super) digest: String,
}

/// Whether a commit could be applied in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    Applied,
    /// It changes schema, properties or protocol, or is not plain: the table has to be loaded anew.
    Reload,
}

impl Table {
    /// Advances by the commit of the next version.
    pub(super) fn apply(&mut self, commit: &Commit, stamp: Stamp, reading: &Reading) -> Advance {
        if commit.redefines || !commit.is_plain() {
            return Advance::Reload;
        }
        for removed in &commit.remove {
            self.files.remove(removed);
        }
        for add in &commit.add {
            self.files.insert(add.path.clone(), ActiveFile::of(add, reading));
        }
        for (app, version) in &commit.txns {
            if reading.apps.contains(app) {
                self.txns.insert(app.clone(), *version);
            }
        }
        self.version += 1;
        self.stamp = Some(stamp);
        Advance::Applied
    }

    /// The newest commit of the sink, `Err` when only half of its record is there.
    pub(super) fn committed(&self, apps: &AppIds) -> Result<Option<Committed>, HalfRecord> {
        let Some(seq) = self.txns.get(&apps.seq) else { return Ok(None) };
        let seq = u64::try_from(*seq).map_err(|_| HalfRecord)?;
        let digest = self.txns.get(&apps.digest).ok_or(HalfRecord)?;
        let effect = Fingerprint::from_signed(*digest).ok_or(HalfRecord)?;
        Ok(Some(Committed { seq, effect }))
    }
}

/// The sink's record in the log does not make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HalfRecord;

/// How a log is read: whose records and which column's statistics matter.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) apps: AppIds,
    pub(super) cursor: Option<String>,
}

impl AppIds {
    pub(super) fn of(sink: &SinkId) -> Self {
        Self { seq: format!("windrow/{sink}"), digest: format!("windrow/{sink}/digest") }
    }

    fn contains(&self, app: &str) -> bool {
        app == self.seq || app == self.digest
    }
}

impl ActiveFile {
    pub(super) fn of(add: &Add, reading: &Reading) -> Self {
        let tag = |name: &str| add.tags.as_ref()?.get(name)?.as_deref();
        let window = tag(tag::WINDOW).and_then(tag::read);
        let bounds = match (&reading.cursor, &add.stats) {
            (Some(cursor), Some(stats)) if window.is_none_or(|window| window.axis() != Axis::Time) => {
                Bounds::in_stats(stats, cursor)
            }
            _ => None,
        };
        Self {
            bytes: u64::try_from(add.size).unwrap_or(0),
            rows: rows(add),
            partition: add.partition_values.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            window,
            bounds,
            deletion_vector: add.deletion_vector.clone().map(Box::new),
            told_apart: window.is_some() && is_told_apart(add, reading.cursor.as_deref()),
            modified: add.modification_time,
            clustered: tag(tag::CLUSTERED).and_then(tag::read_clustering).map(Arc::new),
        }
    }
}

/// Whether the statistics say that every row has a cursor.
fn is_told_apart(add: &Add, cursor: Option<&str>) -> bool {
    let nulls = cursor.zip(add.stats.as_deref()).and_then(|(cursor, stats)| {
        let stats: Nulls = serde_json::from_str(stats).ok()?;
        stats.null_count.get(cursor)?.as_u64()
    });
    nulls == Some(0)
}

/// As much of a file's statistics.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Nulls {
    #[serde(default)]
    null_count: serde_json::Map<String, Value>,
}

/// The rows of a file without those its deletion vector takes away.
fn rows(add: &Add) -> Option<u64> {
    let stats: Counted = serde_json::from_str(add.stats.as_deref()?).ok()?;
    let deleted = add.deletion_vector.as_ref().map_or(Some(0), |vector| u64::try_from(vector.cardinality).ok())?;
    stats.num_records?.checked_sub(deleted)
}

/// As much of a file's statistics.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    num_records: Option<u64>,
}

impl Standing for ActiveFile {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn partition(&self) -> &BTreeMap<String, Option<String>> {
        &self.partition
    }

    fn window(&self) -> Option<Window> {
        self.window
    }

    fn may_hold(&self, window: &Window) -> bool {
        self.bounds.is_none_or(|bounds| bounds.touch(window))
    }
}
