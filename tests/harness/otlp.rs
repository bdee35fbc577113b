//! A receiver of telemetry: what real processes export over OTLP/gRPC, kept for tests to look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{self as otlp, span::SpanKind, status::StatusCode},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// Most bytes of one export.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A running receiver; it ends when it is dropped.
pub struct Receiver {
    endpoint: String,
    seen: Seen,
    server: JoinHandle<()>,
}

/// A span as it was exported, with who exported it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub service: String,
    /// What else its process says of itself.
    pub resource: BTreeMap<String, String>,
    pub trace: String,
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    pub name: String,
    pub kind: SpanKind,
    pub start_ns: u64,
    pub end_ns: u64,
    pub attributes: BTreeMap<String, String>,
    /// Trace and span of each.
    pub links: Vec<(String, String)>,
    pub failed: bool,
}

impl Span {
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// Whether it links that span.
    pub fn links_to(&self, other: &Self) -> bool {
        self.links.iter().any(|link| *link == (other.trace.clone(), other.id.clone()))
    }
}

impl Receiver {
    /// Listens on a free port of the loopback address.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let seen = Seen::default();
        let traces = TraceServiceServer::new(seen.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let metrics = MetricsServiceServer::new(seen.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let serve = Server::builder().add_service(traces).add_service(metrics);
        let server = tokio::spawn(async move {
            if let Err(error) = serve.serve_with_incoming(TcpListenerStream::new(listener)).await {
                eprintln!("the receiver of telemetry ended: {error}");
            }
        });
        Ok(Self { endpoint, seen, server })
    }

    /// What a process's environment needs so that it exports here, and soon.
    pub fn environment(&self) -> Vec<(String, String)> {
        let set = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ];
        set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    pub fn spans(&self) -> Vec<Span> {
        self.seen.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans of one trace, oldest first.
    pub fn trace(&self, id: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace == id);
        spans.sort_by_key(|span| span.start_ns);
        spans
    }

    /// Names of the metrics that came.
    pub fn metrics(&self) -> BTreeSet<String> {
        self.seen.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what came is as wanted; the spans then.
    pub async fn wait_until(&self, patience: Duration, wanted: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let spans = self.spans();
            if wanted(&spans) {
                return Ok(spans);
            }
            if tokio::time::Instant::now() > deadline {
                let mut names: BTreeMap<&str, usize> = BTreeMap::new();
                spans.iter().for_each(|span| *names.entry(span.name.as_str()).or_default() += 1);
                bail!("what was waited for did not come; {} spans did: {names:?}", spans.len());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, Default)]
struct Seen {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<BTreeSet<String>>>,
}

#[tonic::async_trait]
impl TraceService for Seen {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for process in request.into_inner().resource_spans {
            let resource = attributes(process.resource.unwrap_or_default().attributes);
            let spans = process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            seen.extend(spans.map(|span| read(span, &resource)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Seen {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let processes = request.into_inner().resource_metrics;
        let metrics = processes.into_iter().flat_map(|process| process.scope_metrics).flat_map(|scope| scope.metrics);
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).extend(metrics.map(|metric| metric.name));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn read(span: otlp::Span, resource: &BTreeMap<String, String>) -> Span {
    Span {
        service: resource.get("service.name").cloned().unwrap_or_default(),
        resource: resource.clone(),
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
