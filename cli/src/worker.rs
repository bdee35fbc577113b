//! Starting workers: one beside a coordinator in this process, or one of a cluster.

use std::{path::Path, sync::Arc, time::Duration};

use windrow_common::{clock::Clock, id::WorkerId, shutdown::Shutdown};
use windrow_proto::local::LocalDoor;
use windrow_worker::{
    open::BuiltIn,
    run::{WorkerConfig, run},
    session::{Dialer, Role},
};

/// Streams staged at a time, unless told otherwise.
pub(crate) const MAX_PUTS: usize = 64;

/// Runs a worker with every role on the coordinator behind `door` until stopping begins.
pub(crate) fn spawn_local(
    door: LocalDoor,
    slots: u32,
    spill: &Path,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(spill)?;
    let config = WorkerConfig {
        id: new_id("local")?,
        roles: vec![Role::Ingest, Role::Sink],
        slots,
        coordinators: Dialer::in_process(move || {
            let channel = door.channel();
            Box::pin(async move { Ok(channel) })
        }),
        opener: Arc::new(BuiltIn),
        flight: None,
        network: None,
        peer_tls: None,
        spill_dir: Some(spill.to_owned()),
        max_puts: MAX_PUTS,
        // Ending a run on a laptop takes no longer than a person waits; what is left is taken up by the next run.
        drain: Duration::from_secs(2),
    };
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        if let Err(error) = run(config, clock, stop).await {
            tracing::error!(%error, "the worker stopped");
        }
    });
    Ok(())
}

/// A worker id that no other start of a process has.
pub(crate) fn new_id(name: &str) -> anyhow::Result<WorkerId> {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    Ok(format!("{name}-{}", &unique[..8]).parse()?)
}

/// One slot per core, and at least two, so that reading and writing overlap.
pub(crate) fn default_slots() -> u32 {
    std::thread::available_parallelism().map_or(2, |cores| u32::try_from(cores.get()).unwrap_or(2)).max(2)
}
