//! A coordinator from start to stop: campaign, lead, step down, campaign again, serving all the while.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tracing::{info, warn};
use windrow_common::{clock::Clock, shutdown::Shutdown};

use crate::{
    controller::{self, Handle, Stopped, Timing},
    leader::{self, Leadership},
    ledger::{Keys, Ledger},
    store::MetaStore,
};

/// What a coordinator needs.
#[derive(Clone)]
pub struct Config {
    pub cluster: String,
    /// Where clients and workers reach this coordinator; followers tell it of the leader.
    pub address: String,
    pub timing: Timing,
}

/// Whether this coordinator leads, and who does if not.
pub struct Standing {
    controller: Mutex<Option<Handle>>,
    leader: watch::Sender<String>,
}

/// How long to wait before trying again when the store does not answer.
const STORE_PAUSE: Duration = Duration::from_millis(500);

impl Standing {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { controller: Mutex::new(None), leader: watch::Sender::new(String::new()) })
    }

    /// The controller if this coordinator leads.
    pub fn controller(&self) -> Option<Handle> {
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        controller.clone().filter(|handle| !handle.is_closed())
    }

    /// The address of whoever leads; empty if nobody is known to.
    pub fn leader(&self) -> String {
        self.leader.borrow().clone()
    }

    fn set(&self, controller: Option<Handle>) {
        *self.controller.lock().unwrap_or_else(PoisonError::into_inner) = controller;
    }
}

/// Takes part in the cluster until stopping begins. Serving ([`crate::api::serve`]) is up to the caller, on the same
/// `standing`.
pub async fn run(
    config: Config,
    store: Arc<dyn MetaStore>,
    standing: Arc<Standing>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) {
    let keys = Keys::of_cluster(&config.cluster);
    let mut config = config;
    if config.timing.claims_are_orphans
        && let Err(error) = leader::vacate(&store, &keys).await
    {
        warn!(%error, "waits until the lease of a leader that is gone runs out");
    }
    while !shutdown.has_begun() {
        let context = (&standing.leader, &shutdown);
        match leader::campaign(&store, &keys, &config.address, &clock, context).await {
            Ok(None) => break,
            Ok(Some(leadership)) => {
                lead(&config, &store, (&keys, leadership), &standing, (&clock, &shutdown)).await;
                // From now on claims may be of this process's own worker.
                config.timing.claims_are_orphans = false;
            }
            Err(error) => {
                warn!(%error, "cannot campaign");
                tokio::select! {
                    () = tokio::time::sleep(STORE_PAUSE) => {}
                    () = shutdown.begun() => {}
                }
            }
        }
    }
}

async fn lead(
    config: &Config,
    store: &Arc<dyn MetaStore>,
    (keys, leadership): (&Keys, Leadership),
    standing: &Standing,
    (clock, shutdown): (&Arc<dyn Clock>, &Shutdown),
) {
    let ledger = Ledger::new(Arc::clone(store), keys.clone(), leadership.guard.clone());
    match controller::start(ledger, Arc::clone(clock), config.timing.clone()).await {
        Ok((handle, running)) => {
            standing.leader.send_replace(config.address.clone());
            standing.set(Some(handle));
            let stop = async {
                tokio::select! {
                    () = leadership.lost() => {}
                    () = shutdown.begun() => {}
                }
            };
            if let Stopped::Ledger(error) = running.run(stop).await {
                warn!(%error, "stepped down");
            }
            standing.set(None);
        }
        Err(error) => {
            warn!(%error, "cannot read the ledger");
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }
    info!("does not lead any more");
    leadership.resign().await;
}
