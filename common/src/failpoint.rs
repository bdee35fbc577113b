//! Points of the protocol at which a test can have this process die, stand still, wait or fail: moments that would
//! otherwise take luck to hit.
//!
//! They are compiled in by the feature `failpoints`, which only the tests' crate asks for, so what is shipped has none.
//! Where they are compiled in, they do nothing unless `WINDROW_FAILPOINTS` names them when the process starts.

#[cfg(feature = "failpoints")]
mod armed;

/// A point. The comment says what is durable there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Coordinator: a claim is in the ledger, its worker has not heard of it.
    Claimed,
    /// Worker: some rows of a window were handed to the sink worker.
    Reading,
    /// Sink worker: some rows of a window are in a file that is not finished.
    Staging,
    /// Worker: everything is staged, the manifest too; the coordinator does not know.
    Staged,
    /// Coordinator: the seal is in the ledger, its worker has not heard of it.
    Sealed,
    /// Committer: the body of an intent is written; the coordinator does not know.
    Prepared,
    /// Coordinator: the intent is in the ledger, its committer has not been asked to carry it out.
    Intended,
    /// Committer: about to make the sink's own atomic step.
    Committing,
    /// Committer: the sink's step is made; the coordinator does not know.
    Committed,
    /// Committer: readers see the rows, and no marker says so yet.
    Marking,
    /// Coordinator: has heard of the commit, the ledger has not.
    Finalizing,
    /// Coordinator: the ledger says published; the leader's own table does not yet.
    Finalized,
    /// Committer: has listed files and knows what lives; nothing is deleted yet. While a table is cleaned once more for each
    /// part of what goes, but for the first.
    Sweeping,
}

/// What a point that is told to fail gives back.
#[derive(Debug, thiserror::Error)]
#[error("a test had this fail at {0}")]
pub struct Injected(pub &'static str);

impl Point {
    pub const ALL: [Self; 13] = [
        Self::Claimed,
        Self::Reading,
        Self::Staging,
        Self::Staged,
        Self::Sealed,
        Self::Prepared,
        Self::Intended,
        Self::Committing,
        Self::Committed,
        Self::Marking,
        Self::Finalizing,
        Self::Finalized,
        Self::Sweeping,
    ];

    /// Whether every commit passes here; markers are set by those alone whose pipeline has some.
    pub const fn is_everywhere(self) -> bool {
        !matches!(self, Self::Marking)
    }

    /// What the protocol calls it. F11, before a position is confirmed to a source, belongs to change capture.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Claimed => "F1",
            Self::Reading => "F2",
            Self::Staging => "F2b",
            Self::Staged => "F3",
            Self::Sealed => "F4",
            Self::Prepared => "F5",
            Self::Intended => "F6",
            Self::Committing => "F7",
            Self::Committed => "F8",
            Self::Marking => "F8b",
            Self::Finalizing => "F9",
            Self::Finalized => "F10",
            Self::Sweeping => "F12",
        }
    }
}

/// Does what the environment wants done here. `subject` is the pipeline or the sink it is about.
#[cfg(feature = "failpoints")]
pub async fn reach(point: Point, subject: &str) -> Result<(), Injected> {
    armed::reach(point, subject).await
}

/// Nothing happens here.
#[cfg(not(feature = "failpoints"))]
pub fn reach(_: Point, _: &str) -> std::future::Ready<Result<(), Injected>> {
    std::future::ready(Ok(()))
}

/// What a test has this process pretend, such as to be of another version.
pub fn played(name: &str) -> Option<String> {
    if cfg!(feature = "failpoints") { std::env::var(name).ok() } else { None }
}

/// Reads the environment once, at the start of a process; what it says that cannot be done is told.
#[cfg(feature = "failpoints")]
pub fn arm() -> Result<(), String> {
    armed::arm()
}

/// There is nothing to arm.
#[cfg(not(feature = "failpoints"))]
pub fn arm() -> Result<(), String> {
    Ok(())
}
