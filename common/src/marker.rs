//! Markers: the objects that tell consumers that a window is complete. They are written out where nobody looks before a
//! commit is recorded, and come to their places when its rows are there.

use serde::{Deserialize, Serialize};

use crate::manifest::Digest;

/// The markers of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Markers {
    /// The folder they lie in, under the root of the connection that keeps the sink's files; the sink's own folder if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// In the order they are set: what describes a marker before the marker.
    pub objects: Vec<Marker>,
}

/// An object that consumers look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Where they look, relative to the markers' folder.
    pub path: String,
    /// Where it waits until the rows are there, relative to the same.
    pub staged: String,
    pub bytes: u64,
    pub sha256: Digest,
}

impl Markers {
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}
