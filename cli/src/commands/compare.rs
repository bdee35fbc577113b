//! `windrow compare`: rows whose keys are gone at the source are looked for and deleted, now.

use std::{
    io::{self, Write},
    time::Duration,
};

use windrow_common::{
    count::{counted, either},
    error,
    task::TaskPhase,
};
use windrow_proto::v1;
use windrow_worker::error::WorkerError;

use super::{exit::Exit, get, target::Target};
use crate::{
    client::Admin,
    show::{self, Output},
};

/// Compare the keys of a pipeline's table with those of its source now, and delete rows that are gone there
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline, which has to have a block `deletes`
    pipeline: String,
    /// Delete whatever is gone, though it is all of the table or more than `deletes.max_deleted`
    #[arg(long)]
    accept: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// How often it is looked at until it is done.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let opened = args.target.open()?;
    let done = compare(opened.admin(), args).await;
    opened.close().await;
    let deleted = done?;
    let value = serde_json::json!({ "pipeline": args.pipeline, "rows_deleted": deleted });
    let text = match show::encoded(&value, args.output)? {
        Some(text) => text,
        None if deleted == 0 => format!("{}: every key of the table is at the source\n", args.pipeline),
        None => format!(
            "{}: {} {} gone at the source: deleted, unless written meanwhile\n",
            args.pipeline,
            counted(deleted, "row"),
            either(deleted, "was", "were")
        ),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// How many rows were found to be gone. Stays until that is done: on this machine the work is done by this very process.
async fn compare(admin: &Admin, args: &Args) -> anyhow::Result<u64> {
    let before = deleted(admin, &args.pipeline).await?;
    let request = v1::CompareRequest { pipeline: args.pipeline.clone(), accept: args.accept };
    let asked = admin.call(request, |mut client, request| async move { client.compare(request).await }).await?;
    loop {
        let open = get::fetch_tasks(admin, args.pipeline.clone()).await?;
        let Some(ours) = open.iter().find(|task| task.id == asked.task) else {
            return Ok(deleted(admin, &args.pipeline).await?.saturating_sub(before));
        };
        if ours.state == TaskPhase::Quarantined.to_string() {
            let failure = ours.failure.clone().unwrap_or_default();
            let code = error::find(&failure.code).copied().unwrap_or(error::INTERNAL);
            return Err(WorkerError::never(code, failure.message).at(format!("pipeline {}", args.pipeline)).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How many rows of the pipeline comparisons have found gone so far.
async fn deleted(admin: &Admin, pipeline: &str) -> anyhow::Result<u64> {
    let request = v1::ListPipelinesRequest {};
    let found = admin.call(request, |mut client, request| async move { client.list_pipelines(request).await }).await?;
    let ours = found.pipelines.into_iter().find(|found| found.name == pipeline);
    Ok(ours.and_then(|found| found.totals).unwrap_or_default().rows_deleted)
}
