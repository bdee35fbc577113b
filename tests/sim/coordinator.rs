//! A coordinator's host: everything `windrow coordinator` runs, on the simulated network.

use std::{sync::Arc, time::Duration};

use etcd_client::{Channel, Client, ConnectOptions};
use tracing::Instrument;
use windrow_common::shutdown::Shutdown;
use windrow_coordinator::{
    api,
    controller::Timing,
    run::{self, Config, Standing},
    store::{EtcdStore, MetaStore},
};

use crate::{
    check, net,
    world::{CLUSTER, World},
};

pub(crate) const PORT: u16 = 7070;

pub(crate) fn address(host: &str) -> String {
    format!("http://{host}:{PORT}")
}

/// As in production, only faster: a run lasts minutes.
fn timing() -> Timing {
    Timing {
        lease: Duration::from_secs(6),
        heartbeat: Duration::from_secs(1),
        sweep_every: Duration::from_secs(7),
        first_sweep: Duration::from_secs(3),
        sweep_grace: Duration::from_secs(10),
        ..Timing::default()
    }
}

pub(crate) async fn host(world: Arc<World>, name: String) -> turmoil::Result {
    let options = ConnectOptions::new().with_require_leader(true);
    let client = Client::from_channel(Channel::Tonic(net::etcd_channel()), Some(options)).await?;
    let store: Arc<dyn MetaStore> = Arc::new(EtcdStore::from_client(client));
    let (standing, shutdown) = (Standing::new(), Shutdown::new());
    world.serves(&name, standing.clone());
    let config = Config { cluster: CLUSTER.to_owned(), address: address(&name), timing: timing() };
    let clock = Arc::new(world.clock(&name));
    let span = tracing::info_span!("coordinator", name);
    tokio::spawn(run::run(config, store, standing.clone(), clock, shutdown.clone()).instrument(span));
    tokio::spawn(check::watch_leader(world.clone(), address(&name), standing.clone()));
    let incoming = net::listen(PORT).await?;
    api::serve(standing, incoming, shutdown).await?;
    Ok(())
}
