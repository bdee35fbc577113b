//! The store on disk: one redb file that holds every record a reader can still see.
//!
//! Blocking; only the writer thread and `open` may call it. It may not depend on the key space.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::super::{LeaseId, Revision, StoreError};
use super::changes::{Changes, LeaseChange};
use super::keyspace::FIRST_REVISION;
use super::record::{Body, Live, Record};

/// Revision and key.
type RecordKey<'a> = (i64, &'a [u8]);
/// Value (none for a deletion), create revision, version, lease (0 for none).
type RecordRow<'a> = (Option<&'a [u8]>, i64, i64, i64);

const RECORDS: TableDefinition<'static, RecordKey<'static>, RecordRow<'static>> = TableDefinition::new("records");
/// Lease id to time to live in seconds.
const LEASES: TableDefinition<'static, i64, i64> = TableDefinition::new("leases");
const META: TableDefinition<'static, &str, i64> = TableDefinition::new("meta");

const FORMAT: i64 = 1;
/// Everything is read once, at open, and then from memory: a large page cache would hold it twice.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Opens the database; called again after a failed commit.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

pub(super) struct Disk {
    name: String,
    opener: Opener,
    /// Absent after a failed commit, until the next load.
    database: Option<Database>,
    /// How many commits the file has seen; tells whether a commit of unknown outcome is in it.
    commits: i64,
}

/// Everything the file holds.
pub(super) struct Loaded {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) next_lease: i64,
    pub(super) leases: Vec<(LeaseId, i64)>,
    /// In order of revision, and of key within a revision.
    pub(super) records: Vec<Arc<Record>>,
    pub(super) commits: i64,
}

/// The counters a commit leaves behind.
#[derive(Clone, Copy)]
pub(super) struct Counters {
    pub(super) revision: Revision,
    pub(super) next_lease: i64,
}

impl Disk {
    pub(super) fn at_path(path: &Path) -> Result<Self, StoreError> {
        let file = path.to_path_buf();
        let opener = move || Builder::new().set_cache_size(CACHE_BYTES).create(&file);
        let disk = Self::with_opener(path.display().to_string(), Box::new(opener))?;
        sync_parent(path).map_err(|error| disk.explain(redb::Error::Io(error)))?;
        Ok(disk)
    }

    /// A disk whose databases come from `opener`, which must find again what an earlier one committed.
    pub(super) fn with_opener(name: String, opener: Opener) -> Result<Self, StoreError> {
        let mut disk = Self { name, opener, database: None, commits: 0 };
        disk.database()?;
        Ok(disk)
    }

    /// Reads the whole file, opening it again if it was closed.
    pub(super) fn load(&mut self) -> Result<Loaded, StoreError> {
        match read_all(self.database()?) {
            Ok(loaded) => {
                self.commits = loaded.commits;
                Ok(loaded)
            }
            Err(error) => Err(self.close_after(error)),
        }
    }

    /// Makes `changes` durable in one commit. After an error the disk is closed, and only a load tells whether the
    /// commit happened: it did if the file has seen [`Disk::next_commit`] commits.
    pub(super) fn commit(&mut self, changes: &Changes, counters: Counters) -> Result<(), StoreError> {
        let commits = self.next_commit();
        let database = self.database()?;
        match write(database, changes, counters, commits) {
            Ok(()) => {
                self.commits = commits;
                Ok(())
            }
            Err(error) => Err(self.close_after(error)),
        }
    }

    pub(super) fn next_commit(&self) -> i64 {
        self.commits + 1
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            let database = (self.opener)().map_err(|error| self.explain(error.into()))?;
            prepare(&database).map_err(|error| self.explain(error))?;
            self.database = Some(database);
        }
        self.database.as_ref().ok_or_else(|| StoreError::Broken(format!("{} is closed", self.name)))
    }

    /// redb refuses all work after an I/O error until the file is opened again.
    fn close_after(&mut self, error: redb::Error) -> StoreError {
        self.database = None;
        self.explain(error)
    }

    fn explain(&self, error: redb::Error) -> StoreError {
        let name = &self.name;
        match error {
            redb::Error::DatabaseAlreadyOpen => StoreError::Locked(name.clone()),
            redb::Error::Io(error) if is_full(&error) => StoreError::NoSpace(format!("{name}: {error}")),
            error => StoreError::Broken(format!("{name}: {error}")),
        }
    }
}

/// Creates the tables of a new file and refuses the file of another version.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => {
            let format = counter(&meta, "format")?;
            if format != Some(FORMAT) {
                let known = format!("the file has format {format:?}, this version reads {FORMAT}");
                return Err(redb::Error::Corrupted(known));
            }
            return Ok(());
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let txn = database.begin_write()?;
    txn.open_table(RECORDS)?;
    txn.open_table(LEASES)?;
    txn.open_table(META)?.insert("format", FORMAT)?;
    Ok(txn.commit()?)
}

fn write(database: &Database, changes: &Changes, counters: Counters, commits: i64) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    {
        let mut records = txn.open_table(RECORDS)?;
        for record in &changes.written {
            records.insert((record.mod_revision.0, record.key.as_slice()), row(record))?;
        }
        for record in &changes.dropped {
            records.remove((record.mod_revision.0, record.key.as_slice()))?;
        }
        let mut leases = txn.open_table(LEASES)?;
        for change in &changes.leases {
            match change {
                LeaseChange::Granted { id, ttl_seconds } => leases.insert(id.0, ttl_seconds)?,
                LeaseChange::Ended { id } => leases.remove(id.0)?,
            };
        }
        let mut meta = txn.open_table(META)?;
        meta.insert("revision", counters.revision.0)?;
        meta.insert("next_lease", counters.next_lease)?;
        meta.insert("commits", commits)?;
        if let Some(compacted) = changes.compacted {
            meta.insert("compacted", compacted.0)?;
        }
    }
    // The default durability: the call returns after the file is synced.
    Ok(txn.commit()?)
}

fn row(record: &Record) -> RecordRow<'_> {
    match &record.body {
        Body::Live(live) => {
            let lease = live.lease.map_or(0, |lease| lease.0);
            (Some(live.value.as_slice()), live.create_revision.0, live.version, lease)
        }
        Body::Deleted => (None, 0, 0, 0),
    }
}

fn read_all(database: &Database) -> Result<Loaded, redb::Error> {
    let txn = database.begin_read()?;
    let meta = txn.open_table(META)?;
    let mut records = Vec::new();
    for entry in txn.open_table(RECORDS)?.iter()? {
        let (key, value) = entry?;
        records.push(Arc::new(record(key.value(), value.value())));
    }
    let mut leases = Vec::new();
    for entry in txn.open_table(LEASES)?.iter()? {
        let (id, ttl_seconds) = entry?;
        leases.push((LeaseId(id.value()), ttl_seconds.value()));
    }
    Ok(Loaded {
        revision: Revision(counter(&meta, "revision")?.unwrap_or(FIRST_REVISION.0)),
        compacted: Revision(counter(&meta, "compacted")?.unwrap_or(FIRST_REVISION.0)),
        next_lease: counter(&meta, "next_lease")?.unwrap_or(1),
        commits: counter(&meta, "commits")?.unwrap_or(0),
        leases,
        records,
    })
}

fn record((mod_revision, key): RecordKey<'_>, (value, create_revision, version, lease): RecordRow<'_>) -> Record {
    let body = match value {
        Some(value) => Body::Live(Live {
            value: value.to_vec(),
            create_revision: Revision(create_revision),
            version,
            lease: (lease != 0).then_some(LeaseId(lease)),
        }),
        None => Body::Deleted,
    };
    Record { key: key.to_vec(), mod_revision: Revision(mod_revision), body }
}

fn counter(meta: &impl ReadableTable<&'static str, i64>, name: &str) -> Result<Option<i64>, redb::Error> {
    Ok(meta.get(name)?.map(|value| value.value()))
}

/// A new file is only safe once its directory entry is.
fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
