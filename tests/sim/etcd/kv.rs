//! Reads and transactions.

use std::{pin::Pin, sync::Arc};

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvServer, PbKvService,
    PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbTxnRequest, PbTxnResponse,
};
use futures::Stream;
use rand::Rng;
use tonic::{Request, Response, Status};
use windrow_common::invariant;
use windrow_coordinator::store::{Compare, MetaStore, Op, Page, Range, Revision, StoreError};

use super::{Etcd, wire};
use crate::{
    check,
    plan::{Fault, Sabotage},
    world::World,
};

/// How far back a stale read may look.
const MOST_STALE: i64 = 12;

pub(super) fn service(etcd: Etcd) -> PbKvServer<Etcd> {
    PbKvServer::new(etcd)
}

#[tonic::async_trait]
impl PbKvService for Etcd {
    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<PbRangeStreamResponse, Status>> + Send>>;

    async fn range(&self, request: Request<PbRangeRequest>) -> Result<Response<PbRangeResponse>, Status> {
        let request = request.into_inner();
        let mut range = wire::range(&request.key, &request.range_end, request.limit, request.revision);
        if request.keys_only || request.count_only {
            range.limit = 1;
        }
        let world = self.world.clone();
        let page = self.answer("range", async move { read(&world, range).await }).await?;
        Ok(Response::new(PbRangeResponse {
            header: wire::header(page.revision),
            count: page.entries.len() as i64,
            more: page.more,
            kvs: page.entries.into_iter().map(wire::entry).collect(),
        }))
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let request = request.into_inner();
        let compares: Vec<Compare> = request.compare.into_iter().map(wire::compare).collect();
        let ops: Vec<Op> = request.success.into_iter().filter_map(wire::op).collect();
        let world = self.world.clone();
        let outcome = self.answer("txn", async move { write(&world, compares, ops).await }).await?;
        Ok(Response::new(PbTxnResponse {
            header: wire::header(outcome.revision),
            succeeded: outcome.succeeded,
            responses: Vec::new(),
        }))
    }

    async fn compact(&self, request: Request<PbCompactionRequest>) -> Result<Response<PbCompactionResponse>, Status> {
        let at = Revision(request.into_inner().revision);
        let store = self.world.store.clone();
        self.answer("compact", async move { store.compact(at).await }).await?;
        Ok(Response::new(PbCompactionResponse { header: wire::header(at) }))
    }

    async fn range_stream(&self, _: Request<PbRangeRequest>) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn put(&self, _: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        Err(Status::unimplemented("every write is a transaction"))
    }

    async fn delete_range(&self, _: Request<PbDeleteRequest>) -> Result<Response<PbDeleteResponse>, Status> {
        Err(Status::unimplemented("every write is a transaction"))
    }
}

async fn read(world: &World, mut range: Range) -> Result<Page, StoreError> {
    if range.at.is_none() && world.strikes(Fault::StaleRead, &String::from_utf8_lossy(&range.prefix)) {
        let newest = world.store.range(Range { limit: 1, ..Range::prefix("/") }).await?.revision;
        let stale = Revision((newest.0 - world.draw(|rng| rng.random_range(1..=MOST_STALE))).max(1));
        let found = world.store.range(Range { at: Some(stale), ..range.clone() }).await;
        // What is compacted is not known to any member.
        if let Ok(page) = found {
            return Ok(page);
        }
    }
    range.limit = range.limit.min(1_000);
    world.store.range(range).await
}

/// Applies a transaction and looks at it: nobody writes records but the newest leader.
async fn write(
    world: &Arc<World>,
    mut compares: Vec<Compare>,
    ops: Vec<Op>,
) -> Result<windrow_coordinator::store::TxnOutcome, StoreError> {
    if world.sabotage == Some(Sabotage::Unfenced) {
        unfence(world, &mut compares).await?;
    }
    let guard_in = |compare: &Compare| match compare {
        Compare::ModRevision { key, equals } if *key == world.keys.leader() => Some(equals.0),
        _ => None,
    };
    let guard = compares.iter().find_map(guard_in);
    if world.sabotage == Some(Sabotage::Unguarded) {
        compares.retain(|compare| guard_in(compare).is_none());
    }
    let written: Vec<String> = ops.iter().map(named).collect();
    let outcome = world.store.txn(compares, ops).await?;
    if !written.is_empty() {
        let verdict = if outcome.succeeded { "wrote" } else { "refused" };
        world.note(format!("etcd {verdict} {} under {guard:?}: {}", outcome.revision, written.join(" ")));
    }
    if outcome.succeeded && !written.is_empty() {
        let guarded = guard.is_some() || written.iter().all(|key| check::is_open_to_all(key));
        if !guarded {
            world.violated(format!("INV-13: {written:?} was written without a guard"));
        }
        if let Some(leader) = guard {
            let mut leases = world.leases.lock().unwrap();
            world.require(invariant::leaders_never_go_back(&[
                (outcome.revision.0 - 1, leases.newest_leader),
                (outcome.revision.0, leader),
            ]));
            leases.newest_leader = leader;
        }
    }
    Ok(outcome)
}

/// As if the guard compared when the leader was elected, and not its fence.
async fn unfence(world: &World, compares: &mut [Compare]) -> Result<(), StoreError> {
    let page = world.store.range(Range { limit: 1, ..Range::prefix(world.keys.leader()) }).await?;
    let Some(leader) = page.entries.into_iter().next() else { return Ok(()) };
    for compare in compares {
        match compare {
            Compare::ModRevision { key, equals } if *key == leader.key && *equals >= leader.create_revision => {
                *equals = leader.mod_revision;
            }
            _ => {}
        }
    }
    Ok(())
}

fn named(op: &Op) -> String {
    match op {
        Op::Put { key, .. } => format!("+{}", short(key)),
        Op::Delete { key } => format!("-{}", short(key)),
    }
}

fn short(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    key.strip_prefix("/windrow/sim/").unwrap_or(&key).to_owned()
}
