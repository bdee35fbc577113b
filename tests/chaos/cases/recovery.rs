//! The store is back at an older state, or gone with all it held, and the ledger is made good from the sink.

use anyhow::{Result, ensure};
use windrow_tests::process::run;

use super::{
    Case, HELD,
    etcd::{begin, end, start},
};
use crate::{
    course::Outcome,
    ground::Ground,
    site::{Site, Special},
};

pub(crate) const RESTORED: Case = Case {
    name: "etcd-restored",
    injected: "all of etcd is back at an old backup while workers go on; `windrow admin restore`",
    held: HELD,
    run: |ground, seed| Box::pin(restored(ground, seed)),
};

pub(crate) const LOST: Case = Case {
    name: "etcd-lost",
    injected: "all of etcd is lost while workers go on, and begins empty; `windrow admin rebuild`",
    held: HELD,
    run: |ground, seed| Box::pin(lost(ground, seed)),
};

async fn restored(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut etcd = start(ground, &[]).await?;
    let mut site = begin(ground, seed, &etcd).await?;
    let backup = etcd.back_up()?;
    goes_on(&mut site).await?;
    kill_coordinators(&mut site)?;
    etcd.put_back(Some(&backup)).await?;
    recover(&mut site, &["restore"]).await?;
    end(site, 1).await
}

async fn lost(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut etcd = start(ground, &[]).await?;
    let mut site = begin(ground, seed, &etcd).await?;
    goes_on(&mut site).await?;
    kill_coordinators(&mut site)?;
    etcd.put_back(None).await?;
    let folder = site.plot.arg().to_owned();
    recover(&mut site, &["rebuild", &folder]).await?;
    end(site, 1).await
}

/// More is published, and not all.
async fn goes_on(site: &mut Site<'_>) -> Result<()> {
    site.wait("more windows", |site| Ok(site.count("rows", "published")? >= 12)).await?;
    ensure!(site.count("rows", "published")? < site.windows(), "all was published too soon");
    Ok(())
}

/// They end with the store they knew; workers are left with claims nobody remembers.
fn kill_coordinators(site: &mut Site<'_>) -> Result<()> {
    site.coordinators.iter_mut().try_for_each(|part| part.process.kill())
}

/// Starts coordinators where workers look for them, and runs the command.
async fn recover(site: &mut Site<'_>, verb: &[&str]) -> Result<()> {
    for dead in 0..site.coordinators.len() {
        let at = Some(site.coordinators[dead].address.clone());
        site.add_coordinator(Special { at, ..Special::default() }).await?;
    }
    site.wait("an answer", |site| site.ask(&["get", "pipelines"]).map(|_| true)).await?;
    let addresses = site.addresses();
    let output = run(&[&["admin"], verb, &["--coordinator", &addresses]].concat())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "windrow admin {verb:?}: {said}\n{}", site.logs());
    Ok(())
}
