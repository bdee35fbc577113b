//! Source `postgres`: a table, a view or a query of a PostgreSQL database, read by binary COPY out of one snapshot. A window
//! is read when nothing can be added to it any more. It may not know sinks, tasks or the coordinator.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use schemars::schema_for;
use windrow_common::{
    error,
    manifest::Input,
    pipeline::{Connection, SourceSpec},
    window::{Axis, Window},
};

use super::{ParamError, RowStream, Slice, Source, SourceKind, tells_nothing};
use crate::{
    error::{Result, WorkerError},
    mapping::Origin,
    postgres::{CONNECTION, Session, Settings, source_error},
};

mod discover;
mod gate;
mod layout;
mod origin;
mod params;
mod preflight;
mod read;
mod select;
#[cfg(test)]
mod tests;

pub use discover::discover;
use gate::Gate;
use layout::Layout;
use params::{Config, Params};

pub const KIND: SourceKind = SourceKind {
    kind: "postgres",
    connections: &[CONNECTION],
    formats: &[],
    brings: &[],
    build,
    tells: tells_nothing,
    by_window: |_| false,
    schema: || schema_for!(Params),
};

/// What the server's own lists call our sessions.
const APPLICATION: &str = "windrow source";

fn build(spec: &SourceSpec) -> Result<Arc<dyn Source>, Vec<ParamError>> {
    let config = params::decode(&spec.params, spec.cursor.as_deref())?;
    Ok(Arc::new(PostgresSource { connection: spec.from.clone(), config: Arc::new(config), layout: Mutex::default() }))
}

/// A relation or a query behind one connection.
struct PostgresSource {
    connection: Connection,
    config: Arc<Config>,
    /// The columns as they were found last.
    layout: Mutex<Option<Arc<Layout>>>,
}

#[async_trait]
impl Source for PostgresSource {
    async fn schema(&self) -> Result<SchemaRef> {
        Ok(self.known_layout().await?.schema.clone())
    }

    async fn origins(&self) -> Result<Vec<Origin>> {
        let layout = self.known_layout().await?;
        Ok(layout.columns.iter().map(|column| origin::of(column, self.config.special)).collect())
    }

    /// There is no version of a table to pin: what is read later is another snapshot. So the columns are pinned, and it is
    /// made sure that a window of time has all its rows: any snapshot from now on has them.
    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>> {
        let session = self.session().await?;
        let layout = self.find_layout(&session).await?;
        if window.axis() == Axis::Time {
            // Asked first: a cursor of no use would wait for nothing.
            select::predicate(&layout, &self.config, window)?;
            let gate = Gate { connection: &self.connection, commit_lag: self.config.commit_lag };
            gate.wait(&session, window).await?;
        }
        let snapshot = session.client().query_one("SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text", &[]);
        let snapshot = snapshot.await.and_then(|row| row.try_get::<_, String>(0));
        let snapshot = snapshot.map_err(|cause| source_error(cause, session.place()))?;
        let version = format!("columns {}, not before snapshot {snapshot}", layout.digest);
        let name = format!("{} of {}", self.config.what.name(), session.place());
        Ok(vec![Slice { input: Input { name, bytes: 0, version: Some(version) } }])
    }

    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream> {
        let known = self.layout.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pinned = |layout: &Layout| {
            let version = slice.input.version.as_deref().unwrap_or_default();
            version.starts_with(&format!("columns {},", layout.digest))
        };
        let layout = known.filter(|layout| pinned(layout)).ok_or_else(|| changed(&slice.input.name))?;
        let session = self.session().await?;
        read::read(session, &self.config, layout, (&slice.input.name, window)).await
    }
}

impl PostgresSource {
    async fn session(&self) -> Result<Session> {
        let settings = Settings::of(&self.connection, APPLICATION)?;
        let session = Session::open(&settings).await.map_err(|cause| source_error(cause, settings.place()))?;
        preflight::prepare(&session, &self.config).await?;
        Ok(session)
    }

    /// The columns as they were found last; looked for if they never were.
    async fn known_layout(&self) -> Result<Arc<Layout>> {
        let known = self.layout.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(layout) => Ok(layout),
            None => self.find_layout(&self.session().await?).await,
        }
    }

    async fn find_layout(&self, session: &Session) -> Result<Arc<Layout>> {
        let layout = Arc::new(Layout::find(session, &self.config).await?);
        *self.layout.lock().unwrap_or_else(PoisonError::into_inner) = Some(layout.clone());
        Ok(layout)
    }
}

fn changed(name: &str) -> WorkerError {
    WorkerError::later(error::SOURCE_CHANGED, "the columns changed while they were being read").at(name)
}
