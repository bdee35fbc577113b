//! The hop by hand and over loopback.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, path::Path as FsPath, sync::Arc};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use windrow_common::{
    claim::Token,
    clock::{Clock, SystemClock},
    error,
    id::TaskId,
    manifest::{Counts, Manifest, StagedFile, WriteMode},
    pipeline::Pipeline,
    ticket::{Ticket, TicketKey, TicketKeys, sha256},
    window::{Axis, Window},
};

use super::*;
use crate::{
    error::{Result, WorkerError},
    sink::{Sink, files},
    stage::BatchStream,
};

mod breaking;
mod carrying;
mod refusing;

/// A sink worker, and both ways to it.
struct House {
    folder: tempfile::TempDir,
    keys: TicketKeys,
    /// The pipeline's JSON.
    pipeline: Bytes,
    address: SocketAddr,
    local: Hop,
    remote: Hop,
}

impl House {
    async fn new(format: &str) -> Self {
        Self::with_puts(format, 4).await
    }

    async fn with_puts(format: &str, max_puts: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline(folder.path(), format);
        let sink = (files::KIND.build)(&pipeline).unwrap();
        let pipeline = Bytes::from(serde_json::to_vec(&pipeline).unwrap());
        let keys = TicketKeys::new(vec![TicketKey::random()]);
        let sinks: SinkResolver = Arc::new(move |_: &Pipeline| Ok(Arc::clone(&sink)));
        let service = Arc::new(StageService::new(sinks, keys.clone(), Arc::new(SystemClock::new()), max_puts));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = server_limits(Server::builder()).add_service(flight_server(Arc::clone(&service)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let remote = Hop::Remote(FlightHop::new(endpoint(address).connect_lazy()));
        Self { folder, keys, pipeline, address, local: Hop::Local(service), remote }
    }

    fn hops(&self) -> [(&'static str, &Hop); 2] {
        [("local", &self.local), ("remote", &self.remote)]
    }

    fn sink(&self) -> Arc<dyn Sink> {
        let pipeline: Pipeline = serde_json::from_slice(&self.pipeline).unwrap();
        (files::KIND.build)(&pipeline).unwrap()
    }

    fn ticket(&self) -> Ticket {
        let pipeline: Pipeline = serde_json::from_slice(&self.pipeline).unwrap();
        Ticket {
            task: TaskId::from_bytes([7; 16]),
            token: Token { epoch: 1, revision: 42 },
            attempt: 1,
            sink: pipeline.sink.id(),
            pipeline: pipeline.name,
            window: Window::new(Axis::Time, 0, 10).unwrap(),
            pipeline_sha256: sha256(&self.pipeline),
            expires_unix_ms: SystemClock::new().now().as_millisecond() + 60_000,
        }
    }

    fn sign(&self, ticket: &Ticket) -> Pass {
        Pass { ticket: self.keys.sign(ticket).unwrap().into(), pipeline: self.pipeline.clone() }
    }

    fn pass(&self) -> Pass {
        self.sign(&self.ticket())
    }

    fn read(&self, file: &StagedFile) -> Vec<u8> {
        std::fs::read(self.folder.path().join(&file.path)).unwrap()
    }

    fn staged_files(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("_windrow/stage")) else { return 0 };
        entries.count()
    }

    /// A put of a few rows still works.
    async fn assert_healthy(&self) {
        for (name, hop) in self.hops() {
            let batch = numbers(0..10);
            let files = hop.put(&self.pass(), Part::Rows, batch.schema(), once(batch)).await.unwrap().files;
            assert_eq!(files[0].rows, 10, "{name}");
        }
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    endpoint_limits(Endpoint::from_shared(format!("http://{address}")).unwrap())
}

fn pipeline(folder: &FsPath, format: &str) -> Pipeline {
    let pipeline = json!({
        "name": "flights",
        "pattern": "incremental",
        "source": { "from": { "name": "in", "type": "synthetic" } },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": folder },
            "format": format, "write": "append", "path": "", "target_file_size": "1GiB",
        },
    });
    serde_json::from_value(pipeline).unwrap()
}

fn draft(ticket: &Ticket, files: Vec<StagedFile>) -> Manifest {
    Manifest {
        task: ticket.task,
        token: ticket.token,
        attempt: ticket.attempt,
        pipeline: ticket.pipeline.clone(),
        sink: ticket.sink.clone(),
        window: ticket.window,
        write: WriteMode::Append,
        schema: json!({}),
        files,
        dead_letters: Vec::new(),
        inputs: Vec::new(),
        counts: Counts { rows_read: 10, rows_written: 999, ..Counts::default() },
    }
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let texts: Vec<String> = range.clone().map(|n| format!("{n:0100}")).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from_iter_values(range)) as ArrayRef, true),
        ("text", Arc::new(StringArray::from_iter_values(texts)), true),
    ])
    .unwrap()
}

fn once(batch: RecordBatch) -> BatchStream {
    many(vec![batch])
}

fn many(batches: Vec<RecordBatch>) -> BatchStream {
    stream::iter(batches.into_iter().map(Ok)).boxed()
}
