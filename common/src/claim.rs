//! The fencing token of a claim.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The store revision of the transaction that claimed a task, under the epoch the store was in. Later claims have
/// greater tokens, also across a restore of the store from a backup, which repeats revisions but raises the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    pub epoch: i64,
    pub revision: i64,
}

/// `e1-t42`, as it stands in the names of staged files.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}-t{}", self.epoch, self.revision)
    }
}
