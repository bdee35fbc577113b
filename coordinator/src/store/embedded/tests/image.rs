//! A disk in memory that can lose power and run full.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Builder, Database, StorageBackend};

use super::super::disk::Disk;
use super::super::keyspace::Retention;
use super::*;

/// The bytes of the file as written, and as they were at the last sync.
#[derive(Clone, Debug, Default)]
pub(super) struct Image(Arc<Mutex<Bytes>>);

#[derive(Debug, Default)]
struct Bytes {
    written: Vec<u8>,
    synced: Vec<u8>,
    /// Bytes behind this have no room; a file may be longer than what is allocated for it.
    room: Option<u64>,
    dead: bool,
    syncs: usize,
}

impl Image {
    pub(super) fn store(&self) -> EmbeddedStore {
        EmbeddedStore::on_disk(self.disk(), Retention::default()).unwrap()
    }

    pub(super) fn disk(&self) -> Disk {
        let image = self.clone();
        let opener = move || -> Result<Database, _> { Builder::new().create_with_backend(image.clone()) };
        Disk::with_opener("image".into(), Box::new(opener)).unwrap()
    }

    /// What is left of the disk if the power goes now.
    pub(super) fn after_power_loss(&self) -> Self {
        let synced = self.0.lock().unwrap().synced.clone();
        Self(Arc::new(Mutex::new(Bytes { written: synced.clone(), synced, ..Bytes::default() })))
    }

    /// Leaves no room beyond a little more than what is in use; what is allocated can be written again.
    pub(super) fn set_full(&self) {
        let mut bytes = self.0.lock().unwrap();
        let used = bytes.written.iter().rposition(|byte| *byte != 0).unwrap_or_default();
        bytes.room = Some(used as u64 + 64 * 1024);
    }

    pub(super) fn set_roomy(&self) {
        self.0.lock().unwrap().room = None;
    }

    /// Lets every write fail, or none.
    pub(super) fn set_dead(&self, dead: bool) {
        self.0.lock().unwrap().dead = dead;
    }

    pub(super) fn syncs(&self) -> usize {
        self.0.lock().unwrap().syncs
    }
}

impl StorageBackend for Image {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().unwrap().written[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().written.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        bytes.synced = bytes.written.clone();
        bytes.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        if bytes.dead {
            return Err(io::Error::other("dead disk"));
        }
        if bytes.room.is_some_and(|room| offset + data.len() as u64 > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let offset = usize::try_from(offset).unwrap();
        bytes.written[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}
