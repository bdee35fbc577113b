//! Delta tables: how far their log has come. Nothing but names is read of it.

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use serde::Deserialize;
use windrow_common::{error, look::TableVersion, pipeline::Connection};

use super::Seen;
use crate::{
    error::{Result, WorkerError},
    source::pin::unreadable,
    storage::Storage,
};

const LOG: &str = "_delta_log";
const LAST_CHECKPOINT: &str = "_delta_log/_last_checkpoint";
/// Largest pointer to a checkpoint that is read; it holds a schema at most.
const MOST_POINTER_BYTES: u64 = 16 << 20;

pub(super) async fn look(connection: &Connection, wanted: &TableVersion) -> Result<Seen> {
    let path = &wanted.path;
    let storage = match Storage::open(connection, path, false) {
        Ok(storage) => storage,
        Err(fault) if fault.code == error::SOURCE_MISSING => return Ok(nothing(path)),
        Err(fault) => {
            return Err(WorkerError::later(fault.code, fault.message).at(format!("connection {}", connection.name)));
        }
    };
    let Some((version, commit)) = newest(storage.objects().as_ref()).await? else { return Ok(nothing(path)) };
    Ok(match wanted.version {
        Some(wanted) if wanted <= version => Seen::always(),
        Some(wanted) => Seen::never(format!("the Delta table at {path:?} has version {version}, and not {wanted} yet")),
        None => {
            let at = commit.last_modified;
            let words =
                format!("the newest version of the Delta table at {path:?}, {version}, is of {}", at.to_rfc3339());
            Seen::up_to(at.timestamp_micros(), words)
        }
    })
}

fn nothing(path: &str) -> Seen {
    Seen::never(format!("there is no Delta table at {path:?} yet"))
}

/// The newest commit of a log.
async fn newest(objects: &dyn ObjectStore) -> Result<Option<(u64, ObjectMeta)>> {
    let log = Path::from(LOG);
    let failed = |cause| unreadable(LOG, cause);
    // A log may have hundreds of thousands of entries; what lies before its checkpoint is of no interest.
    let from = Path::from(format!("{LOG}/{:020}", checkpoint(objects).await?));
    let mut listing = objects.list_with_offset(Some(&log), &from);
    let mut newest: Option<(u64, ObjectMeta)> = None;
    while let Some(entry) = listing.try_next().await.map_err(failed)? {
        let Some(version) = version_of(&entry) else { continue };
        if newest.as_ref().is_none_or(|(known, _)| *known < version) {
            newest = Some((version, entry));
        }
    }
    Ok(newest)
}

/// The version of the newest checkpoint; 0 where none is known.
async fn checkpoint(objects: &dyn ObjectStore) -> Result<u64> {
    #[derive(Deserialize)]
    struct Pointer {
        version: u64,
    }
    let path = Path::from(LAST_CHECKPOINT);
    let found = match objects.get(&path).await {
        Ok(found) if found.meta.size <= MOST_POINTER_BYTES => found,
        Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(0),
        Err(cause) => return Err(unreadable(LAST_CHECKPOINT, cause)),
    };
    let bytes = found.bytes().await.map_err(|cause| unreadable(LAST_CHECKPOINT, cause))?;
    // It only saves looking; a damaged one costs a longer listing.
    Ok(serde_json::from_slice::<Pointer>(&bytes).map_or(0, |pointer| pointer.version))
}

fn version_of(entry: &ObjectMeta) -> Option<u64> {
    let digits = entry.location.filename()?.strip_suffix(".json")?;
    (digits.len() == 20 && entry.location.parts().count() == 2).then(|| digits.parse().ok()).flatten()
}
