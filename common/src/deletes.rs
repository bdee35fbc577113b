//! Rows that are deleted at their source without a word: now and then the keys there are compared with those of the table,
//! and rows whose keys are gone are deleted.

use serde::{Deserialize, Serialize};

use crate::{
    count::{counted, either, grouped},
    guard::Percent,
    pipeline::{Connection, Pipeline},
    quantity::Pause,
};

/// What a task that compares keys is told if whoever asked for it accepts whatever it deletes.
pub const ACCEPTED: &str = "accepted";

/// When keys are compared, and what may come of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletes {
    /// How long after one comparison the next one is due.
    pub every: Pause,
    /// Where the keys are read; where rows are if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Box<Connection>>,
    /// Most rows one comparison may delete, as a part of the table's.
    pub max_deleted: Percent,
}

/// Why nothing is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the source has no keys at all, and the table has {}", counted(*rows, "row"))]
    Empty { rows: u64 },
    #[error("{} of {} of the table {} a key that the source lacks, more than {most}", grouped(*deleted), counted(*rows, "row"), either(*deleted, "has", "have"))]
    TooMany { deleted: u64, rows: u64, most: Percent },
}

impl Deletes {
    /// Whether so many of the table's rows may go, where the source has so many keys.
    pub fn judge(&self, keys: u64, deleted: u64, rows: u64) -> Result<(), Refused> {
        match keys {
            0 if deleted > 0 => Err(Refused::Empty { rows }),
            _ if self.max_deleted.is_less_than(deleted, rows) => {
                Err(Refused::TooMany { deleted, rows, most: self.max_deleted })
            }
            _ => Ok(()),
        }
    }

    /// The pipeline, reading where keys are read.
    pub fn reading(&self, pipeline: &Pipeline) -> Pipeline {
        let mut reading = pipeline.clone();
        if let Some(from) = &self.from {
            reading.source.from = from.as_ref().clone();
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_empty_source_deletes_nothing_and_a_share_is_exact() {
        let deletes = |most: &str| Deletes {
            every: Pause(Duration::from_secs(1)),
            from: None,
            max_deleted: most.parse().unwrap(),
        };
        let tenth = deletes("10%");
        assert_eq!(tenth.judge(90, 10, 100), Ok(()));
        let most = tenth.max_deleted;
        assert_eq!(tenth.judge(89, 11, 100), Err(Refused::TooMany { deleted: 11, rows: 100, most }));
        assert_eq!(tenth.judge(0, 0, 0), Ok(()));
        assert_eq!(deletes("100%").judge(0, 5, 5), Err(Refused::Empty { rows: 5 }), "however many may go");
        assert_eq!(deletes("100%").judge(1, 5, 5), Ok(()));
        assert!(deletes("0%").judge(99, 1, 100).is_err() && deletes("0%").judge(99, 0, 100).is_ok());
    }
}
