//! Sink workers as far as the hop knows them: the real service over loopback, with a sink that discards what it is given
//! or with the sink `delta`.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::TryStreamExt;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use windrow_common::{
    clock::SystemClock,
    error,
    intent::{Committed, IntentBody},
    manifest::{Digest, StagedFile},
};
use windrow_worker::{
    error::{Result as WorkerResult, WorkerError},
    flight::{FlightHop, Hop, StageService, endpoint_limits, flight_server, server_limits},
    open::{BuiltIn, Connectors},
    sink::{Applied, Next, Sink},
    stage::{Attempt, BatchStream, Changes, FileFormat, Layout},
    storage::Storage,
};

use super::data;
use crate::{
    other::say_port,
    pass::{self, Claims},
};

/// The way to a sink worker on this machine.
pub(super) fn hop(port: u16) -> Result<Hop> {
    let endpoint = endpoint_limits(Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?);
    Ok(Hop::Remote(FlightHop::new(endpoint.connect_lazy())))
}

/// Takes rows, looks at them for so long a batch, and forgets them.
pub(super) async fn serve_discarding(pause: Duration) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let claims = Claims::of(pass::pipeline(folder.path(), "delta", "append", json!({})))?;
    let storage =
        Connectors::new(Arc::new(BuiltIn), Arc::new(SystemClock::new())).sink(&claims.pipeline)?.storage().clone();
    let sink: Arc<dyn Sink> = Arc::new(Discard { storage, pause });
    let resolver = Arc::new(move |_: &_| Ok(sink.clone()));
    serve(StageService::new(resolver, claims.keys, Arc::new(SystemClock::new()), 1)).await
}

/// Stages Parquet as the sink `delta` wants it.
pub(super) async fn serve_staging(folder: &Path) -> Result<()> {
    let claims = Claims::of(pass::pipeline(folder, "delta", "append", json!({})))?;
    let service = staging(&claims)?;
    serve(Arc::into_inner(service).ok_or_else(|| anyhow::anyhow!("somebody else has the service"))?).await
}

/// The service of a worker that stages for these claims.
pub(super) fn staging(claims: &Claims) -> Result<Arc<StageService>> {
    let connectors = Connectors::new(Arc::new(BuiltIn), Arc::new(SystemClock::new()));
    let resolver = Arc::new(move |pipeline: &_| connectors.sink(pipeline));
    Ok(Arc::new(StageService::new(resolver, claims.keys.clone(), Arc::new(SystemClock::new()), 1)))
}

async fn serve(service: StageService) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say_port(listener.local_addr()?.port())?;
    let server = server_limits(Server::builder()).add_service(flight_server(Arc::new(service)));
    Ok(server.serve_with_incoming(TcpListenerStream::new(listener)).await?)
}

/// A sink that counts rows and sums up their numbers.
struct Discard {
    storage: Storage,
    pause: Duration,
}

#[async_trait]
impl Sink for Discard {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    async fn layout(&self, schema: SchemaRef) -> WorkerResult<Layout> {
        Ok(Layout {
            format: FileFormat::JsonLines,
            schema,
            partition_by: Vec::new(),
            target_bytes: u64::MAX,
            folder: String::new(),
            cursor: None,
            stats: false,
            changes: Changes::default(),
        })
    }

    async fn stage(&self, _: &Layout, attempt: &Attempt, mut rows: BatchStream) -> WorkerResult<Vec<StagedFile>> {
        let (mut count, mut sum) = (0, 0);
        while let Some(batch) = rows.try_next().await? {
            (count, sum) = (count + batch.num_rows() as u64, sum + data::sum(&batch));
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        Ok(vec![StagedFile {
            path: "nowhere".to_owned(),
            bytes: 0,
            sha256: Digest([0; 32]),
            rows: count,
            window: attempt.window,
            partition: Default::default(),
            stats: Some(json!({ "sum": sum })),
            clustered: None,
        }])
    }

    async fn probe(&self) -> WorkerResult<Option<Committed>> {
        Ok(None)
    }

    async fn prepare(&self, _: Next) -> WorkerResult<IntentBody> {
        Err(nothing())
    }

    async fn commit(&self, _: &IntentBody, _: &Digest) -> WorkerResult<Applied> {
        Err(nothing())
    }

    async fn abort(&self, _: &IntentBody, _: &Digest) -> WorkerResult<Applied> {
        Err(nothing())
    }

    async fn referenced(&self) -> WorkerResult<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }
}

fn nothing() -> WorkerError {
    WorkerError::never(error::SINK_UNSUPPORTED, "what was discarded cannot be committed")
}
