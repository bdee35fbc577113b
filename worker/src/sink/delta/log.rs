//! The table's log in its storage: loading a table through delta-rs, reading and writing single commits. It decides
//! nothing.

use std::{collections::BTreeMap, sync::Arc};

use arrow_schema::Schema;
use bytes::Bytes;
use deltalake_core::{DeltaTable, DeltaTableError, kernel::engine::arrow_conversion::TryIntoArrow};
use object_store::{Error, ObjectStoreExt, PutMode, path::Path};
use windrow_common::error;

use super::{
    actions::Commit,
    guard,
    table::{ActiveFile, Reading, Stamp, Table},
};
use crate::{
    delta,
    error::{Result, WorkerError},
    storage::{Storage, sink_error},
};

/// See the module.
#[derive(Clone)]
pub(super) struct Log {
    storage: Storage,
    reading: Arc<Reading>,
}

/// How writing a version ended, when it did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Done(Stamp),
    /// The store says the version is there already: by somebody else, by a lost try of ours, or by a store that
    /// mistakes a race for a fact.
    Exists,
}

impl Log {
    pub(super) fn new(storage: Storage, reading: Reading) -> Self {
        Self { storage, reading: Arc::new(reading) }
    }

    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// The newest version with everything that belongs to it; `None` when there is no table yet. Costs as much as the
    /// log since its last checkpoint is long.
    pub(super) async fn load(&self) -> Result<Option<Table>> {
        let Some(loaded) = self.open(None).await? else { return Ok(None) };
        let (state, log_store) = (loaded.snapshot().map_err(broken)?, loaded.log_store());
        let configuration: BTreeMap<String, String> =
            state.metadata().configuration().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let schema: Schema = state.schema().as_ref().try_into_arrow().map_err(broken)?;
        let metadata = Arc::new(serde_json::to_value(state.metadata()).map_err(broken)?);
        let protocol = serde_json::to_value(state.protocol()).map_err(broken)?;
        guard::check(&guard::Facts { protocol: &protocol, configuration: &configuration, schema: &schema })
            .map_err(|refused| refused.at(self.storage.url().to_string()))?;
        let mut txns = BTreeMap::new();
        for app in [&self.reading.apps.seq, &self.reading.apps.digest] {
            if let Some(version) = state.transaction_version(&log_store, app).await.map_err(broken)? {
                txns.insert(app.clone(), version);
            }
        }
        let version = state.version();
        let stamp = self.stamp(version).await?;
        // The views without `Add` do not give tags away.
        #[allow(deprecated)]
        let files = state
            .log_data()
            .iter()
            .map(|view| view.add_action())
            .map(|add| (add.path.clone(), ActiveFile::of(&add, &self.reading)))
            .collect();
        let partition_by = state.metadata().partition_columns().to_vec();
        Ok(Some(Table { version, stamp, schema: Arc::new(schema), metadata, partition_by, configuration, files, txns }))
    }

    /// The table as delta-rs sees it, at `version` or the newest.
    pub(super) async fn open(&self, version: Option<u64>) -> Result<Option<DeltaTable>> {
        delta::open(&self.storage, version).await.map_err(|cause| broken(cause).at(self.storage.url().to_string()))
    }

    /// The commit of one version; `None` when it has not been made.
    pub(super) async fn read(&self, version: u64) -> Result<Option<(Commit, Stamp)>> {
        let path = commit_path(version);
        let found = match self.storage.objects().get(&path).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(cause) => return Err(sink_error(cause, path.to_string())),
        };
        let e_tag = found.meta.e_tag.clone();
        let text = found.bytes().await.map_err(|cause| sink_error(cause, path.to_string()))?;
        let commit = Commit::parse(&text).map_err(|cause| broken(cause).at(path.to_string()))?;
        Ok(Some((commit, Stamp { bytes: text.len() as u64, e_tag })))
    }

    /// Writes exactly this version, if nobody has.
    pub(super) async fn write(&self, version: u64, text: Bytes) -> Result<Written> {
        let (path, bytes) = (commit_path(version), text.len() as u64);
        match self.storage.objects().put_opts(&path, text.into(), PutMode::Create.into()).await {
            Ok(result) => Ok(Written::Done(Stamp { bytes, e_tag: result.e_tag })),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Written::Exists),
            Err(cause) => Err(sink_error(cause, path.to_string())),
        }
    }

    /// What the store says about a version's commit object.
    pub(super) async fn stamp(&self, version: u64) -> Result<Option<Stamp>> {
        let found = self.storage.head(commit_path(version).as_ref()).await?;
        Ok(found.map(|meta| Stamp { bytes: meta.size, e_tag: meta.e_tag }))
    }
}

fn commit_path(version: u64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

/// What delta-rs or a parser says about a log; what the storage says goes its own way.
pub(super) fn broken(cause: impl Into<Trouble>) -> WorkerError {
    match cause.into() {
        Trouble::Storage(cause) => sink_error(cause, "_delta_log"),
        Trouble::Log(cause) => WorkerError::later(error::SINK_BROKEN, "the table's log cannot be read")
            .fix("look at the newest files of _delta_log: one may be damaged or missing")
            .because(cause),
    }
}

/// An error on the way to a table.
pub(super) enum Trouble {
    Storage(Error),
    Log(Box<dyn std::error::Error + Send + Sync>),
}

impl From<DeltaTableError> for Trouble {
    fn from(cause: DeltaTableError) -> Self {
        match cause {
            DeltaTableError::ObjectStore { source } => Self::Storage(source),
            other => Self::Log(Box::new(other)),
        }
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(cause: serde_json::Error) -> Self {
        Self::Log(Box::new(cause))
    }
}

impl From<arrow_schema::ArrowError> for Trouble {
    fn from(cause: arrow_schema::ArrowError) -> Self {
        Self::Log(Box::new(cause))
    }
}

impl Stamp {
    /// Whether two stamps can be of the same object. Tags are compared when both are known.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let tags = self.e_tag.as_ref().zip(other.e_tag.as_ref());
        self.bytes == other.bytes && tags.is_none_or(|(mine, theirs)| mine == theirs)
    }
}
