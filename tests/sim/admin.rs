//! A user: applies the pipelines, and later has the windows of one loaded again. Asks whichever coordinator answers, until
//! one does.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use windrow_proto::v1::{self, admin_service_client::AdminServiceClient};

use crate::{net, pipelines, world::World};

/// How often the folder of others is to be compacted.
const ASKED: usize = 3;
pub(crate) const ADDRESSES: [&str; 3] = ["http://c1:7070", "http://c2:7070", "http://c3:7070"];

pub(crate) async fn client(world: Arc<World>) -> turmoil::Result {
    let pipelines = pipelines::all(&world.plan).iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
    let apply = v1::ApplyPipelinesRequest { pipelines, validate_only: false };
    insist(&world, "apply", |mut admin| {
        let apply = apply.clone();
        async move { admin.apply_pipelines(apply).await.map(drop) }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(world.draw(|rng| rng.random_range(2_000..20_000)))).await;
    load_again(&world, pipelines::BACKFILLED, "4bd3cf5e-b6a6-4d6a-8f0b-5f7f6c1f2a11").await;
    if world.plan.waits {
        load_again(&world, pipelines::CLOSED, "7f0f0c1e-0b1f-4a55-9b0e-0c4c8f3f5a12").await;
    }
    if world.plan.compacts {
        ask_for_compaction(&world).await;
    }
    world.all_asked();
    std::future::pending().await
}

/// Asks for all windows once more; those that are closed are refused.
async fn load_again(world: &World, pipeline: &str, request: &str) {
    let create = v1::CreateBackfillRequest {
        request_id: request.to_owned(),
        spec: Some(v1::BackfillSpec {
            pipeline: pipeline.to_owned(),
            choice: v1::BackfillChoice::All.into(),
            order: v1::BackfillOrder::OldestFirst.into(),
            ..Default::default()
        }),
        validate_only: false,
    };
    insist(world, "backfill", |mut admin| {
        let create = create.clone();
        async move {
            match admin.create_backfill(create).await {
                Err(status) if status.code() == tonic::Code::FailedPrecondition && pipeline == pipelines::CLOSED => {
                    Ok(())
                }
                answer => answer.map(drop),
            }
        }
    })
    .await;
}

/// A folder of others has no commits that could be followed by a look at it.
async fn ask_for_compaction(world: &World) {
    for _ in 0..ASKED {
        let compact = v1::CompactRequest { pipeline: pipelines::COMPACTED.to_owned(), dry_run: false, major: false };
        insist(world, "compact", |mut admin| {
            let compact = compact.clone();
            async move { admin.compact(compact).await.map(drop) }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(world.draw(|rng| rng.random_range(1_000..8_000)))).await;
    }
}

async fn insist<F>(world: &World, what: &str, ask: impl Fn(AdminServiceClient<tonic::transport::Channel>) -> F)
where
    F: Future<Output = Result<(), tonic::Status>>,
{
    for address in ADDRESSES.iter().take(world.plan.coordinators).cycle() {
        let admin = AdminServiceClient::new(net::admin_channel(address));
        match tokio::time::timeout(Duration::from_secs(6), ask(admin)).await {
            Ok(Ok(())) => {
                world.note(format!("user {what}: done"));
                return;
            }
            Ok(Err(status)) => world.note(format!("user {what} at {address}: {}", status.message())),
            Err(_) => world.note(format!("user {what} at {address}: no answer")),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
