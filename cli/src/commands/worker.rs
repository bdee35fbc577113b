//! `windrow worker`: one of a cluster's workers.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::ValueEnum;
use windrow_common::{
    clock::{Clock, SystemClock},
    quantity::Pause,
    shutdown::Shutdown,
};
use windrow_worker::{
    open::BuiltIn,
    run::{FlightConfig, WorkerConfig},
    session::{Dialer, Role},
};

use super::{exit::Exit, stop_signal, target::Coordinators};
use crate::{
    client::with_scheme,
    telemetry::Telemetry,
    worker::{MAX_PUTS, default_slots, new_id},
};

/// Run a worker
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: Coordinators,
    /// What it does: read sources, stage and commit to sinks, rewrite files
    #[arg(long, value_enum, env = "WINDROW_ROLES", value_delimiter = ',', default_value = "ingest,sink")]
    role: Vec<RoleArg>,
    /// Tasks at a time; one per core unless given
    #[arg(long, env = "WINDROW_SLOTS")]
    slots: Option<u32>,
    /// Address to take batches on, for the role `sink`
    #[arg(long, value_name = "HOST:PORT", env = "WINDROW_FLIGHT", default_value = "127.0.0.1:0")]
    flight: SocketAddr,
    /// Address other workers reach that at; the one it listens on unless given
    #[arg(long, value_name = "URL", env = "WINDROW_FLIGHT_ADVERTISE")]
    flight_advertise: Option<String>,
    /// Where transforms and sorts spill
    #[arg(long, value_name = "FOLDER", env = "WINDROW_SPILL")]
    spill: Option<PathBuf>,
    /// Name in lists and logs; a unique part is added at every start
    #[arg(long, env = "WINDROW_NAME", default_value = "worker")]
    name: String,
    /// Serve metrics for Prometheus on this address
    #[arg(long, value_name = "HOST:PORT", env = "WINDROW_METRICS")]
    metrics: Option<SocketAddr>,
    /// How long running tasks may go on after the worker was told to stop
    #[arg(long, default_value = "25s")]
    drain: Pause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    Ingest,
    Compact,
    Sink,
}

/// How long stopping may take besides the drain.
const GRACE: Duration = Duration::from_secs(10);

pub async fn run(args: &Args, telemetry: &Telemetry) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if let Some(metrics) = args.metrics {
        telemetry.serve_metrics(metrics, &shutdown).await?;
    }
    let config = config(args)?;
    let roles = config.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(",");
    tracing::info!(worker = %config.id, roles, slots = config.slots, "worker");
    let work = windrow_worker::run::run(config, clock, shutdown.clone());
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => return Ok(ended.map(|()| Exit::Ok)?),
        () = stop_signal() => {}
    }
    shutdown.begin();
    let _ = tokio::time::timeout(args.drain.0 + GRACE, work).await;
    shutdown.finish(GRACE).await;
    Ok(Exit::Ok)
}

fn config(args: &Args) -> anyhow::Result<WorkerConfig> {
    let roles: Vec<Role> = args
        .role
        .iter()
        .map(|role| match role {
            RoleArg::Ingest => Role::Ingest,
            RoleArg::Compact => Role::Compact,
            RoleArg::Sink => Role::Sink,
        })
        .collect();
    let flight = roles.contains(&Role::Sink).then(|| FlightConfig {
        bind: args.flight,
        advertised: args.flight_advertise.clone(),
        tls: None,
    });
    Ok(WorkerConfig {
        id: new_id(&args.name)?,
        roles,
        slots: args.slots.unwrap_or_else(default_slots),
        coordinators: Dialer::tcp(args.cluster.coordinator.iter().map(|address| with_scheme(address)).collect(), None),
        opener: Arc::new(BuiltIn),
        flight,
        network: None,
        peer_tls: None,
        spill_dir: args.spill.clone(),
        max_puts: MAX_PUTS,
        drain: args.drain.0,
    })
}
