//! `windrow coordinator`: one of a cluster's coordinators.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use windrow_common::{
    clock::{Clock, SystemClock},
    quantity::Pause,
    shutdown::Shutdown,
};
use windrow_coordinator::{
    api,
    controller::Timing,
    run::{self as coordinator, Standing},
    store::{EtcdOptions, EtcdStore, MetaStore},
};

use crate::{
    client::with_scheme,
    commands::{exit::Exit, failure::Mistake, stop_signal},
    telemetry::Telemetry,
};

/// Run a coordinator; of several one leads, the others stand by
#[derive(Debug, clap::Args)]
pub struct Args {
    /// etcd endpoints
    #[arg(
        long,
        value_name = "URL",
        env = "WINDROW_ETCD",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    etcd: Vec<String>,
    /// Name of the cluster: the part of the key space it lives in
    #[arg(long, env = "WINDROW_CLUSTER", default_value = "default")]
    cluster: String,
    /// Address to serve on
    #[arg(long, value_name = "HOST:PORT", env = "WINDROW_LISTEN", default_value = "127.0.0.1:7440")]
    listen: SocketAddr,
    /// Address others reach this coordinator at; the one it listens on unless given
    #[arg(long, value_name = "HOST:PORT", env = "WINDROW_ADVERTISE")]
    advertise: Option<String>,
    /// Serve metrics for Prometheus on this address
    #[arg(long, value_name = "HOST:PORT", env = "WINDROW_METRICS")]
    metrics: Option<SocketAddr>,
    /// How long a worker may be silent before its claims pass on
    #[arg(long, default_value = "30s")]
    lease: Pause,
    /// How often workers are to speak
    #[arg(long, default_value = "5s")]
    heartbeat: Pause,
    /// How often what attempts left behind is taken away from a sink
    #[arg(long, default_value = "1h")]
    sweep_every: Pause,
    /// How long a staged file is left alone
    #[arg(long, default_value = "24h")]
    sweep_grace: Pause,
}

/// How long stopping may take.
const GRACE: Duration = Duration::from_secs(20);

pub async fn run(args: &Args, telemetry: &Telemetry) -> anyhow::Result<Exit> {
    if args.heartbeat.0 * 3 > args.lease.0 {
        return Err(Mistake::usage("a lease is at least three heartbeats long"));
    }
    let shutdown = Shutdown::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = EtcdOptions { endpoints: args.etcd.clone(), ..EtcdOptions::default() };
    let store: Arc<dyn MetaStore> = Arc::new(EtcdStore::connect(options).await?);
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = args.advertise.clone().unwrap_or(listener.local_addr()?.to_string());
    if let Some(metrics) = args.metrics {
        telemetry.serve_metrics(metrics, &shutdown).await?;
    }
    tracing::info!(%address, cluster = args.cluster, "coordinator");

    let standing = Standing::new();
    let config = coordinator::Config {
        cluster: args.cluster.clone(),
        address: with_scheme(&address),
        timing: Timing {
            lease: args.lease.0,
            heartbeat: args.heartbeat.0,
            sweep_every: args.sweep_every.0,
            first_sweep: args.sweep_every.0.min(Timing::default().first_sweep),
            sweep_grace: args.sweep_grace.0,
            ..Timing::default()
        },
    };
    shutdown.spawn(coordinator::run(config, store, Arc::clone(&standing), clock, shutdown.clone()));
    let serve = api::serve(standing, TcpListenerStream::new(listener), shutdown.clone());
    let served = tokio::spawn(serve);
    stop_signal().await;
    shutdown.finish(GRACE).await;
    served.abort();
    Ok(Exit::Ok)
}
