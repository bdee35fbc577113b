//! Source `delta`: the rows of a Delta table, at its newest version or at a given one. A read is pinned to the version it
//! was resolved at, whose files nobody changes. It may not know sinks, tasks or the coordinator.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;
use windrow_common::{
    error,
    manifest::Input,
    pipeline::{Connection, SourceSpec},
    window::{Axis, Window},
};

use super::{
    ParamError, RowStream, Slice, Source, SourceKind,
    decode::{
        faults::decode_fault,
        time::{Ambiguous, Zone},
    },
    parquet::{self, Wanted},
    tells_nothing,
};
use crate::{
    error::{Result, WorkerError},
    storage::Storage,
};

mod readable;
mod snapshot;
#[cfg(test)]
mod tests;

use snapshot::{Cursor, Snapshot};

pub const KIND: SourceKind = SourceKind {
    kind: "delta",
    connections: Storage::CONNECTIONS,
    formats: &["delta"],
    brings: &[],
    build,
    tells: tells_nothing,
    by_window: |_| false,
    proves: |_, _| true,
    keys: false,
    schema: || schema_for!(Params),
};

/// Versions kept in memory: attempts that run at the same time may have been resolved at different ones.
const MOST_SNAPSHOTS: usize = 2;

/// The parameters as they stand in a pipeline file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(rename = "format")]
    _format: FormatName,
    /// The table's folder, relative to the connection's root.
    path: String,
    /// Reads this version of the table, whatever came after it. Until there is such a version, windows wait.
    #[serde(default)]
    version: Option<u64>,
    /// IANA zone of the cursor column's values, where they are times without one or days.
    #[serde(default)]
    cursor_timezone: Option<String>,
    /// Which instant a local time means that a change of clocks makes ambiguous; without it such a cursor is refused.
    #[serde(default)]
    ambiguous: Option<Ambiguous>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FormatName {
    Delta,
}

fn build(spec: &SourceSpec) -> Result<Arc<dyn Source>, Vec<ParamError>> {
    let params = Value::Object(spec.params.clone());
    let params: Params = serde_path_to_error::deserialize(params).map_err(|fault| vec![decode_fault(&fault)])?;
    let zone = match &params.cursor_timezone {
        None => None,
        Some(name) => Some(TimeZone::get(name).map_err(|_| {
            let message = format!("{name:?} is no time zone this machine knows");
            vec![ParamError { path: "cursor_timezone".to_owned(), code: error::BAD_VALUE, message, fix: None }]
        })?),
    };
    Ok(Arc::new(DeltaSource {
        connection: spec.from.clone(),
        cursor: spec.cursor.clone(),
        zone: zone.map(|zone| Zone { zone, ambiguous: params.ambiguous }),
        params,
        storage: OnceLock::new(),
        snapshots: Mutex::default(),
    }))
}

/// A table behind a connection.
struct DeltaSource {
    connection: Connection,
    params: Params,
    cursor: Option<String>,
    zone: Option<Zone>,
    /// Opened at first use, for a pipeline may be checked where its storage is out of reach.
    storage: OnceLock<Storage>,
    /// The versions read lately, the last one last.
    snapshots: Mutex<VecDeque<Arc<Snapshot>>>,
}

#[async_trait]
impl Source for DeltaSource {
    async fn schema(&self) -> Result<SchemaRef> {
        let held = self.held().back().cloned();
        let snapshot = match held {
            Some(snapshot) => snapshot,
            None => self.load(self.params.version).await?,
        };
        Ok(snapshot.schema.clone())
    }

    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>> {
        let snapshot = self.load(self.params.version).await?;
        // A full load's window is a number of its own and bounds no cursor.
        let window = Some(window).filter(|window| window.axis() == Axis::Time && self.cursor.is_some());
        let files = snapshot.files.iter().filter(|(_, file)| window.is_none_or(|window| file.may_hold(window)));
        let version = Some(snapshot.version.to_string());
        let input =
            |(name, bytes): (&String, u64)| Input { name: name.clone(), bytes, version: version.clone(), into: None };
        Ok(files.map(|(name, file)| input((name, file.bytes)).into()).collect())
    }

    /// Files of a table are never written again, so their names tell what they hold; and a table that was made anew has
    /// another id.
    async fn prove(&self, slices: &[Slice], _window: &Window) -> Result<Option<String>> {
        let snapshot = match slices.first() {
            Some(slice) => self.of_version(&slice.input).await?,
            None => self.load(self.params.version).await?,
        };
        // It had no rows when it was resolved, and has some now.
        if slices.is_empty() && !snapshot.files.is_empty() {
            return Ok(None);
        }
        Ok(Some(state(&snapshot, slices.iter())))
    }

    /// Of each window the files that may hold some of it.
    async fn prove_each(&self, slices: &[Slice], windows: &[Window]) -> Result<Option<Vec<String>>> {
        // Where there is nothing, there is nothing of any window.
        let Some(first) = slices.first() else { return Ok(None) };
        let snapshot = self.of_version(&first.input).await?;
        let files = slices.iter().map(|slice| Ok((slice, snapshot.file(&slice.input)?)));
        let files = files.collect::<Result<Vec<_>>>()?;
        let of_window = |window: &Window| {
            state(&snapshot, files.iter().filter(|(_, file)| file.may_hold(window)).map(|(slice, _)| *slice))
        };
        Ok(Some(windows.iter().map(of_window).collect()))
    }

    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream> {
        let snapshot = self.of_version(&slice.input).await?;
        let file = snapshot.file(&slice.input)?;
        let wanted = Wanted { schema: &snapshot.schema, cursor: self.cursor.as_deref(), zone: self.zone.as_ref() };
        // What a version consists of is never written again, so the file needs no version of its own.
        let pin = Input { version: None, ..slice.input.clone() };
        let objects = self.storage()?.objects().clone();
        parquet::read(objects, &pin, &wanted, window, |stored| snapshot.places(file, stored)).await
    }
}

/// What a version's files hold, in words that another file changes.
fn state<'a>(snapshot: &Snapshot, slices: impl Iterator<Item = &'a Slice>) -> String {
    let files: Vec<(&str, u64)> = slices.map(|slice| (slice.input.name.as_str(), slice.input.bytes)).collect();
    let columns = snapshot.schema.fields().iter().map(|field| (field.name(), field.data_type(), field.is_nullable()));
    format!("table {} {:?} {files:?}", snapshot.id, columns.collect::<Vec<_>>())
}

impl DeltaSource {
    /// The version a slice was resolved at.
    async fn of_version(&self, input: &Input) -> Result<Arc<Snapshot>> {
        let version = input.version.as_deref().and_then(|version| version.parse().ok());
        let version = version.ok_or_else(|| {
            WorkerError::never(error::INTERNAL, "a part of a Delta table has no version").at(&input.name)
        })?;
        let held = self.held().iter().find(|held| held.version == version).cloned();
        match held {
            Some(snapshot) => Ok(snapshot),
            None => self.load(Some(version)).await,
        }
    }

    /// A version of the table from its log, the newest if none is asked for.
    async fn load(&self, version: Option<u64>) -> Result<Arc<Snapshot>> {
        let held = self.held().iter().find(|held| Some(held.version) == version).cloned();
        if let Some(snapshot) = held {
            return Ok(snapshot);
        }
        let storage = self.storage()?;
        let cursor = Cursor { column: self.cursor.as_deref(), zone: self.zone.as_ref() };
        let loaded = snapshot::load(storage, version, &cursor).await?;
        let snapshot = Arc::new(loaded.ok_or_else(|| self.nothing_found(version))?);
        let mut held = self.held();
        held.retain(|other| other.version != snapshot.version);
        while held.len() >= MOST_SNAPSHOTS {
            held.pop_front();
        }
        held.push_back(snapshot.clone());
        Ok(snapshot)
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<Arc<Snapshot>>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn storage(&self) -> Result<&Storage> {
        if let Some(storage) = self.storage.get() {
            return Ok(storage);
        }
        let opened = Storage::open(&self.connection, &self.params.path, false).map_err(|fault| match fault.code {
            error::SOURCE_MISSING => self.nothing_found(None),
            code => WorkerError::later(code, fault.message).at(format!("connection {}", self.connection.name)),
        })?;
        Ok(self.storage.get_or_init(|| opened))
    }

    /// Somebody may be about to make it: another pipeline, often.
    fn nothing_found(&self, version: Option<u64>) -> WorkerError {
        let (path, connection) = (&self.params.path, &self.connection.name);
        let message = match version {
            None => format!("there is no Delta table at {path:?} yet"),
            Some(version) => format!("the Delta table at {path:?} has no version {version} yet"),
        };
        WorkerError::not_ready(error::SOURCE_MISSING, message)
            .at(format!("connection {connection}"))
            .fix("correct `path`, which is relative to the connection's root, or wait for whoever writes the table")
    }
}
