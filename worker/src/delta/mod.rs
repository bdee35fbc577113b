//! What source and sink share of a Delta table's log, read through delta-rs. It decides nothing, and knows neither of them.

use std::sync::Arc;

use deltalake_core::{
    DeltaTable, DeltaTableError,
    logstore::{LogStoreRef, StorageConfig, default_logstore},
};
use url::Url;

use crate::storage::Storage;

pub(crate) mod bounds;

/// The table at the storage's root, at `version` or the newest; `None` when there is none. Costs as much as the log since
/// its last checkpoint is long.
///
/// # Errors
/// What delta-rs says, about the storage or about the log.
pub(crate) async fn open(storage: &Storage, version: Option<u64>) -> Result<Option<DeltaTable>, DeltaTableError> {
    let log_store = log_store(storage)?;
    if !log_store.is_delta_table_location().await? {
        return Ok(None);
    }
    let mut table = DeltaTable::new(log_store);
    match version {
        Some(version) => table.load_version(version).await?,
        None => table.load().await?,
    }
    Ok(Some(table))
}

/// The storage is rooted at the table, so to delta-rs the table is the root of everything. The scheme tells it
/// whether listings are sorted, which those of a local folder are not.
fn log_store(storage: &Storage) -> Result<LogStoreRef, DeltaTableError> {
    let root = if storage.url().scheme() == "file" { "file:///" } else { "memory:///" };
    let root = Url::parse(root).map_err(|cause| DeltaTableError::Generic(cause.to_string()))?;
    let objects = Arc::clone(storage.objects());
    Ok(default_logstore(objects.clone(), objects, &root, &StorageConfig::default()))
}
