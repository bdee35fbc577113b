//! windrow in one process: a coordinator on the embedded store and a worker, over pipes instead of the network. The same
//! code and the same protocol as a cluster.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio_stream::StreamExt;
use windrow_common::{
    clock::{Clock, SystemClock},
    shutdown::Shutdown,
};
use windrow_coordinator::{
    api,
    controller::Timing,
    run::{self as coordinator, Standing},
    store::{EmbeddedStore, MetaStore},
};
use windrow_proto::local::local;

use crate::client::Admin;

/// A running windrow in this process.
pub struct Local {
    shutdown: Shutdown,
    admin: Admin,
    state: PathBuf,
}

/// The folder beside the pipeline files in which windrow keeps its ledger.
pub const STATE: &str = ".windrow";

/// How long stopping may take.
const GRACE: Duration = Duration::from_secs(20);

impl Local {
    /// Starts with the ledger in `state`, which is made if it is missing. A run is over before the first sweep of a cluster would
    /// be due, so it sweeps at its start. Whether it leaves when what is due is published is up to the caller.
    pub fn start(state: &Path, slots: u32, leaves: bool) -> anyhow::Result<Self> {
        Self::start_with(state, slots, Timing { first_sweep: Duration::ZERO, leaves, ..Timing::default() })
    }

    /// The same for a command that asks for one thing: nothing is swept at once that it might only want to look at.
    pub fn start_to_ask(state: &Path, slots: u32) -> anyhow::Result<Self> {
        Self::start_with(state, slots, Timing { leaves: true, ..Timing::default() })
    }

    fn start_with(state: &Path, slots: u32, timing: Timing) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state).with_context(|| format!("cannot make the folder {}", state.display()))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store: Arc<dyn MetaStore> = Arc::new(EmbeddedStore::open(&state.join("ledger.redb"))?);
        let shutdown = Shutdown::new();
        let standing = Standing::new();
        let (door, incoming) = local();
        let config = coordinator::Config {
            cluster: "local".to_owned(),
            address: "in-process".to_owned(),
            timing: Timing { claims_are_orphans: true, ..timing },
        };
        let lead = coordinator::run(config, store, Arc::clone(&standing), Arc::clone(&clock), shutdown.clone());
        shutdown.spawn(lead);
        let serve = api::serve(standing, incoming.map(Ok::<_, std::io::Error>), shutdown.clone());
        shutdown.spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the services stopped");
            }
        });
        crate::worker::spawn_local(door.clone(), slots, &state.join("spill"), clock, &shutdown)?;
        Ok(Self { shutdown, admin: Admin::local(door.channel()), state: state.to_owned() })
    }

    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Where the ledger is.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Stops everything in order.
    pub async fn stop(self) {
        if !self.shutdown.finish(GRACE).await {
            tracing::warn!("did not stop in time");
        }
    }
}

/// The folder of state for pipeline files at `path`: beside the file, or in the folder of files.
pub fn state_of(path: &Path) -> PathBuf {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
    folder.join(STATE)
}
