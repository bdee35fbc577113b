//! `windrow apply`: makes pipelines known to a cluster.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use windrow_common::{
    clock::{Clock, SystemClock},
    pipeline::Pipeline,
};
use windrow_proto::v1::{self, applied_pipeline::Change};

use crate::{
    client::{Admin, ClientError},
    commands::{exit::Exit, target::Target},
    file::{self, Options},
    show::{self, Output, Style, diagnostics, table::table},
};

/// Make pipelines known to the cluster, or change them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, or folders of which all *.yaml and *.yml files are taken
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// Most pipelines the cluster takes in one request.
pub const BATCH: usize = 40;

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let loaded = file::load(&args.paths, &Options::new(SystemClock::new().now(), false).asking());
    if !loaded.diagnostics.is_empty() {
        let text = diagnostics::render(&loaded, Style::of(&io::stderr()));
        io::stderr().write_all(text.as_bytes())?;
    }
    if loaded.failed() {
        return Ok(Exit::Config);
    }
    let session = args.target.open()?;
    let applied = send(session.admin(), &loaded.pipelines, args.dry_run).await;
    session.close().await;
    show(&applied?, args.output)?;
    Ok(Exit::Ok)
}

fn show(applied: &[v1::AppliedPipeline], output: Output) -> anyhow::Result<()> {
    let listed: Vec<_> = applied
        .iter()
        .map(|entry| serde_json::json!({ "name": entry.name, "change": change_name(entry), "windows_due": entry.windows_due }))
        .collect();
    let text = match show::encoded(&listed, output)? {
        Some(text) => text,
        None => table(
            &["PIPELINE", "CHANGE", "WINDOWS DUE"],
            applied
                .iter()
                .map(|entry| vec![entry.name.clone(), change_name(entry).to_owned(), entry.windows_due.to_string()]),
        ),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn change_name(applied: &v1::AppliedPipeline) -> &'static str {
    match applied.change() {
        Change::Created => "created",
        Change::Updated => "updated",
        Change::Unchanged | Change::Unspecified => "unchanged",
    }
}

/// Sends pipelines, in as many requests as it takes.
pub async fn send(
    admin: &Admin,
    pipelines: &[Pipeline],
    dry_run: bool,
) -> Result<Vec<v1::AppliedPipeline>, ClientError> {
    let mut applied = Vec::with_capacity(pipelines.len());
    for batch in pipelines.chunks(BATCH) {
        let specs = batch.iter().map(|pipeline| serde_json::to_vec(pipeline).unwrap_or_default());
        let request = v1::ApplyPipelinesRequest { pipelines: specs.collect(), validate_only: dry_run };
        let response =
            admin.call(request, |mut client, request| async move { client.apply_pipelines(request).await }).await?;
        applied.extend(response.pipelines);
    }
    Ok(applied)
}
