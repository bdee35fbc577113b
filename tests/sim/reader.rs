//! Somebody who holds versions of a table for moments: each is asked for, and let go of as soon as that is answered or takes too
//! long. So records come and go of which nothing tells but themselves whether they were there before.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use windrow_coordinator::core::pins;
use windrow_proto::v1::{self, admin_service_client::AdminServiceClient};

use crate::{admin::ADDRESSES, net, pipelines, world::World};

const PINS: usize = 60;
/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) async fn client(world: Arc<World>) -> turmoil::Result {
    for number in 0..PINS {
        tokio::time::sleep(Duration::from_millis(world.draw(|rng| rng.random_range(50..500)))).await;
        let request_id = format!("reader {number}");
        let delete = v1::DeletePinRequest { id: pins::id_of(&request_id).to_string() };
        let create = create(request_id);
        for address in &ADDRESSES[..world.plan.coordinators] {
            let mut admin = AdminServiceClient::new(net::admin_channel(address));
            let _ = tokio::time::timeout(PATIENCE, admin.create_pin(create.clone())).await;
        }
        for address in &ADDRESSES[..world.plan.coordinators] {
            let mut admin = AdminServiceClient::new(net::admin_channel(address));
            let _ = tokio::time::timeout(PATIENCE, admin.delete_pin(delete.clone())).await;
        }
    }
    std::future::pending().await
}

fn create(request_id: String) -> v1::CreatePinRequest {
    let version = v1::PinnedVersion { of: Some(v1::pinned_version::Of::Table(1)) };
    let wanted = v1::PinWanted { wanted: Some(v1::pin_wanted::Wanted::Version(version)) };
    let pipeline = pipelines::BACKFILLED.to_owned();
    v1::CreatePinRequest { request_id, pipeline, wanted: Some(wanted), for_ms: 60_000, reason: String::new() }
}
