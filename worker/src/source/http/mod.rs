//! Source `http`: the records of a JSON API, page by page. A window's records are asked for by placeholders in the
//! request, or chosen from what comes by a cursor column. It may not know sinks, tasks or the coordinator.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use windrow_common::{manifest::Input, pipeline::SourceSpec, window::Window};

use super::{ParamError, RowStream, Slice, Source, SourceKind, decode::types::schema_of, tells_nothing};
use crate::{connection, error::Result, template::names_window};

mod course;
mod link;
mod pace;
mod page;
mod params;
mod pointer;
mod read;
mod retry;
mod service;
#[cfg(test)]
mod tests;

use params::{Config, Connection, Params, Pin};
use service::Service;

pub const KIND: SourceKind = SourceKind {
    kind: "http",
    connections: &["http"],
    formats: &[],
    brings: &[connection::kind::<Connection>("http")],
    build,
    tells: tells_nothing,
    by_window,
    proves: |_, _| false,
    keys: false,
    schema: || schema_for!(Params),
};

fn build(spec: &SourceSpec) -> Result<Arc<dyn Source>, Vec<ParamError>> {
    let config = params::decode(spec)?;
    Ok(Arc::new(HttpSource {
        connection: spec.from.name.clone(),
        schema: schema_of(&config.columns),
        config: Arc::new(config),
        service: OnceLock::new(),
        unversioned: AtomicBool::new(false),
    }))
}

fn by_window(spec: &SourceSpec) -> bool {
    let named = |value: &Value| value.as_str().is_some_and(names_window);
    let query = spec.params.get("query").and_then(Value::as_object);
    spec.params.get("path").is_some_and(named) || query.is_some_and(|query| query.values().any(named))
}

/// What an API has at a path.
struct HttpSource {
    /// Its name.
    connection: String,
    config: Arc<Config>,
    schema: SchemaRef,
    /// Opened at first use: secrets are resolved where they are used.
    service: OnceLock<Arc<Service>>,
    /// The API was seen to tell no versions, so it is not asked for them again.
    unversioned: AtomicBool,
}

#[async_trait]
impl Source for HttpSource {
    async fn schema(&self) -> Result<SchemaRef> {
        Ok(self.schema.clone())
    }

    /// One slice: pages follow each other and cannot be shared out.
    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>> {
        let service = self.service()?;
        let ask = read::first_page(&service, &self.config, window)?;
        let mut version = None;
        if self.config.pin == Pin::Auto && !self.unversioned.load(Ordering::Relaxed) {
            version = service.version(&ask, None).await?;
            self.unversioned.store(version.is_none(), Ordering::Relaxed);
        }
        Ok(vec![Input { name: ask.shown, bytes: 0, version, into: None }.into()])
    }

    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream> {
        read::read(self.service()?, self.config.clone(), &slice.input, window)
    }

    fn by_window(&self) -> bool {
        self.config.by_window()
    }
}

impl HttpSource {
    fn service(&self) -> Result<Arc<Service>> {
        if let Some(service) = self.service.get() {
            return Ok(service.clone());
        }
        let opened = Arc::new(Service::open(&self.connection, &self.config.connection)?);
        Ok(self.service.get_or_init(|| opened).clone())
    }
}
