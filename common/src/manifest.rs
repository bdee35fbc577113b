//! The manifest: what one attempt staged, sealed and never changed after. It is kept as JSON in the sink's own
//! storage; the task record holds only a [`ManifestRef`].

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    claim::Token,
    compaction::Clustering,
    id::{PipelineName, SinkId, TaskId},
    window::Window,
};

/// A SHA-256, 64 hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256 in hexadecimal digits")]
pub struct InvalidDigest(String);

/// Everything an attempt staged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub task: TaskId,
    pub token: Token,
    pub attempt: u32,
    pub pipeline: PipelineName,
    pub sink: SinkId,
    pub window: Window,
    pub write: WriteMode,
    /// The rows' schema in the JSON form of arrow-schema's serde.
    pub schema: serde_json::Value,
    pub files: Vec<StagedFile>,
    /// Rejected input with its reasons; committed with the data, beside the table.
    pub dead_letters: Vec<StagedFile>,
    /// What was read, pinned when the attempt started.
    pub inputs: Vec<Input>,
    pub counts: Counts,
}

/// What the sink does with the rows of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// Adds the rows; nothing is removed.
    Append,
    /// The rows become all there is of their window.
    ReplaceWindow,
    /// The rows become all there is.
    ReplaceAll,
    /// The newest row of each key becomes all there is of it, or deletes it.
    Upsert,
}

/// A file under the sink's root that no reader sees until it is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Relative to the sink's root, `/` between its parts.
    pub path: String,
    pub bytes: u64,
    pub sha256: Digest,
    pub rows: u64,
    /// The stretch of the cursor the file's rows lie in.
    pub window: Window,
    /// Partition columns and their values as text; `None` is null.
    #[serde(default)]
    pub partition: BTreeMap<String, Option<String>>,
    /// Column statistics in the sink's own form (Delta's JSON for Delta).
    #[serde(default)]
    pub stats: Option<serde_json::Value>,
    /// How its rows lie, where a rewrite has put them in order; its name tells with which other files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clustered: Option<Clustering>,
}

/// One object or table slice an attempt read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub bytes: u64,
    /// ETag, version or digest, whichever the source pins its reads by.
    #[serde(default)]
    pub version: Option<String>,
    /// Of a rewrite: the number of the file its rows are in now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<u32>,
}

/// Rows and bytes of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows of the window found in the source.
    pub rows_read: u64,
    /// Rows staged for the sink.
    pub rows_written: u64,
    /// Rows in the dead letters.
    pub rows_rejected: u64,
    /// Bytes staged for the sink.
    pub bytes_written: u64,
    /// Data files staged for the sink.
    pub files: u64,
    /// Values that did not fit the table and were left out of their rows.
    #[serde(default)]
    pub values_discarded: u64,
    /// Rows whose keys are gone at the source, staged to be deleted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_deleted: u64,
}

/// What a source was proven to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Digest", into = "Digest")]
pub struct Proof {
    /// Of all of it.
    pub whole: Digest,
    /// Of each window of a run, in their order; empty for one window. The ledger alone has them.
    pub windows: Vec<Digest>,
}

/// Where a manifest lies and what it must hash to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRef {
    /// Relative to the sink's root.
    pub path: String,
    pub sha256: Digest,
    pub counts: Counts,
    /// What the source was proven to hold for it; later the source is held against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl From<Digest> for Proof {
    fn from(whole: Digest) -> Self {
        Self { whole, windows: Vec::new() }
    }
}

impl From<Proof> for Digest {
    fn from(proof: Proof) -> Self {
        proof.whole
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        // They come from elsewhere: a wrong one is a wrong sum, not the end of whoever adds it up.
        self.rows_read = self.rows_read.saturating_add(other.rows_read);
        self.rows_written = self.rows_written.saturating_add(other.rows_written);
        self.rows_rejected = self.rows_rejected.saturating_add(other.rows_rejected);
        self.bytes_written = self.bytes_written.saturating_add(other.bytes_written);
        self.files = self.files.saturating_add(other.files);
        self.values_discarded = self.values_discarded.saturating_add(other.values_discarded);
        self.rows_deleted = self.rows_deleted.saturating_add(other.rows_deleted);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        // Parsing alone would take "+f" for two digits, and a digest would have two texts.
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidDigest(text));
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            match u8::from_str_radix(&text[2 * i..2 * i + 2], 16) {
                Ok(value) => *byte = value,
                Err(_) => return Err(InvalidDigest(text)),
            }
        }
        Ok(Self(bytes))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_digest_has_digits_and_no_signs() {
        let digest = Digest([0xab; 32]);
        assert_eq!(Digest::try_from(digest.to_string()).unwrap(), digest);
        for bad in ["", "ab", &"+f".repeat(32), &"é".repeat(32), &"ab".repeat(33)] {
            assert!(Digest::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn counts_add_up_to_the_greatest_there_is_and_no_further() {
        let mut sum = Counts { rows_read: u64::MAX, files: 1, ..Counts::default() };
        sum += Counts { rows_read: 1, files: 1, ..Counts::default() };
        assert_eq!(sum, Counts { rows_read: u64::MAX, files: 2, ..Counts::default() });
    }
}
