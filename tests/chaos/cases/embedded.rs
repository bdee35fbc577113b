//! One process on the embedded store, killed again and again.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;
use windrow_tests::process::{Process, run, run_json};

use super::Case;
use crate::{course::Outcome, ground::Ground, plot::Plot};

pub(crate) const KILLED: Case = Case {
    name: "embedded-killed",
    injected: "`windrow run` on its embedded store is killed at random moments until it is done",
    held: &[1, 2, 3, 4, 9, 16, 21],
    run: |ground, seed| Box::pin(killed(ground, seed)),
};

async fn killed(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut random = StdRng::seed_from_u64(seed);
    let plot = Plot::new("delta", seed)?;
    plot.edit("rows", "per_task: 2", "per_task: 1")?;
    let mut times = 0;
    for round in 0..30 {
        let mut process = Process::start(&["run", plot.arg()], &plot.path().join(format!("run-{round}.log")))?;
        sleep(Duration::from_millis(random.random_range(100..1_500))).await;
        if let Some(status) = process.ended()? {
            ensure!(status.success(), "{}", process.log());
            break;
        }
        process.kill()?;
        times += 1;
    }
    let last = run(&["run", plot.arg()])?;
    ensure!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", plot.arg()])?;
    ensure!(pipelines[0]["windows"]["published"] == plot.rows.windows(), "{pipelines}");
    let found = plot.read_back(&ground.python, "rows")?;
    Ok(Outcome::of(&found, 0, times))
}
