//! The log of commits: create-if-absent is its compare-and-set, and whatever a create answers, the log is read and
//! compared before anything is concluded.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use windrow_common::{error, intent::Seq};

use super::{entry::Entry, list::List, state::State};
use crate::{
    error::{Result, WorkerError},
    storage::Storage,
};

/// Commits between two snapshots: so many entries are read at most before the state is known.
pub(super) const SNAPSHOT_EVERY: Seq = 100;
/// Entries read at a time when there are several to catch up with.
const READ_AHEAD: u64 = 16;
/// Lists that stay for readers who have just found them.
const LISTS_KEPT: Seq = 100;
/// Names the newest snapshot. A hint only: an old one costs reads, a missing one more of them.
const NEWEST_SNAPSHOT: &str = "_windrow/log/_newest_snapshot";

/// The log of one folder. It keeps what it has read.
pub(super) struct Log {
    storage: Storage,
    known: Mutex<Option<Arc<State>>>,
    /// The newest commit this very process saw published.
    published: AtomicU64,
}

/// How creating an entry ended.
#[derive(Debug)]
pub(super) enum Created {
    /// The log holds the entry.
    Mine,
    /// The seq is taken by another commit.
    Other,
}

#[derive(Serialize, Deserialize)]
struct Hint {
    seq: Seq,
}

impl Log {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, known: Mutex::new(None), published: AtomicU64::new(0) }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    pub(super) fn note_published(&self, seq: Seq) {
        self.published.fetch_max(seq, Ordering::Relaxed);
    }

    pub(super) fn is_published(&self, seq: Seq) -> bool {
        self.published.load(Ordering::Relaxed) >= seq
    }

    /// Reads what was committed since the last call.
    pub(super) async fn refresh(&self) -> Result<Arc<State>> {
        let mut known = self.known.lock().await;
        let mut state = match known.as_ref() {
            Some(state) => Arc::clone(state),
            None => Arc::new(self.newest_snapshot().await?),
        };
        let mut ahead = 1;
        loop {
            let entries = self.entries(state.seq + 1, ahead).await?;
            let caught_up = (entries.len() as u64) < ahead;
            for entry in entries {
                Arc::make_mut(&mut state).apply(entry)?;
            }
            *known = Some(Arc::clone(&state));
            if caught_up {
                return Ok(state);
            }
            ahead = READ_AHEAD;
        }
    }

    /// One commit.
    pub(super) async fn entry(&self, seq: Seq) -> Result<Option<Entry>> {
        if seq == 0 {
            return Ok(None);
        }
        self.read(&self.entry_path(seq)).await
    }

    /// Creates an entry. An error means that nothing is known about it.
    pub(super) async fn create(&self, entry: &Entry) -> Result<Created> {
        self.storage.check_conditional_writes().await?;
        let path = self.entry_path(entry.seq);
        let bytes = encoded(entry)?;
        // A store may answer "exists" while a try for the key is on its way, and then show none.
        for _ in 0..5 {
            if self.storage.create(&path, bytes.clone().into()).await? {
                return Ok(Created::Mine);
            }
            match self.read::<Entry>(&path).await? {
                Some(found) if found.digest == entry.digest && found.effect == entry.effect => {
                    return Ok(Created::Mine);
                }
                Some(_) => return Ok(Created::Other),
                None => {}
            }
        }
        Err(WorkerError::later(error::SINK_UNREACHABLE, "the store says that a commit exists and does not show it")
            .at(path))
    }

    /// Writes the snapshot of a state, if one is due; writing it again changes nothing.
    pub(super) async fn snapshot(&self, state: &State) -> Result<()> {
        if state.seq == 0 || !state.seq.is_multiple_of(SNAPSHOT_EVERY) {
            return Ok(());
        }
        self.storage.put(&self.snapshot_path(state.seq), encoded(state)?.into()).await?;
        self.storage.put(&self.storage.record(NEWEST_SNAPSHOT), encoded(&Hint { seq: state.seq })?.into()).await?;
        // The one before stays for whoever has just read the hint.
        match state.seq.checked_sub(2 * SNAPSHOT_EVERY).filter(|seq| *seq > 0) {
            Some(old) => self.storage.delete(&self.snapshot_path(old)).await,
            None => Ok(()),
        }
    }

    /// Writes the list of files for readers, if commit `seq` is the newest one and files were ever rewritten. Whoever finds it written
    /// finds the same.
    pub(super) async fn tell_readers(&self, seq: Seq) -> Result<()> {
        let state = self.refresh().await?;
        if !state.rewritten || state.seq != seq {
            return Ok(());
        }
        self.storage.create(&list_path(seq), encoded(&List::of(&state))?.into()).await?;
        match seq.checked_sub(LISTS_KEPT) {
            Some(old) => self.storage.delete(&list_path(old)).await,
            None => Ok(()),
        }
    }

    /// When the store says a commit was made, in milliseconds since 1970.
    pub(super) async fn stored_at(&self, seq: Seq) -> Result<Option<i64>> {
        let found = self.storage.head(&self.entry_path(seq)).await?;
        Ok(found.map(|meta| meta.last_modified.timestamp_millis()))
    }

    async fn newest_snapshot(&self) -> Result<State> {
        let hint: Option<Hint> = self.read(&self.storage.record(NEWEST_SNAPSHOT)).await?;
        let Some(Hint { seq }) = hint else { return Ok(State::default()) };
        Ok(self.read(&self.snapshot_path(seq)).await?.unwrap_or_default())
    }

    /// The entries from `first` on, at most `count`, up to the first that is missing.
    async fn entries(&self, first: Seq, count: u64) -> Result<Vec<Entry>> {
        let reads = stream::iter(first..first + count).map(|seq| self.entry(seq)).buffered(READ_AHEAD as usize);
        let found: Vec<Option<Entry>> = reads.try_collect().await?;
        Ok(found.into_iter().map_while(|entry| entry).collect())
    }

    fn entry_path(&self, seq: Seq) -> String {
        self.storage.record(&format!("_windrow/log/{seq:020}"))
    }

    fn snapshot_path(&self, seq: Seq) -> String {
        self.storage.record(&format!("_windrow/log/{seq:020}.snapshot"))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(bytes) = self.storage.get(path).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|cause| {
            WorkerError::never(error::SINK_BROKEN, "the log of commits is not readable").at(path).because(cause)
        })
    }
}

fn list_path(seq: Seq) -> String {
    format!("_windrow/files/{seq:020}.list")
}

fn encoded(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a record cannot be written as JSON").because(cause))
}
