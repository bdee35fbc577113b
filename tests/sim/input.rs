//! Somebody who delivers the input of windows, in an order of their own, and marks each when all of it is there.

use std::{sync::Arc, time::Duration};

use rand::{Rng, seq::SliceRandom};
use windrow_common::{
    readiness::{Condition, Require},
    window::Window,
};

use crate::{pipelines, world::World};

pub(crate) async fn client(world: Arc<World>) -> turmoil::Result {
    let mut windows = pipelines::each_window(&world.plan);
    world.draw(|rng| windows.shuffle(rng));
    for window in windows {
        tokio::time::sleep(Duration::from_millis(world.draw(|rng| rng.random_range(50..1_200)))).await;
        world.deliver(&window);
        world.note(format!("the input of {window} is complete"));
    }
    std::future::pending().await
}

/// Whether a condition on the input holds for a window.
pub(crate) fn holds(world: &World, condition: &Condition, window: &Window) -> bool {
    match condition {
        Condition::Marker(_) => world.is_delivered(window.start(), window.end()),
        Condition::NextPartition(_) => world.is_delivered(window.end(), window.end() + 1),
        _ => true,
    }
}

/// Whether a window may be read.
pub(crate) fn is_ready(world: &World, require: &Require, window: &Window) -> bool {
    require.all.iter().all(|condition| holds(world, condition, window))
        && (require.any.is_empty() || require.any.iter().any(|condition| holds(world, condition, window)))
}
