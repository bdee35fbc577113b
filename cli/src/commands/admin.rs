//! `windrow admin`: making the ledger good after the store was restored from a backup, or lost.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Subcommand;
use windrow_common::{
    clock::{Clock, SystemClock},
    count::{counted, either},
    pipeline::Pipeline,
};
use windrow_proto::v1;

use crate::{
    client::{Admin, ClientError},
    commands::{apply::BATCH, exit::Exit, target::Target},
    file::{self, Options},
    show::{Style, diagnostics},
};

/// Make the ledger good after the store was restored or lost
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Restore(RestoreArgs),
    Rebuild(RebuildArgs),
}

/// After the store was restored from a backup: take over what was published since
///
/// Claims of before count no more, and what the sinks hold is taken over as published. Nothing runs meanwhile.
#[derive(Debug, clap::Args)]
struct RestoreArgs {
    #[command(flatten)]
    target: Target,
}

/// After the store was lost: read what is published back from the sinks
///
/// Backfills under way, pauses and quarantines are forgotten; what is published is not, and is not loaded again.
#[derive(Debug, clap::Args)]
struct RebuildArgs {
    /// All pipelines there were: files, or folders of which all *.yaml and *.yml files are taken
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// How often the state of the recovery is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a sink may say that it cannot go on before that is the outcome: a worker may only have to connect.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Restore(args) => recover(&args.target, &[]).await,
        Verb::Rebuild(args) => {
            let options = Options::new(SystemClock::new().now(), args.target.is_local()).asking();
            let loaded = file::load(&args.paths, &options);
            if !loaded.diagnostics.is_empty() {
                let text = diagnostics::render(&loaded, Style::of(&io::stderr()));
                io::stderr().write_all(text.as_bytes())?;
            }
            if loaded.failed() {
                return Ok(Exit::Config);
            }
            recover(&args.target, &loaded.pipelines).await
        }
    }
}

impl Args {
    /// The verb, as it stands in traces.
    pub fn verb(&self) -> &'static str {
        match &self.verb {
            Verb::Restore(_) => "admin restore",
            Verb::Rebuild(_) => "admin rebuild",
        }
    }
}

async fn recover(target: &Target, pipelines: &[Pipeline]) -> anyhow::Result<Exit> {
    let opened = target.open()?;
    let outcome = async {
        begin(opened.admin(), pipelines).await?;
        until_done(opened.admin()).await
    };
    let outcome = outcome.await;
    opened.close().await;
    outcome
}

async fn begin(admin: &Admin, pipelines: &[Pipeline]) -> Result<(), ClientError> {
    let mut batches: Vec<&[Pipeline]> = pipelines.chunks(BATCH).collect();
    if batches.is_empty() {
        batches.push(&[]);
    }
    for batch in batches {
        let specs = batch.iter().map(|pipeline| serde_json::to_vec(pipeline).unwrap_or_default());
        let request = v1::RecoverRequest { pipelines: specs.collect() };
        admin.call(request, |mut client, request| async move { client.recover(request).await }).await?;
    }
    Ok(())
}

/// 0 when the ledger knows all the sinks know; 75 when a sink cannot go on. The recovery stays under way then.
async fn until_done(admin: &Admin) -> anyhow::Result<Exit> {
    let started = SystemClock::new();
    let mut told = Vec::new();
    loop {
        let state = admin
            .call(v1::GetRecoveryRequest {}, |mut client, request| async move { client.get_recovery(request).await })
            .await?;
        if !state.active {
            return finished(admin).await;
        }
        for sink in state.sinks.iter().filter(|sink| !sink.stuck.is_empty()) {
            let text = format!("{}: {}", sink.sink, sink.stuck);
            if !told.contains(&text) {
                writeln!(io::stderr(), "{text}")?;
                told.push(text);
            }
        }
        let all_settled = state.sinks.iter().all(|sink| sink.done || !sink.stuck.is_empty());
        if all_settled && !state.sinks.is_empty() && started.elapsed() > PATIENCE {
            writeln!(io::stderr(), "not done: it is tried again until the cause is gone; nothing runs meanwhile")?;
            return Ok(Exit::TryAgain);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn finished(admin: &Admin) -> anyhow::Result<Exit> {
    let listed = admin
        .call(v1::ListPipelinesRequest {}, |mut client, request| async move { client.list_pipelines(request).await })
        .await?;
    for pipeline in &listed.pipelines {
        let rows = pipeline.totals.map_or(0, |totals| totals.rows_written);
        writeln!(
            io::stdout(),
            "{}: {} {} published, {} written in {}",
            pipeline.name,
            counted(pipeline.published, "window"),
            either(pipeline.published, "is", "are"),
            counted(rows, "row"),
            counted(pipeline.seq, "commit")
        )?;
    }
    Ok(Exit::Ok)
}
