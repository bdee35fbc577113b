//! Few large files made of many small ones, for every sink that is a set of files: `pack` which become one, `group` the list a
//! task is given, `write` the rows from the old ones into the new, which `rows` reads, `columns` of files that no table says the columns of, `text` and
//! `records` the same for files of text; `major` which files, large ones too, become a set of `clustered` ones, whose rows lie in an
//! order by `sort` or along a `curve`; `digest` what shows that no row is lost, `rewrites` what an intent says of it. It knows no
//! sink's log, and what it writes nobody sees.

mod clustered;
mod columns;
mod curve;
mod digest;
mod group;
mod major;
mod pack;
mod records;
mod rewrites;
mod rows;
mod sort;
#[cfg(test)]
pub(in crate::sink) mod tests;
mod text;
mod write;

pub(in crate::sink) use clustered::check as check_clustering;
pub(in crate::sink) use group::everywhere;
pub use group::{Bin, Group, Major, Member, get_group, put_group};
pub use major::MajorRule;
pub(in crate::sink) use pack::{Found, Set, pack};
pub use pack::{Packed, Packing};
pub(in crate::sink) use rewrites::{Retiring, Rewrites, gone};
pub use sort::Room;
pub(in crate::sink) use text::Text;
use windrow_common::manifest::StagedFile;
pub(crate) use write::not_clustered;
pub(in crate::sink) use write::{Form, Regrouper};

use crate::stage::Attempt;

/// By whom a group is rewritten, and what that may take.
#[derive(Clone, Copy)]
pub struct Working<'a> {
    pub attempt: &'a Attempt,
    /// Is told of rows that were read.
    pub read: &'a (dyn Fn(u64) + Send + Sync),
    pub room: &'a Room,
}

/// What came of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    pub files: Vec<StagedFile>,
    /// The table's schema, as manifests hold it.
    pub schema: serde_json::Value,
}
