//! `windrow describe`: everything about one pipeline.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use windrow_common::count::{counted, grouped};
use windrow_proto::v1;

use super::{exit::Exit, failure::Mistake, get, target::Target};
use crate::show::{
    self, Output, Style, instant,
    number::bytes,
    state::{what_holds_it_up, word},
};

/// Show a pipeline: its spec, its windows, its tasks and what went wrong
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline
    pipeline: String,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// Open tasks shown at most.
const MAX_TASKS: usize = 20;

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let opened = args.target.open()?;
    let found = async {
        let pipelines = get::fetch_pipelines(opened.admin()).await?;
        let tasks = get::fetch_tasks(opened.admin(), args.pipeline.clone()).await?;
        anyhow::Ok((pipelines.into_iter().find(|pipeline| pipeline.name == args.pipeline), tasks))
    };
    let found = found.await;
    opened.close().await;
    let (Some(pipeline), tasks) = found? else {
        return Err(Mistake::no_pipeline(&args.pipeline));
    };
    let spec: serde_json::Value = serde_json::from_slice(&pipeline.spec)?;
    let text = match show::encoded(&serde_json::json!({ "spec": spec, "state": state(&pipeline) }), args.output)? {
        Some(text) => text,
        None => render(&pipeline, &spec, &tasks)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

fn state(pipeline: &v1::Pipeline) -> serde_json::Value {
    serde_json::json!({
        "paused": pipeline.paused, "sink": pipeline.sink, "seq": pipeline.seq, "published": pipeline.published,
        "quarantined": pipeline.quarantined, "unplanned": pipeline.unplanned, "pending": pipeline.pending,
        "claimed": pipeline.claimed, "sealed": pipeline.sealed, "waiting": pipeline.waiting,
        "state": word(pipeline), "held_up": pipeline.held_up,
        "trouble": pipeline.trouble.as_ref().map(get::trouble_value),
    })
}

fn render(pipeline: &v1::Pipeline, spec: &serde_json::Value, tasks: &[v1::Task]) -> anyhow::Result<String> {
    let style = Style::of(&io::stdout());
    let totals = pipeline.totals.unwrap_or_default();
    let mut text = format!("{}\n", style.bold(&pipeline.name));
    writeln!(
        text,
        "  windows    {} published, {} failed, {} open",
        grouped(pipeline.published),
        grouped(pipeline.quarantined),
        grouped(pipeline.unplanned + pipeline.waiting + pipeline.pending + pipeline.claimed + pipeline.sealed)
    )?;
    writeln!(
        text,
        "  moved      {}, {}, {}",
        counted(totals.rows_written, "row"),
        bytes(totals.bytes_written),
        counted(totals.files, "file")
    )?;
    writeln!(text, "  sink       {}, commit {}", pipeline.sink, pipeline.seq)?;
    if pipeline.complete_to > 0 && get::is_of_time(pipeline) {
        writeln!(text, "  complete   to {}", instant(pipeline.complete_to))?;
    }
    if pipeline.next_due_us > 0 {
        writeln!(text, "  next       window closes {}", instant(pipeline.next_due_us))?;
    }
    if pipeline.paused {
        writeln!(text, "  {}", style.yellow("paused"))?;
    }
    if let Some(reason) = what_holds_it_up(pipeline) {
        writeln!(text, "  {}   {reason}", style.red(word(pipeline)))?;
    }
    if let Some(failure) = &pipeline.last_failure {
        writeln!(text, "  last error {} {}", style.red(&failure.code), failure.message)?;
    }
    let given_up = pipeline.comparison.as_ref().and_then(|comparison| comparison.given_up.as_ref());
    if let Some(failure) = given_up {
        writeln!(text, "  comparison {} {}", style.red(&failure.code), failure.message)?;
    }
    for task in tasks.iter().take(MAX_TASKS) {
        let (start, end) = super::range::bounds(task.window.as_ref());
        match &task.group {
            Some(group) => writeln!(
                text,
                "  compaction {}, {}, {} {}, attempt {}",
                counted(group.files, "file"),
                bytes(group.bytes),
                group.place,
                task.state,
                task.attempts
            )?,
            None if task.comparison => {
                writeln!(text, "  comparison of keys {}, attempt {}", task.state, task.attempts)?
            }
            None => writeln!(
                text,
                "  task       {start} {end} {}, attempt {}, {}",
                task.state,
                task.attempts,
                counted(task.windows, "window")
            )?,
        }
        for obstacle in &task.obstacles {
            writeln!(text, "             {obstacle}")?;
        }
    }
    if tasks.len() > MAX_TASKS {
        writeln!(text, "  and {}: windrow get tasks {}", counted(tasks.len() - MAX_TASKS, "more task"), pipeline.name)?;
    }
    writeln!(text, "\n{}", serde_saphyr::to_string(spec)?)?;
    Ok(text)
}
