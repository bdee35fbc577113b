//! A worker from start to stop: everything is built first, so that what is wrong with the configuration shows before
//! anything runs; then everything runs until it is told to stop.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::{ClientTlsConfig, Server, ServerTlsConfig};
use windrow_common::{
    clock::Clock,
    error,
    id::WorkerId,
    shutdown::Shutdown,
    ticket::{TicketKey, TicketKeys},
};
use windrow_proto::v1;

use crate::{
    attempt::Attempts,
    commit::Committer,
    compact::Compact,
    error::{Result, WorkerError},
    flight::{StageService, flight_server, server_limits},
    ingest::{Hops, Ingest},
    look::look,
    network::{Incoming, Network},
    open::{Connectors, Opener},
    session::{self, Dialer, Identity, LeaderTime, Order, Role, Session},
    telemetry::Metrics,
};

#[cfg(test)]
mod tests;

/// Most slots: a put and its dead letters of each must fit the streams of one Flight connection.
const MAX_SLOTS: u32 = 100;
/// How long commits and streams of others may take to end after the session did.
const LAST_WORK: Duration = Duration::from_secs(5);

/// A worker's settings.
pub struct WorkerConfig {
    /// Unique per start of the process.
    pub id: WorkerId,
    pub roles: Vec<Role>,
    /// Most tasks at a time, 1 to 100; of no meaning without the role to ingest or to compact.
    pub slots: u32,
    pub coordinators: Dialer,
    /// What sources and sinks are opened by: [`crate::open::BuiltIn`] unless something is put in their place.
    pub opener: Arc<dyn Opener>,
    /// Present to let other workers stage here; needs the sink role.
    pub flight: Option<FlightConfig>,
    /// What Flight goes over; TCP if `None`.
    pub network: Option<Arc<dyn Network>>,
    /// How other workers' Flight services are reached.
    pub peer_tls: Option<ClientTlsConfig>,
    /// Where transforms and sorts spill; the system's temporary folder if `None`.
    pub spill_dir: Option<PathBuf>,
    /// Most streams staged at a time.
    pub max_puts: usize,
    /// How long running attempts may go on after the worker was told to stop.
    pub drain: Duration,
}

/// A sink worker's Flight service.
pub struct FlightConfig {
    pub bind: SocketAddr,
    /// The address other workers reach it by; `http://` and the bound address if `None`.
    pub advertised: Option<String>,
    pub tls: Option<ServerTlsConfig>,
}

/// Runs a worker until `shutdown` begins and what it does has ended.
///
/// # Errors
/// `USAGE` for a configuration that makes no sense, `FLIGHT_BROKEN` if the Flight address cannot be bound. Afterwards it
/// does not fail: without a coordinator it goes on looking for one.
pub async fn run(config: WorkerConfig, clock: Arc<dyn Clock>, shutdown: Shutdown) -> Result<()> {
    let worker = Worker::build(config, clock).await?;
    worker.run(shutdown).await;
    Ok(())
}

/// Everything a worker consists of, not yet running.
struct Worker {
    session: Session,
    orders: tokio::sync::mpsc::Receiver<Order>,
    keys: (watch::Receiver<Vec<v1::TicketKey>>, TicketKeys),
    attempts: Arc<Attempts>,
    committer: Arc<Committer>,
    connectors: Arc<Connectors>,
    flight: Option<Flight>,
    drain: Duration,
}

struct Flight {
    listener: Listener,
    tls: Option<ServerTlsConfig>,
    service: Arc<StageService>,
}

enum Listener {
    Tcp(TcpListener),
    Other(Incoming),
}

impl Worker {
    async fn build(config: WorkerConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let sink_role = config.roles.contains(&Role::Sink);
        check(&config)?;
        let metrics = Metrics::new();
        let connectors = Arc::new(Connectors::new(config.opener, clock.clone()));
        let keys = TicketKeys::default();
        let leader_time = LeaderTime::new(clock.clone());
        let service = sink_role.then(|| stage_service(&connectors, &keys, leader_time.clone(), config.max_puts));
        let (flight, endpoint) = match (config.flight, &service) {
            (Some(settings), Some(service)) => {
                let bound = bind(settings, service.clone(), config.network.as_deref()).await;
                bound.map(|(flight, endpoint)| (Some(flight), Some(endpoint)))?
            }
            _ => (None, None),
        };
        let identity = Identity {
            id: config.id.clone(),
            roles: config.roles,
            slots: config.slots,
            flight_endpoint: endpoint.clone(),
        };
        let (session, ends) = session::open_telling(leader_time, identity, config.coordinators, clock.clone());
        let hops = Hops::new(service, endpoint, config.peer_tls).over(config.network);
        let ingest = Ingest::new(connectors.clone(), hops, config.spill_dir.clone());
        let slots = usize::try_from(config.slots).unwrap_or(1);
        let who = (config.id.clone(), metrics.clone());
        let compact = Compact::new(connectors.clone(), config.spill_dir);
        let attempts = Arc::new(Attempts::new((ingest, compact), ends.reports, slots, clock.clone(), who));
        let committer = Arc::new(Committer::new(connectors.clone(), clock, config.id, metrics));
        let keys = (ends.ticket_keys, keys);
        Ok(Self { session, orders: ends.orders, keys, attempts, committer, connectors, flight, drain: config.drain })
    }

    async fn run(self, shutdown: Shutdown) {
        let Self { session, orders, keys, attempts, committer, connectors, flight, drain } = self;
        let last = CancellationToken::new();
        let work = TaskTracker::new();
        work.spawn(last.clone().run_until_cancelled_owned(take_keys(keys.0, keys.1)));
        let dispatch = dispatch(orders, (attempts, committer, connectors), work.clone());
        work.spawn(last.clone().run_until_cancelled_owned(dispatch));
        if let Some(flight) = flight {
            work.spawn(serve(flight, last.clone()));
        }
        session.run(shutdown.token().clone(), drain).await;
        last.cancel();
        work.close();
        if tokio::time::timeout(LAST_WORK, work.wait()).await.is_err() {
            tracing::warn!("work was left undone; it is found and finished by others");
        }
    }
}

fn check(config: &WorkerConfig) -> Result<()> {
    let wrong = |message: &str| Err(WorkerError::never(error::USAGE, message));
    let role = |role| config.roles.contains(&role);
    match () {
        () if config.roles.is_empty() => wrong("a worker needs at least one role"),
        () if role(Role::Compact) && !(1..=MAX_SLOTS).contains(&config.slots) => {
            wrong("a worker with the role `compact` has 1 to 100 slots")
        }
        () if role(Role::Ingest) && !(1..=MAX_SLOTS).contains(&config.slots) => {
            wrong("a worker with the role `ingest` has 1 to 100 slots")
        }
        () if config.flight.is_some() && !role(Role::Sink) => wrong("a Flight service needs the role `sink`"),
        () if role(Role::Sink) && config.max_puts == 0 => {
            wrong("a worker with the role `sink` stages at least one stream")
        }
        () => Ok(()),
    }
}

fn stage_service(
    connectors: &Arc<Connectors>,
    keys: &TicketKeys,
    leader_time: Arc<LeaderTime>,
    max_puts: usize,
) -> Arc<StageService> {
    let connectors = connectors.clone();
    let resolver = Arc::new(move |pipeline: &_| connectors.sink(pipeline));
    Arc::new(StageService::new(resolver, keys.clone(), leader_time, max_puts))
}

async fn bind(
    settings: FlightConfig,
    service: Arc<StageService>,
    network: Option<&dyn Network>,
) -> Result<(Flight, String)> {
    let unbound = |cause: std::io::Error| {
        WorkerError::never(error::FLIGHT_BROKEN, "the Flight address cannot be bound")
            .at(settings.bind.to_string())
            .because(cause)
            .fix("choose a free address of this machine")
    };
    let (bound, listener) = match network {
        None => {
            let listener = TcpListener::bind(settings.bind).await.map_err(unbound)?;
            (listener.local_addr().map_err(unbound)?, Listener::Tcp(listener))
        }
        Some(network) => {
            let (bound, incoming) = network.listen(settings.bind).await.map_err(unbound)?;
            (bound, Listener::Other(incoming))
        }
    };
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let endpoint = settings.advertised.unwrap_or_else(|| format!("{scheme}://{bound}"));
    Ok((Flight { listener, tls: settings.tls, service }, endpoint))
}

async fn serve(flight: Flight, stop: CancellationToken) {
    let mut server = server_limits(Server::builder());
    if let Some(tls) = flight.tls {
        server = match server.tls_config(tls) {
            Ok(server) => server,
            Err(error) => return tracing::error!(%error, "the Flight service has no usable certificate"),
        };
    }
    let router = server.add_service(flight_server(flight.service));
    let stop = stop.cancelled_owned();
    let served = match flight.listener {
        Listener::Tcp(tcp) => router.serve_with_incoming_shutdown(TcpListenerStream::new(tcp), stop).await,
        Listener::Other(incoming) => router.serve_with_incoming_shutdown(incoming, stop).await,
    };
    if let Err(error) = served {
        tracing::error!(%error, "the Flight service ended");
    }
}

/// Begins every order; the session bounds how many there are.
async fn dispatch(
    mut orders: tokio::sync::mpsc::Receiver<Order>,
    (attempts, committer, connectors): (Arc<Attempts>, Arc<Committer>, Arc<Connectors>),
    work: TaskTracker,
) {
    while let Some(order) = orders.recv().await {
        let (attempts, committer, connectors) = (attempts.clone(), committer.clone(), connectors.clone());
        match order {
            Order::Attempt(task, claim) => {
                work.spawn(async move {
                    attempts.run(&task, claim).await;
                });
            }
            Order::Prepare(asked, answer) => {
                work.spawn(async move { answer.prepared(committer.prepare(asked).await).await });
            }
            Order::SweepList(asked, answer) => {
                work.spawn(async move { answer.listed(committer.sweep_list(asked).await).await });
            }
            Order::SweepDelete(asked, answer) => {
                work.spawn(async move { answer.swept(committer.sweep_delete(asked).await).await });
            }
            Order::Recall(asked, answer) => {
                work.spawn(async move { answer.recalled(committer.recall(asked).await).await });
            }
            Order::ListVersions(asked, answer) => {
                work.spawn(async move { answer.versions(committer.versions(asked).await).await });
            }
            Order::CheckPin(asked, answer) => {
                work.spawn(async move { answer.pin_checked(committer.check_pin(asked).await).await });
            }
            Order::PlanCompaction(asked, answer) => {
                work.spawn(async move { answer.compaction_planned(committer.plan_compaction(asked).await).await });
            }
            Order::Notify(asked, answer) => {
                work.spawn(async move { answer.notified(committer.notify(asked).await).await });
            }
            Order::Look(asked, answer) => {
                work.spawn(async move { answer.looked(look(asked, &connectors).await).await });
            }
            Order::Commit(asked, answer) => {
                work.spawn(async move { answer.settled(committer.commit(asked).await).await });
            }
        }
    }
}

/// Keeps the keys tickets are verified with as the coordinator last gave them.
async fn take_keys(mut given: watch::Receiver<Vec<v1::TicketKey>>, keys: TicketKeys) {
    loop {
        let newest_first = given.borrow_and_update().clone();
        keys.replace(newest_first.iter().filter_map(usable).collect());
        if given.changed().await.is_err() {
            return;
        }
    }
}

fn usable(key: &v1::TicketKey) -> Option<TicketKey> {
    TicketKey::new(&key.id, &key.key)
        .inspect_err(|error| tracing::warn!(%error, id = key.id, "a ticket key was left out"))
        .ok()
}
