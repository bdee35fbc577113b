//! How the process tells what it does: logs on stderr, traces and metrics by OTLP when an endpoint is configured
//! (`OTEL_EXPORTER_OTLP_ENDPOINT`), metrics for Prometheus when an address is given.

use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
};

use axum::{
    Router,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::get,
};
use opentelemetry::{KeyValue, global, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, Layer, fmt::format, layer::SubscriberExt, util::SubscriberInitExt};
use windrow_common::shutdown::Shutdown;

use crate::logs::Traced;

/// What is being traced; flushed and closed by [`Telemetry::finish`].
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: SdkMeterProvider,
    registry: Registry,
}

/// Libraries that tell more than anybody wants to know.
const QUIET: &str = "buoyant_kernel=warn,deltalake_core=warn,datafusion=warn,h2=warn,hyper=warn,tower=warn";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Sets up logs, traces and metrics of the process. `default_level` holds unless `WINDROW_LOG` says otherwise.
pub fn start(service: &'static str, default_level: &str) -> anyhow::Result<Telemetry> {
    let exports = std::env::var_os(ENDPOINT).is_some_and(|endpoint| !endpoint.is_empty());
    let resource = resource(service);
    let traces = exports.then(|| trace_provider(resource.clone())).transpose()?;
    let registry = Registry::new();
    let metrics = meter_provider(resource, &registry, exports)?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_meter_provider(metrics.clone());

    let filter =
        EnvFilter::try_from_env("WINDROW_LOG").unwrap_or_else(|_| EnvFilter::new(format!("{default_level},{QUIET}")));
    let logs = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let logs = match io::stderr().is_terminal() {
        true => logs.with_target(false).boxed(),
        false => {
            let form = format().json().flatten_event(true).with_current_span(true).with_span_list(false);
            logs.json().event_format(Traced(form)).boxed()
        }
    };
    let spans = traces.as_ref().map(|provider| {
        // Spans of libraries would take up the room there is for spans of ours.
        let levels = EnvFilter::new("off,windrow=info");
        tracing_opentelemetry::layer().with_tracer(provider.tracer("windrow")).with_filter(levels)
    });
    tracing_subscriber::registry().with(logs.with_filter(filter)).with(spans).init();
    Ok(Telemetry { traces, metrics, registry })
}

/// Who tells: what `OTEL_RESOURCE_ATTRIBUTES` says beside our own.
fn resource(service: &'static str) -> Resource {
    let own = [
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    Resource::builder().with_attributes(own).with_service_name(service).build()
}

fn trace_provider(resource: Resource) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn meter_provider(resource: Resource, registry: &Registry, exports: bool) -> anyhow::Result<SdkMeterProvider> {
    let prometheus = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    let mut provider = SdkMeterProvider::builder().with_reader(prometheus).with_resource(resource);
    if exports {
        let exporter = opentelemetry_otlp::MetricExporter::builder().with_tonic().build()?;
        provider = provider.with_periodic_exporter(exporter);
    }
    Ok(provider.build())
}

impl Telemetry {
    /// Serves `/metrics` in Prometheus' text form until stopping begins.
    pub async fn serve_metrics(&self, address: SocketAddr, shutdown: &Shutdown) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let app = Router::new().route("/metrics", get(render)).with_state(self.registry.clone());
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            let _ = axum::serve(listener, app).with_graceful_shutdown(async move { stop.begun().await }).await;
        });
        Ok(bound)
    }

    /// Sends what is still to be sent.
    pub fn finish(self) {
        if let Some(traces) = self.traces {
            let _ = traces.shutdown();
        }
        let _ = self.metrics.shutdown();
    }
}

/// Prometheus from version 3 on reads no page whose type it does not know.
async fn render(State(registry): State<Registry>) -> Result<Response, String> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder.encode(&registry.gather(), &mut text).map_err(|error| error.to_string())?;
    Ok(([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
}
