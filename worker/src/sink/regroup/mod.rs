//! Few large files made of many small ones, for every sink that is a set of files: `pack` which become one, `group` the list a
//! task is given, `write` the rows from the old ones into the new, `digest` what shows that none is lost. It knows no sink's
//! log, and what it writes nobody sees.

mod digest;
mod group;
mod pack;
mod write;

pub use group::{Bin, Group, Member, get_group, put_group};
pub(in crate::sink) use pack::{Found, pack};
pub use pack::{Packed, Packing};
use windrow_common::manifest::StagedFile;
pub(in crate::sink) use write::{Regrouper, everywhere};

/// What came of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    pub files: Vec<StagedFile>,
    /// The table's schema, as manifests hold it.
    pub schema: serde_json::Value,
}
