//! Source `object_store`: files in a local folder or a bucket, as CSV, JSON lines, Parquet or plain lines. A window's
//! rows are found by a cursor column, or its objects by the path. It may not know sinks, tasks or the coordinator.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use object_store::ObjectStore;
use schemars::schema_for;
use tokio::sync::OnceCell;
use windrow_common::{
    error,
    manifest::Input,
    pipeline::{Connection, Pattern, SourceSpec},
    readiness::Condition,
    window::Window,
};

use super::{
    ParamError, RowStream, Slice, Source, SourceKind, Told,
    decode::{cursor, emit, faults, rows, table, time, types, values},
    parquet::{self, Wanted},
    pin,
};
use crate::{
    error::{Result, WorkerError},
    storage::Storage,
    template::names_window,
};

mod bytes;
mod csv;
mod find;
mod format;
mod infer;
mod json;
mod layout;
mod lines;
mod params;
mod pump;
mod reader;
mod ready;
mod template;
#[cfg(test)]
mod tests;
mod there;

use format::Format;
use layout::Layout;
use params::{Config, Params};

pub const KIND: SourceKind = SourceKind {
    kind: "object_store",
    connections: Storage::CONNECTIONS,
    formats: &[],
    brings: &[],
    build,
    tells,
    by_window,
    // A file with rows of all windows says nothing of one of them.
    proves: |spec, pattern| pattern == Pattern::Full || by_window(spec),
    keys: false,
    schema: || schema_for!(Params),
};

fn by_window(spec: &SourceSpec) -> bool {
    spec.params.get("path").and_then(serde_json::Value::as_str).is_some_and(names_window)
}

fn tells(spec: &SourceSpec, condition: &Condition) -> Result<(), String> {
    let params = params::decode(&spec.params, spec.cursor.as_deref());
    // What is wrong with the parameters is told where they stand.
    params.map_or(Ok(()), |config| ready::check(&config.path, condition))
}

/// A file that is named outright may be absent for a moment while it is being replaced; it is looked for again once.
const REPLACED_WITHIN: Duration = Duration::from_millis(500);

fn build(spec: &SourceSpec) -> Result<Arc<dyn Source>, Vec<ParamError>> {
    let config = params::decode(&spec.params, spec.cursor.as_deref())?;
    Ok(Arc::new(ObjectSource::new(spec, config, OnceLock::new())))
}

/// The source over a store of the caller's own, rooted at the connection's folder.
///
/// # Errors
/// What is wrong with the parameters.
pub fn over(spec: &SourceSpec, storage: Storage) -> Result<Arc<dyn Source>, Vec<ParamError>> {
    let config = params::decode(&spec.params, spec.cursor.as_deref())?;
    Ok(Arc::new(ObjectSource::new(spec, config, OnceLock::from(storage))))
}

/// Files behind one connection.
struct ObjectSource {
    connection: Connection,
    config: Arc<Config>,
    /// Opened at first use, for a pipeline may be checked where its storage is out of reach.
    storage: OnceLock<Storage>,
    /// What the columns are; inferred at most once.
    layout: OnceCell<Layout>,
}

#[async_trait]
impl Source for ObjectSource {
    async fn schema(&self) -> Result<SchemaRef> {
        Ok(self.layout().await?.schema.clone())
    }

    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>> {
        let target = self.config.path.in_window(window)?;
        let mut found = find::find(self.store()?.as_ref(), &target).await?;
        if found.is_empty() && self.config.path.is_outright() {
            tokio::time::sleep(REPLACED_WITHIN).await;
            found = find::find(self.store()?.as_ref(), &target).await?;
        }
        if found.is_empty() {
            return Err(self.nothing_found(Some(window)));
        }
        Ok(found.into_iter().map(Slice::from).collect())
    }

    /// By what the store itself says of the objects' contents, else by the contents.
    async fn prove(&self, slices: &[Slice], _window: &Window) -> Result<Option<String>> {
        let store = self.store()?;
        let mut state = Vec::with_capacity(slices.len());
        for Slice { input, .. } in slices {
            state.push((input.name.as_str(), pin::contents(store.as_ref(), &self.connection.kind, input).await?));
        }
        Ok(Some(format!("{state:?}")))
    }

    async fn told(&self, condition: &Condition, windows: &[Window]) -> Result<Told> {
        ready::told(self.store()?.as_ref(), &self.config.path, condition, windows).await
    }

    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream> {
        let layout = self.layout().await?;
        let store = self.store()?;
        let rows = match self.config.format {
            Format::Parquet => {
                let config = &self.config;
                let (cursor, zone) = (config.cursor.as_deref(), config.cursor_zone.as_ref());
                let wanted = Wanted { schema: &layout.schema, cursor, zone };
                parquet::read(store.clone(), &slice.input, &wanted, window, |stored| layout.places(stored)).await?
            }
            _ => pump::read_text(store.as_ref(), &slice.input, &self.config, layout, window).await?,
        };
        Ok(pump::guarded(rows, store, slice.input.clone()))
    }

    fn by_window(&self) -> bool {
        self.config.path.by_window()
    }
}

impl ObjectSource {
    fn new(spec: &SourceSpec, config: Config, storage: OnceLock<Storage>) -> Self {
        Self { connection: spec.from.clone(), config: Arc::new(config), storage, layout: OnceCell::new() }
    }

    fn store(&self) -> Result<Arc<dyn ObjectStore>> {
        if let Some(storage) = self.storage.get() {
            return Ok(storage.objects().clone());
        }
        let opened = Storage::open(&self.connection, "", false).map_err(|fault| {
            let error =
                WorkerError::later(fault.code, fault.message).at(format!("connection {}", self.connection.name));
            match fault.fix {
                Some(fix) => error.fix(fix),
                None => error,
            }
        })?;
        Ok(self.storage.get_or_init(|| opened).objects().clone())
    }

    async fn layout(&self) -> Result<&Layout> {
        self.layout
            .get_or_try_init(|| async {
                let layout = match Layout::declared(&self.config) {
                    Some(layout) => layout,
                    None => Layout::of_file(self.store()?, &self.sample().await?, &self.config).await?,
                };
                layout.with_raw(&self.config)
            })
            .await
    }

    /// The object columns are inferred from: the first by name.
    async fn sample(&self) -> Result<Input> {
        let target = self.config.path.in_any_window()?;
        let found = find::find(self.store()?.as_ref(), &target).await?;
        found.into_iter().next().ok_or_else(|| self.nothing_found(None))
    }

    /// A partition may still come, and files a glob would match; a file that is named outright should be there.
    fn nothing_found(&self, window: Option<&Window>) -> WorkerError {
        let path = self.config.path.text();
        let place =
            self.storage.get().map_or_else(|| self.connection.name.clone(), |storage| storage.url().to_string());
        match window.filter(|_| self.by_window()) {
            Some(window) => {
                WorkerError::not_ready(error::SOURCE_MISSING, format!("nothing matches {path:?} for {window} yet"))
            }
            None if self.by_window() => {
                WorkerError::not_ready(error::SOURCE_MISSING, format!("nothing matches {path:?} yet"))
            }
            None if self.config.path.is_outright() => {
                WorkerError::never(error::SOURCE_MISSING, format!("there is no {path:?}"))
            }
            None => WorkerError::later(error::SOURCE_MISSING, format!("nothing is found at {path:?}")),
        }
        .at(place)
        .fix("correct `path`, which is relative to the connection's root, or deliver the file")
    }
}
