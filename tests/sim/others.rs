//! Somebody else, who fills a folder with files of JSON lines that windrow compacts, and now and then deletes one.

use std::{sync::Arc, time::Duration};

use rand::Rng;

use crate::{plan::pick, rows::Row, world::World};

/// The folder.
pub(crate) const ROOT: &str = "others";
const FILES: u64 = 20;
const ROWS: u64 = 5;

pub(crate) async fn client(world: Arc<World>) -> turmoil::Result {
    let place = world.objects.place(ROOT);
    for number in 0..FILES {
        tokio::time::sleep(Duration::from_millis(world.draw(|rng| rng.random_range(100..1_500)))).await;
        let path = format!("f{number:02}.jsonl");
        let lines = rows_of(number).into_iter().map(|(id, hash)| format!("{{\"id\":{id},\"hash\":\"{hash}\"}}\n"));
        place.write(&world, &path, lines.collect::<String>().into()).await;
        world.note(format!("others write {path}"));
        let there = place.shown();
        if world.draw(|rng| rng.random_bool(0.2)) {
            let path = world.draw(|rng| pick(rng, &there).clone());
            place.delete(&path).await;
            world.note(format!("others delete {path}"));
        }
    }
    world.others_are_done();
    std::future::pending().await
}

/// The rows of a file, whether it is there or was deleted.
pub(crate) fn rows_at(path: &str) -> Option<Vec<Row>> {
    let number = path.strip_prefix('f')?.strip_suffix(".jsonl")?;
    Some(rows_of(number.parse().ok()?))
}

/// All names there ever were.
pub(crate) fn all() -> impl Iterator<Item = String> {
    (0..FILES).map(|number| format!("f{number:02}.jsonl"))
}

fn rows_of(number: u64) -> Vec<Row> {
    (0..ROWS).map(|row| ((number * ROWS + row) as i64, format!("{number}-{row}"))).collect()
}
