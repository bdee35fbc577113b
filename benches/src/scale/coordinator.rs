//! The coordinator, as `windrow coordinator` runs it, in a process of its own: its memory and its processor time are
//! nobody else's.

use std::{process::Command, sync::Arc};

use anyhow::{Context, Result};
use tokio::{net::TcpListener, runtime::Runtime};
use windrow_common::{
    clock::{Clock, SystemClock},
    shutdown::Shutdown,
};
use windrow_coordinator::{
    api,
    controller::Timing,
    run::{self as coordinator, Config, Standing},
    store::{EtcdOptions, EtcdStore, MetaStore},
};

use super::{HEARTBEAT, LEASE, site::CLUSTER};
use crate::other::{Other, say_port};

/// The word by which this program is asked to be one.
const PART: &str = "coordinator";

/// Starts one on an etcd. Each worker has a connection, and each connection a file descriptor, so it gets as many as the
/// system allows without asking for more.
pub(super) fn start(etcd: &str) -> Result<Other> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""]).arg(program);
    command.args(["--be", PART, etcd]);
    Other::start(&mut command)
}

/// Is one, if that is what is asked for.
pub(crate) fn be(runtime: &Runtime, part: &[String]) -> Option<Result<()>> {
    let [PART, etcd] = part.iter().map(String::as_str).collect::<Vec<_>>()[..] else { return None };
    Some(runtime.block_on(serve(etcd)).context("the coordinator"))
}

async fn serve(etcd: &str) -> Result<()> {
    let shutdown = Shutdown::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = EtcdOptions { endpoints: vec![etcd.to_owned()], ..EtcdOptions::default() };
    let store: Arc<dyn MetaStore> = Arc::new(EtcdStore::connect(options).await?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let standing = Standing::new();
    let config = Config {
        cluster: CLUSTER.to_owned(),
        address: format!("http://127.0.0.1:{port}"),
        timing: Timing { heartbeat: HEARTBEAT, lease: LEASE, ..Timing::default() },
    };
    shutdown.spawn(coordinator::run(config, store, Arc::clone(&standing), clock, shutdown.clone()));
    say_port(port)?;
    Ok(api::serve(standing, tokio_stream::wrappers::TcpListenerStream::new(listener), shutdown).await?)
}
