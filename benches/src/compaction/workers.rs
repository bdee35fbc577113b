//! The same on a cluster: by one worker with one slot, and by two.

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use windrow_tests::{cluster::Cluster, process::run};

use super::{ROUNDS, table::Table};
use crate::{
    report::{Goal, Report},
    sample::median,
};

/// Only a long run has as much to do for each of two.
pub(super) fn measure(
    runtime: &tokio::runtime::Runtime,
    table: &mut Table,
    (long, report): (bool, &mut Report),
) -> Result<()> {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (workers, times) in [(1, &mut one), (2, &mut two)] {
            let Some(seconds) = runtime.block_on(rewrite(table, workers))? else {
                report.say("there is no etcd: one worker and two are left out");
                return Ok(());
            };
            times.push(seconds);
        }
    }
    report.figure("a cluster's one worker with one slot", format!("{:.2} s", median(one.iter().copied())));
    report.figure("  two of them", format!("{:.2} s", median(two.iter().copied())));
    let ratio = median(one.iter().zip(&two).map(|(one, two)| one / two));
    match long {
        true => report.goal("  one to two", ratio, Goal::AtLeast(1.7), "x"),
        false => report.figure("  one to two, of groups that make 64 files and 36", format!("{ratio:.2}x")),
    }
    Ok(())
}

/// How long `windrow compact` takes from asking to the last commit; `None` without etcd.
async fn rewrite(table: &mut Table, workers: usize) -> Result<Option<f64>> {
    let copy = table.copy()?;
    std::fs::write(copy.folder().join("pipelines.yaml"), table.pipeline(table.shared()))?;
    let Some(cluster) = Cluster::start(1, workers).await? else { return Ok(None) };
    cluster.apply(copy.folder().to_str().context("a folder has a name")?)?;
    while cluster.ask(&["get", "workers"])?.as_array().map_or(0, Vec::len) < workers {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let began = Instant::now();
    let done = run(&["compact", "events", "--coordinator", &cluster.addresses()])?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(done.status.success(), "{}\n{}", String::from_utf8_lossy(&done.stderr), cluster.logs());
    drop(cluster);
    let found = table.check(&copy.place(), true)?;
    ensure!(found.files < table.files(), "{} files are left", found.files);
    Ok(Some(seconds))
}
