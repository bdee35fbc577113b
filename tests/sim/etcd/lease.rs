//! Leases. The store knows which keys hang on which lease; when one ends is decided here, for etcd does not end them on
//! time: late, not at all while it is down, and some versions renew what has ended already.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
};
use futures::{Stream, StreamExt};
use rand::Rng;
use tonic::{
    Request, Response, Status, Streaming,
    codegen::{Service, http},
    server::{Grpc, NamedService},
};
use tonic_prost::ProstCodec;
use windrow_coordinator::store::{LeaseId, MetaStore, Range, Revision, StoreError};

use super::{Etcd, wire};
use crate::{plan::Fault, world::World};

/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The store itself never ends a lease.
const FOR_EVER_SECONDS: i64 = 1_000_000_000;

#[derive(Default)]
pub(crate) struct Leases {
    running: BTreeMap<i64, Lease>,
    /// Leases that have ended and are renewed all the same, and until when.
    haunted: BTreeMap<i64, Duration>,
    /// The newest leader that wrote a record.
    pub(crate) newest_leader: i64,
}

impl Leases {
    /// Ends a lease at the next look, and goes on renewing it.
    pub(crate) fn haunt(&mut self, id: i64, until: Duration) {
        if let Some(lease) = self.running.get_mut(&id) {
            lease.deadline = Duration::ZERO;
            self.haunted.insert(id, until);
        }
    }
}

struct Lease {
    ttl: Duration,
    deadline: Duration,
}

/// A keep-alive. The client does not export its own.
#[derive(Clone, PartialEq, prost::Message)]
struct KeepAlive {
    #[prost(int64, tag = "1")]
    id: i64,
}

/// After a restart every lease has its full time again.
pub(super) fn rearm(world: &World) {
    let now = world.now();
    for lease in world.leases.lock().unwrap().running.values_mut() {
        lease.deadline = now + lease.ttl;
    }
}

pub(super) async fn expire(world: Arc<World>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = world.now();
        let due: Vec<i64> = {
            let mut leases = world.leases.lock().unwrap();
            let mut due = Vec::new();
            for (id, lease) in leases.running.iter_mut().filter(|(_, lease)| lease.deadline <= now) {
                if world.strikes(Fault::LateExpiry, &format!("lease {id}")) {
                    lease.deadline = now + Duration::from_millis(world.draw(|rng| rng.random_range(500..8_000)));
                } else {
                    due.push(*id);
                }
            }
            due
        };
        for id in due {
            world.note(format!("etcd lease {id} ends"));
            let _ = end(&world, id).await;
        }
    }
}

async fn end(world: &World, id: i64) -> Result<(), StoreError> {
    {
        let mut leases = world.leases.lock().unwrap();
        if leases.running.remove(&id).is_none() {
            return Err(StoreError::LeaseNotFound(LeaseId(id)));
        }
    }
    world.store.lease_revoke(LeaseId(id)).await
}

impl Etcd {
    async fn grant(self, request: PbLeaseGrantRequest) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let world = self.world.clone();
        let granted = async move {
            let LeaseId(id) = world.store.lease_grant(FOR_EVER_SECONDS).await?;
            let ttl = Duration::from_secs(request.ttl.unsigned_abs());
            let lease = Lease { ttl, deadline: world.now() + ttl };
            world.leases.lock().unwrap().running.insert(id, lease);
            world.note(format!("etcd lease {id} for {ttl:?}"));
            Ok((id, newest(&world).await?))
        };
        let (id, revision) = self.answer("grant", granted).await?;
        let header = wire::header(revision);
        Ok(Response::new(PbLeaseGrantResponse { header, id, ttl: request.ttl, error: String::new() }))
    }

    async fn revoke(self, request: PbLeaseRevokeRequest) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let world = self.world.clone();
        let revoked = async move {
            world.note(format!("etcd lease {} is revoked", request.id));
            end(&world, request.id).await?;
            newest(&world).await
        };
        let revision = self.answer("revoke", revoked).await?;
        Ok(Response::new(PbLeaseRevokeResponse { header: wire::header(revision) }))
    }

    async fn keep_alive(self, request: KeepAlive) -> Result<PbLeaseKeepAliveResponse, Status> {
        let world = self.world.clone();
        let renewed = async move {
            let revision = newest(&world).await?;
            Ok((renew(&world, request.id), revision))
        };
        let (ttl, revision) = self.answer("keep-alive", renewed).await?;
        Ok(PbLeaseKeepAliveResponse { header: wire::header(revision), id: request.id, ttl })
    }
}

/// The time to live; 0 if there is no such lease.
fn renew(world: &World, id: i64) -> i64 {
    let mut leases = world.leases.lock().unwrap();
    let haunted = leases.haunted.get(&id).is_some_and(|until| world.now() < *until && world.is_faulty());
    match leases.running.get_mut(&id) {
        Some(lease) if !haunted => {
            lease.deadline = world.now() + lease.ttl;
            lease.ttl.as_secs() as i64
        }
        _ if haunted => 10,
        _ => 0,
    }
}

async fn newest(world: &World) -> Result<Revision, StoreError> {
    Ok(world.store.range(Range { limit: 1, ..Range::prefix("/") }).await?.revision)
}

pub(super) fn service(etcd: Etcd) -> LeaseServer {
    LeaseServer(etcd)
}

/// The service `Lease`, without the calls nobody makes.
#[derive(Clone)]
pub(super) struct LeaseServer(Etcd);

impl NamedService for LeaseServer {
    const NAME: &'static str = "etcdserverpb.Lease";
}

type Answers = Pin<Box<dyn Stream<Item = Result<PbLeaseKeepAliveResponse, Status>> + Send>>;

impl Service<http::Request<tonic::body::Body>> for LeaseServer {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let etcd = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/etcdserverpb.Lease/LeaseGrant" => {
                    let grant = tower::service_fn(move |request: Request<PbLeaseGrantRequest>| {
                        etcd.clone().grant(request.into_inner())
                    });
                    Grpc::new(ProstCodec::default()).unary(grant, request).await
                }
                "/etcdserverpb.Lease/LeaseRevoke" => {
                    let revoke = tower::service_fn(move |request: Request<PbLeaseRevokeRequest>| {
                        etcd.clone().revoke(request.into_inner())
                    });
                    Grpc::new(ProstCodec::default()).unary(revoke, request).await
                }
                "/etcdserverpb.Lease/LeaseKeepAlive" => {
                    let keep = tower::service_fn(move |request: Request<Streaming<KeepAlive>>| {
                        let etcd = etcd.clone();
                        async move {
                            let answers = request.into_inner().then(move |request| {
                                let etcd = etcd.clone();
                                async move { etcd.keep_alive(request?).await }
                            });
                            Ok::<_, Status>(Response::new(Box::pin(answers) as Answers))
                        }
                    });
                    Grpc::new(ProstCodec::default()).streaming(keep, request).await
                }
                _ => Status::unimplemented("not used").into_http(),
            })
        })
    }
}
