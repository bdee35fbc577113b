//! `windrow run`: pipelines from files, in this process, until everything due is settled.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use windrow_common::{
    clock::{Clock, SystemClock},
    pipeline::Pipeline,
};
use windrow_proto::v1;

use crate::{
    commands::{apply, exit::Exit},
    file::{self, Options},
    local::{Local, state_of},
    show::{Style, diagnostics, progress::Progress, summary},
};

/// Run pipelines here and now, without a cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pipeline file, or a folder of them
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Where to keep the ledger; beside the files unless given
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Tasks at a time; one per core unless given
    #[arg(long)]
    slots: Option<u32>,
}

/// How often the state of the pipelines is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// 0 when every due window is published, 2 when the files cannot be used, 4 when windows are quarantined.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(pipelines) = load(&args.path)? else { return Ok(Exit::Config) };
    let state = args.state.clone().unwrap_or_else(|| state_of(&args.path));
    let started = SystemClock::new();
    let local = Local::start(&state, args.slots.unwrap_or_else(default_slots))?;
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
    let text = summary::render(&args.path, &pipelines, (&before, &after), started.elapsed(), Style::of(&io::stdout()));
    io::stdout().write_all(text.as_bytes())?;
    let failed = after.iter().any(|pipeline| pipeline.quarantined > 0);
    Ok(if failed { Exit::SomeWindowsFailed } else { Exit::Ok })
}

/// One slot per core, and at least two, so that reading and writing overlap.
pub fn default_slots() -> u32 {
    std::thread::available_parallelism().map_or(2, |cores| u32::try_from(cores.get()).unwrap_or(2)).max(2)
}

/// The pipelines of the files, or nothing after their errors were shown.
pub fn load(path: &PathBuf) -> anyhow::Result<Option<Vec<Pipeline>>> {
    let loaded = file::load(std::slice::from_ref(path), &Options::new(SystemClock::new().now(), true));
    if !loaded.diagnostics.is_empty() {
        let text = diagnostics::render(&loaded, Style::of(&io::stderr()));
        io::stderr().write_all(text.as_bytes())?;
    }
    Ok((!loaded.failed()).then_some(loaded.pipelines))
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
