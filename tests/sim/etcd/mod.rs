//! A fake etcd: the wire of etcd over the embedded store, which behaves like etcd, and the ways in which etcd misbehaves.

use std::{future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use rand::Rng;
use tonic::{Status, transport::Server};
use windrow_coordinator::store::StoreError;

use crate::{net, plan::Fault, world::World};

mod kv;
mod lease;
mod watch;
mod wire;

pub(crate) use lease::Leases;

/// Longest a late call takes to arrive: past the 2 s its caller waits.
const LATE_MS: u64 = 4_000;

/// The host `etcd`.
pub(crate) async fn host(world: Arc<World>) -> turmoil::Result {
    lease::rearm(&world);
    tokio::spawn(lease::expire(world.clone()));
    let etcd = Etcd { world };
    let incoming = net::listen(2379).await?.boxed();
    Server::builder()
        .add_service(kv::service(etcd.clone()))
        .add_service(watch::service(etcd.clone()))
        .add_service(lease::service(etcd))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

#[derive(Clone)]
struct Etcd {
    world: Arc<World>,
}

impl Etcd {
    /// Does the work, as reliably as the seed has it.
    async fn answer<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Status> {
        let world = &self.world;
        if world.strikes(Fault::EtcdRefuses, call) {
            return Err(Status::unavailable("etcdserver: leader changed"));
        }
        let late = match world.strikes(Fault::EtcdLate, call) {
            true => Duration::from_millis(world.draw(|rng| rng.random_range(0..LATE_MS))),
            false => Duration::ZERO,
        };
        // A task of its own: what is on its way is done, whether its caller still waits or not.
        let done = tokio::spawn(async move {
            tokio::time::sleep(late).await;
            work.await
        });
        let answer = done.await.map_err(|cause| Status::internal(cause.to_string()))?.map_err(status);
        if world.strikes(Fault::EtcdReplyLost, call) {
            match world.draw(|rng| rng.random_bool(0.5)) {
                true => return Err(Status::unavailable("etcdserver: request timed out")),
                false => std::future::pending().await,
            }
        }
        answer
    }
}

/// The errors of the store in etcd's words.
fn status(error: StoreError) -> Status {
    match error {
        StoreError::LeaseNotFound(_) => Status::not_found("etcdserver: requested lease not found"),
        StoreError::Compacted { .. } => Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
        StoreError::FutureRevision(_) => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        StoreError::NoSpace(_) => Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
        other => Status::invalid_argument(other.to_string()),
    }
}
