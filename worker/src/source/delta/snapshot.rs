//! A table at one version: its columns, its files, and the values that stand in folder names instead of files.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, StringArray, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalake_core::{DeltaTableError, kernel::engine::arrow_conversion::TryIntoArrow};
use windrow_common::{error, manifest::Input, window::Window};

use super::readable;
use crate::{
    delta::{
        self,
        bounds::{Bounds, never_null},
    },
    error::{Result, WorkerError},
    source::{decode::time::Zone, parquet::Place, pin::unreadable},
    storage::Storage,
};

/// Most files a version may have.
const MAX_FILES: usize = 1_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    /// The table's own id: one that is made anew in the same place has another.
    pub(super) id: String,
    pub(super) schema: SchemaRef,
    partition_by: Vec<String>,
    /// By path under the table's root.
    pub(super) files: BTreeMap<String, DataFile>,
}

/// A file whose rows are the table's.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) bytes: u64,
    /// As the log writes them.
    partition: BTreeMap<String, Option<String>>,
    /// What the statistics say about the cursor.
    bounds: Option<Bounds>,
}

/// By which column windows are told, and in which zone its values are where they have none.
pub(super) struct Cursor<'a> {
    pub(super) column: Option<&'a str>,
    pub(super) zone: Option<&'a Zone>,
}

impl<'a> Cursor<'a> {
    /// The column, if what the log says of it bounds the instants it means: it speaks of UTC.
    fn bounded_in(&self, schema: &Schema) -> Option<&'a str> {
        let column = self.column?;
        let utc = matches!(schema.field_with_name(column).ok()?.data_type(), DataType::Timestamp(_, Some(_)));
        (utc || self.zone.is_none()).then_some(column)
    }
}

/// Reads a version from the table's log, the newest if none is asked for; `None` if there is none.
///
/// # Errors
/// `SOURCE_REFUSED` for tables whose rows are not what stands in their files.
pub(super) async fn load(storage: &Storage, version: Option<u64>, cursor: &Cursor<'_>) -> Result<Option<Snapshot>> {
    let failed = |cause: DeltaTableError| broken(storage, cause);
    let table = match (delta::open(storage, version).await, version) {
        (Ok(Some(table)), _) => table,
        (Ok(None), _) => return Ok(None),
        (Err(_), Some(version)) if is_to_come(storage, version).await? => return Ok(None),
        (Err(cause), _) => return Err(failed(cause)),
    };
    let state = table.snapshot().map_err(failed)?;
    let schema: Schema = state.schema().as_ref().try_into_arrow().map_err(|cause| damaged(storage).because(cause))?;
    let protocol = serde_json::to_value(state.protocol()).map_err(|cause| damaged(storage).because(cause))?;
    let mapping = state.metadata().configuration().get("delta.columnMapping.mode");
    let log = state.log_data();
    let views = || log.iter();
    if views().count() > MAX_FILES {
        let message = format!("the table has more than {MAX_FILES} files");
        return Err(WorkerError::never(error::INPUT_TOO_LARGE, message)
            .at(storage.url().to_string())
            .fix("compact the table first"));
    }
    let deleted = views().find(|view| view.deletion_vector_descriptor().is_some());
    let deleted = deleted.map(|view| view.path().into_owned());
    readable::check(&protocol, mapping.map(String::as_str), deleted.as_deref())
        .map_err(|refused| refused.at(storage.url().to_string()))?;
    let id = state.metadata().id().to_owned();
    let partition_by = state.metadata().partition_columns().to_vec();
    let cursor = cursor.bounded_in(&schema);
    let files = views().map(|view| {
        let partition: BTreeMap<_, _> = view.partition_values_map().into_iter().collect();
        let bounds = cursor.and_then(|cursor| match partition_by.iter().any(|column| column == cursor) {
            true => Bounds::of_value(partition.get(cursor)?.as_deref()?),
            false => view
                .stats()
                .filter(|stats| never_null(stats, cursor))
                .and_then(|stats| Bounds::in_stats(&stats, cursor)),
        });
        let file = DataFile { bytes: u64::try_from(view.size()).unwrap_or(0), partition, bounds };
        (view.object_store_path().to_string(), file)
    });
    let files = files.collect();
    Ok(Some(Snapshot { version: state.version(), id, schema: Arc::new(schema), partition_by, files }))
}

impl Snapshot {
    pub(super) fn file(&self, input: &Input) -> Result<&DataFile> {
        self.files.get(&input.name).ok_or_else(|| {
            WorkerError::later(error::SOURCE_CHANGED, "the table's history was replaced while it was read")
                .at(&input.name)
        })
    }

    /// Where the table's columns are in one of its files: those of partitions in no file, and those that were added later
    /// not in older ones.
    pub(super) fn places(&self, file: &DataFile, stored: &Schema) -> Result<Vec<Place>> {
        let place = |field: &Arc<Field>| {
            if self.partition_by.contains(field.name()) {
                let value = file.partition.get(field.name()).and_then(Option::as_deref);
                return partition_value(field, value).map(Place::Given);
            }
            match stored.index_of(field.name()) {
                Ok(at) => Ok(Place::Stored(at)),
                Err(_) if field.is_nullable() => Ok(Place::Given(new_null_array(field.data_type(), 1))),
                Err(_) => {
                    let message = format!("the file lacks the column {:?}, which is never null", field.name());
                    Err(WorkerError::never(error::SOURCE_CORRUPT, message))
                }
            }
        };
        self.schema.fields().iter().map(place).collect()
    }
}

impl DataFile {
    /// Whether a row may lie in the window; so when in doubt.
    pub(super) fn may_hold(&self, window: &Window) -> bool {
        self.bounds.is_none_or(|bounds| bounds.touch(window))
    }
}

/// A partition's value from its text. The empty text is null, too (Delta protocol, "Partition Value Serialization").
fn partition_value(field: &Field, text: Option<&str>) -> Result<ArrayRef> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(new_null_array(field.data_type(), 1));
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&StringArray::from(vec![text]), field.data_type(), &options).map_err(|cause| {
        let message = format!("the partition {}={text:?} is no {}", field.name(), field.data_type());
        WorkerError::never(error::SOURCE_CORRUPT, message).because(cause)
    })
}

/// Whether the table has not come as far as a version: what delta-rs says of one it cannot load does not tell.
async fn is_to_come(storage: &Storage, version: u64) -> Result<bool> {
    let newest = delta::open(storage, None).await.map_err(|cause| broken(storage, cause))?;
    Ok(newest.and_then(|table| table.version()).is_none_or(|newest| newest < version))
}

fn broken(storage: &Storage, cause: DeltaTableError) -> WorkerError {
    match cause {
        DeltaTableError::ObjectStore { source } => unreadable("_delta_log", source),
        cause => damaged(storage).because(cause),
    }
}

fn damaged(storage: &Storage) -> WorkerError {
    WorkerError::later(error::SOURCE_CORRUPT, "the table's log cannot be read")
        .at(storage.url().to_string())
        .fix("look at the newest files of _delta_log: one may be damaged or missing")
}
