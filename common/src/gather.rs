//! How long sealed windows wait for more of them, so that one commit takes what would have been many.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quantity::{ByteSize, Pause};

/// Sealed windows are committed together once they have so many bytes, or the first of them has waited so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gather {
    pub wait: Pause,
    pub size: ByteSize,
}

impl Gather {
    /// A commit's worth of waiting; a shorter one would be over before it is looked at.
    pub const MIN_WAIT: Duration = Duration::from_secs(1);
    /// Rows are to be seen ten minutes after they are there, whatever a file would still have room for.
    pub const MAX_WAIT: Duration = Duration::from_secs(600);

    /// How long a sealed window waits at most.
    pub fn longest_wait(&self) -> Duration {
        self.wait.0.min(Self::MAX_WAIT)
    }
}
