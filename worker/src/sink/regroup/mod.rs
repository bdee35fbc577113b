//! Few large files made of many small ones, for every sink that is a set of files: `pack` which become one, `group` the list a
//! task is given, `write` the rows from the old ones into the new, `columns` of files that no table says the columns of, `text` and
//! `records` the same for files of text, `digest` what shows that no row is lost, `rewrites` what an intent says of it. It knows no
//! sink's log, and what it writes nobody sees.

mod columns;
mod digest;
mod group;
mod pack;
mod records;
mod rewrites;
mod text;
mod write;

pub(in crate::sink) use group::everywhere;
pub use group::{Bin, Group, Member, get_group, put_group};
pub(in crate::sink) use pack::{Found, pack};
pub use pack::{Packed, Packing};
pub(in crate::sink) use rewrites::{Retiring, Rewrites, gone};
pub(in crate::sink) use text::Text;
use windrow_common::manifest::StagedFile;
pub(in crate::sink) use write::{Form, Regrouper};

/// What came of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    pub files: Vec<StagedFile>,
    /// The table's schema, as manifests hold it.
    pub schema: serde_json::Value,
}
