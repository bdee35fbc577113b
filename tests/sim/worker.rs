//! A worker's host: everything `windrow worker` runs, with the simulated network, source and object store in place of
//! the machine's.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rand::Rng;
use tracing::Instrument;
use url::Url;
use windrow_common::{error, pipeline::Pipeline, shutdown::Shutdown};
use windrow_worker::{
    error::{Result, WorkerError},
    open::Opener,
    run::{self, FlightConfig, WorkerConfig},
    session::{Dialer, Role},
    sink::{self, Sink},
    source::{self, Source},
    storage::Storage,
};

use crate::{bucket::Bucket, coordinator, net, source::Unreliable, world::World};

const FLIGHT_PORT: u16 = 7071;

/// What a worker on a host opens.
struct Simulated {
    world: Arc<World>,
    host: String,
}

impl Opener for Simulated {
    fn source(&self, pipeline: &Pipeline) -> Result<Arc<dyn Source>> {
        let inner = (source::synthetic::KIND.build)(&pipeline.source)
            .map_err(|errors| WorkerError::never(error::BAD_VALUE, format!("{errors:?}")))?;
        let require = pipeline.readiness.require.clone();
        Ok(Arc::new(Unreliable { inner, require, world: self.world.clone(), host: self.host.clone() }))
    }

    fn sink(&self, pipeline: &Pipeline) -> Result<Arc<dyn Sink>> {
        let root = root(pipeline);
        let bucket = Bucket::new(self.world.clone(), self.host.clone(), &root);
        let url = Url::parse(&format!("memory:///{root}/")).unwrap();
        let clock = Arc::new(self.world.clock(&self.host));
        sink::files::over(pipeline, Storage::over(Arc::new(bucket), url), clock)
            .map_err(|errors| WorkerError::never(error::BAD_VALUE, format!("{errors:?}")))
    }
}

/// The place a pipeline writes to.
pub(crate) fn root(pipeline: &Pipeline) -> String {
    pipeline.sink.params["path"].as_str().unwrap_or_default().to_owned()
}

pub(crate) async fn host(world: Arc<World>, name: String) -> turmoil::Result {
    let start = world.next_start();
    let coordinators = (0..world.plan.coordinators).map(|n| coordinator::address(&crate::run::coordinator(n)));
    let mut coordinators: Vec<String> = coordinators.collect();
    let turn = world.draw(|rng| rng.random_range(0..coordinators.len()));
    coordinators.rotate_left(turn);
    let network = Arc::new(net::Simulated { host: name.clone() });
    let config = WorkerConfig {
        id: format!("{name}-{start:08}").parse()?,
        roles: vec![Role::Ingest, Role::Sink],
        slots: 3,
        coordinators: Dialer::over(coordinators, network.clone()),
        opener: Arc::new(Simulated { world: world.clone(), host: name.clone() }),
        flight: Some(FlightConfig {
            bind: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), FLIGHT_PORT),
            advertised: None,
            tls: None,
        }),
        network: Some(network),
        peer_tls: None,
        spill_dir: None,
        max_puts: 8,
        drain: Duration::from_secs(3),
    };
    let shutdown = Shutdown::new();
    world.started(&name, shutdown.clone());
    let span = tracing::info_span!("worker", name);
    run::run(config, Arc::new(world.clock(&name)), shutdown).instrument(span).await?;
    Ok(())
}
