//! `windrow run`: pipelines from files, in this process, until everything due is settled.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use windrow_common::{
    clock::{Clock, SystemClock},
    pipeline::Pipeline,
};
use windrow_proto::v1;

use crate::{
    commands::{apply, exit::Exit, here::Here},
    local::Local,
    show::{Style, progress::Progress, summary},
};

/// Run pipelines here and now, without a cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    here: Here,
}

/// How often the state of the pipelines is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// 0 when every due window is published, 2 when the files cannot be used, 4 when windows are quarantined.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(pipelines) = args.here.load()? else { return Ok(Exit::Config) };
    let started = SystemClock::new();
    let local = args.here.start()?;
    let outcome = async {
        apply::send(local.admin(), &pipelines, false).await?;
        let before = reports(&local, &pipelines).await?;
        let after = until_settled(&local, &pipelines).await?;
        anyhow::Ok((before, after))
    };
    let outcome = tokio::select! {
        outcome = outcome => Some(outcome),
        _ = tokio::signal::ctrl_c() => None,
    };
    local.stop().await;
    let Some(outcome) = outcome else {
        writeln!(io::stderr(), "interrupted; the same command goes on where it stopped")?;
        return Ok(Exit::Failed);
    };
    let (before, after) = outcome?;
    let text =
        summary::render(&args.here.path, &pipelines, (&before, &after), started.elapsed(), Style::of(&io::stdout()));
    io::stdout().write_all(text.as_bytes())?;
    let failed = after.iter().any(|pipeline| pipeline.quarantined > 0);
    Ok(if failed { Exit::SomeWindowsFailed } else { Exit::Ok })
}

async fn until_settled(local: &Local, pipelines: &[Pipeline]) -> anyhow::Result<Vec<v1::Pipeline>> {
    let mut progress = Progress::new(io::stderr().is_terminal());
    loop {
        let reports = reports(local, pipelines).await?;
        progress.show(&reports);
        if reports.iter().all(is_settled) {
            progress.finish(&reports);
            return Ok(reports);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether nothing is due any more. A window that waits for its source is not due.
fn is_settled(pipeline: &v1::Pipeline) -> bool {
    pipeline.pending + pipeline.claimed + pipeline.sealed + pipeline.unplanned == 0
}

async fn reports(local: &Local, pipelines: &[Pipeline]) -> anyhow::Result<Vec<v1::Pipeline>> {
    let request = v1::ListPipelinesRequest {};
    let response =
        local.admin().call(request, |mut client, request| async move { client.list_pipelines(request).await }).await?;
    let ours = |report: &v1::Pipeline| pipelines.iter().any(|pipeline| pipeline.name.as_str() == report.name);
    Ok(response.pipelines.into_iter().filter(ours).collect())
}
