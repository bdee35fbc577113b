//! Source `postgres`: a table, a view or a query of a PostgreSQL database, read by binary COPY out of one snapshot. A window
//! is read when nothing can be added to it any more. It may not know sinks, tasks or the coordinator.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use schemars::schema_for;
use windrow_common::{
    error,
    manifest::Input,
    pipeline::{Connection, SourceSpec},
    window::{Axis, Window},
};

use super::{ParamError, RowStream, Slice, Source, SourceKind, tells_count};
use crate::{
    error::{Result, WorkerError},
    mapping::Origin,
    postgres::{CONNECTION, Session, Settings, source_error},
    verbatim::Verbatim,
};

mod cut;
mod desk;
mod discover;
mod gate;
mod layout;
mod origin;
mod params;
mod position;
mod preflight;
mod prove;
mod read;
mod select;
#[cfg(test)]
mod tests;
mod verbatim;

use cut::Part;
use desk::{Desk, Lying};
pub use discover::discover;
use gate::Gate;
use layout::Layout;
use params::{Config, Params};
use select::Values;

pub const KIND: SourceKind = SourceKind {
    kind: "postgres",
    connections: &[CONNECTION],
    formats: &[],
    brings: &[],
    build,
    tells: tells_count,
    by_window: |_| false,
    proves: |_, _| true,
    keys: true,
    schema: || schema_for!(Params),
};

/// What the server's own lists call our sessions.
const APPLICATION: &str = "windrow source";

fn build(spec: &SourceSpec) -> Result<Arc<dyn Source>, Vec<ParamError>> {
    let config = params::decode(&spec.params, spec.cursor.as_deref())?;
    Ok(Arc::new(PostgresSource {
        connection: spec.from.clone(),
        config: Arc::new(config),
        not_before: None,
        layout: Mutex::default(),
    }))
}

/// A relation or a query behind one connection.
struct PostgresSource {
    connection: Connection,
    config: Arc<Config>,
    /// What has to be there before anything is read.
    not_before: Option<String>,
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
        Ok(layout.columns.iter().map(|column| origin::of(column, self.config.special())).collect())
    }

    /// There is no version of a table to pin: what is read later is another snapshot. So the columns are pinned, and it is
    /// made sure that a window of time has all its rows: any snapshot from now on has them.
    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>> {
        let session = self.session().await?;
        if let Some(written) = &self.not_before {
            position::reach(&session, written).await?;
        }
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
        let input = Input { name, bytes: 0, version: Some(version), into: None };
        Ok(vec![Slice { open: Some(Arc::new(Desk::with(session))), ..Slice::from(input) }])
    }

    /// The rows themselves are counted and hashed by the server, in the snapshot they are read in afterwards: no counter of a
    /// server's is a proof.
    async fn prove(&self, slices: &[Slice], window: &Window) -> Result<Option<String>> {
        let Some((desk, mut session, layout)) = self.begin(slices).await? else { return Ok(None) };
        let state = prove::state(&mut session, (&layout, &self.config), window).await?;
        desk.lay(Lying { session, began: true });
        Ok(Some(state))
    }

    async fn prove_each(&self, slices: &[Slice], windows: &[Window]) -> Result<Option<Vec<String>>> {
        let Some((desk, mut session, layout)) = self.begin(slices).await? else { return Ok(None) };
        let states = prove::states(&mut session, (&layout, &self.config), windows).await?;
        desk.lay(Lying { session, began: true });
        Ok(Some(states))
    }

    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream> {
        self.read_as(Values::Decoded, slice, window).await
    }

    async fn verbatim(&self) -> Result<Result<Verbatim, String>> {
        Ok(self.known_layout().await?.verbatim.clone())
    }

    async fn read_verbatim(&self, slice: &Slice, window: &Window) -> Result<RowStream> {
        self.read_as(Values::AsTheyAre, slice, window).await
    }

    /// In a transaction of its own, so that what came after the rows were read is counted too.
    async fn count(&self, window: &Window) -> Result<Option<u64>> {
        let session = self.session().await?;
        let layout = self.known_layout().await?;
        let statement = select::count(&layout, &self.config, window)?;
        let count = session.client().query_one(&statement, &[]).await.and_then(|row| row.try_get::<_, i64>(0));
        let count = count.map_err(|cause| source_error(cause, session.place()))?;
        Ok(u64::try_from(count).ok())
    }

    /// A full load of a table is cut; windows of time are found by their index, and are as small as is wanted.
    async fn cut(&self, slice: &Slice, window: &Window) -> Result<Vec<Slice>> {
        let none = Ok(Vec::new());
        let (Axis::Version, Some(desk)) = (window.axis(), Desk::of(slice)) else { return none };
        // What was proven is what is cut.
        let Some(Lying { session, began }) = desk.take() else { return none };
        let Some(size) = cut::count(&session, &self.config).await? else {
            desk.lay(Lying { session, began });
            return none;
        };
        if !began {
            read::begin(&session, None).await?;
        }
        let layout = self.find_layout(&session).await?;
        let parts = size.cut(&session, &layout.digest).await?;
        desk.lay(Lying { session, began: true });
        let shards = parts.iter().map(|part| Ok(shard(&slice.input.name, part, None, part.text()?)));
        let mut shards = shards.collect::<Result<Vec<_>>>()?;
        if let Some(first) = shards.first_mut() {
            first.open.clone_from(&slice.open);
        }
        Ok(shards)
    }

    async fn written(&self) -> Result<String> {
        let session = self.session().await?;
        position::written(&session, &self.connection).await
    }

    fn keys(&self, columns: &[String], written: &str) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(Self {
            connection: self.connection.clone(),
            config: Arc::new(self.config.of_columns(columns)),
            not_before: Some(written.to_owned()),
            layout: Mutex::default(),
        }))
    }

    async fn shard(&self, text: &str) -> Result<Slice> {
        let part = Part::parse(text)?;
        let session = self.session().await?;
        let name = format!("{} of {}", self.config.what.name(), session.place());
        match self.find_layout(&session).await?.digest == part.columns {
            true => Ok(shard(&name, &part, Some(Desk::with(session)), text.to_owned())),
            false => Err(changed(&name)),
        }
    }
}

fn shard(name: &str, part: &Part, desk: Option<Desk>, text: String) -> Slice {
    let version = format!("columns {}, {}", part.columns, part.name());
    let input = Input { name: name.to_owned(), bytes: 0, version: Some(version), into: None };
    Slice { input, part: Some(text), open: desk.map(|desk| Arc::new(desk) as Arc<dyn Any + Send + Sync>) }
}

impl PostgresSource {
    async fn read_as(&self, values: Values, slice: &Slice, window: &Window) -> Result<RowStream> {
        let known = self.layout.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let layout = known.filter(|layout| is_pinned(slice, layout)).ok_or_else(|| changed(&slice.input.name))?;
        let part = slice.part.as_deref().map(Part::parse).transpose()?;
        let desk = Desk::of(slice);
        // The session that looked is the one that reads: a task has one at a time.
        let (session, began) = match desk.as_ref().and_then(|desk| desk.take()) {
            Some(Lying { session, began }) => (session, began),
            None => (self.session().await?, false),
        };
        // Whoever cut keeps its snapshot for the others.
        let keep = desk.filter(|_| began && part.is_some());
        if !began {
            read::begin(&session, part.as_ref()).await?;
        }
        let what = read::What { input: &slice.input.name, window, part: part.as_ref(), values };
        read::read(session, &self.config, layout, what, keep).await
    }

    /// Begins the transaction in which the slice is proven and read; `None` where it has begun, or nobody keeps a session for it.
    async fn begin(&self, slices: &[Slice]) -> Result<Option<(Arc<Desk>, Session, Arc<Layout>)>> {
        let [slice] = slices else { return Ok(None) };
        let Some(desk) = Desk::of(slice) else { return Ok(None) };
        let Some(Lying { session, began: false }) = desk.take() else { return Ok(None) };
        read::begin(&session, None).await?;
        let layout = self.find_layout(&session).await?;
        match is_pinned(slice, &layout) {
            true => Ok(Some((desk, session, layout))),
            false => Err(changed(&slice.input.name)),
        }
    }

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

/// Whether the slice was resolved when the columns were these.
fn is_pinned(slice: &Slice, layout: &Layout) -> bool {
    let version = slice.input.version.as_deref().unwrap_or_default();
    version.starts_with(&format!("columns {},", layout.digest))
}

fn changed(name: &str) -> WorkerError {
    WorkerError::later(error::SOURCE_CHANGED, "the columns changed while they were being read").at(name)
}
