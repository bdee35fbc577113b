//! `windrow plan`: what pipelines would do, without doing it: which windows would run, what every column becomes and loses,
//! and how the sink delivers.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde::Serialize;
use windrow_common::{
    clock::{Clock, SystemClock},
    count::counted,
    gather::Gather,
    pipeline::{Pattern, Pipeline},
    schema::OnChange,
};
use windrow_coordinator::core::calendar::Tiling;
use windrow_worker::sink;

use super::{
    exit::Exit,
    here,
    mapping::{self, Column},
};
use crate::show::{self, Output, Style, instant, summary};

/// Show what pipelines would do: windows, types, delivery
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pipeline file, or a folder of them
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Exit with 3 when something would run
    #[arg(long)]
    detailed_exitcode: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What one pipeline would do.
#[derive(Debug, Serialize)]
struct Plan {
    pipeline: String,
    target: String,
    /// Whether it loads anything; where not, the table's small files are rewritten and nothing else.
    loads: bool,
    write: String,
    delivery: &'static str,
    /// Windows that are closed by now, for a ledger that knows nothing yet.
    windows_due: u64,
    tasks: u64,
    next_window_closes: Option<String>,
    /// How long sealed windows wait for more of them.
    gather: Option<Gather>,
    /// What becomes of rows with a column that the table has not, and with values its columns have no equal for.
    new_column: &'static str,
    type_change: &'static str,
    /// What becomes of older versions.
    lifecycle: Vec<String>,
    columns: Vec<Column>,
    /// Whether rows travel as they are: no value is decoded.
    verbatim: bool,
    /// Why values are decoded, where source and sink are of one kind.
    decoded: Option<String>,
    /// Why the columns are not known.
    columns_unknown: Option<String>,
    /// Why the sink does not take the rows, where it is not for a column of theirs.
    refused: Option<String>,
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(pipelines) = here::load(&args.path)? else { return Ok(Exit::Config) };
    let mut plans = Vec::with_capacity(pipelines.len());
    for pipeline in &pipelines {
        plans.push(plan(pipeline).await);
    }
    let text = match show::encoded(&plans, args.output)? {
        Some(text) => text,
        None => plans.iter().map(render).collect::<Vec<_>>().join("\n"),
    };
    io::stdout().write_all(text.as_bytes())?;
    if plans.iter().any(|plan| plan.refused.is_some() || plan.columns.iter().any(|column| column.error.is_some())) {
        return Ok(Exit::Config);
    }
    let changes = plans.iter().any(|plan| plan.windows_due > 0);
    Ok(if args.detailed_exitcode && changes { Exit::Changes } else { Exit::Ok })
}

async fn plan(pipeline: &Pipeline) -> Plan {
    let now = SystemClock::new().now();
    // What comes late to another pipeline's windows nobody can know.
    let own = pipeline.window.as_ref().filter(|_| pipeline.beside.is_none());
    let tiling = own.and_then(|window| Tiling::new(window).ok());
    let compacts = pipeline.pattern == Pattern::Compact;
    let whole = u64::from(!compacts && pipeline.beside.is_none());
    let windows_due = tiling.as_ref().map_or(whole, |tiling| tiling.count(tiling.origin(), tiling.closed_to(now)));
    let per_task = pipeline.window.as_ref().map_or(1, |window| u64::from(window.run()));
    let next = tiling.as_ref().and_then(|tiling| tiling.closes(tiling.closed_to(now)));
    let mapped = if compacts { None } else { Some(mapping::of(pipeline).await) };
    let (mapping, columns_unknown) = match mapped.transpose() {
        Ok(mapping) => (mapping, None),
        Err(cause) => (None, Some(cause)),
    };
    let verbatim = mapping.as_ref().is_some_and(|mapping| mapping.decoded.is_none());
    let (columns, refused, decoded) =
        mapping.map_or_else(Default::default, |mapping| (mapping.columns, mapping.refused, mapping.decoded));
    // Between others nobody expects anything else.
    let alike = pipeline.source.from.kind == pipeline.sink.format;
    let usual = sink::find(&pipeline.sink).map_or(OnChange::Freeze, |kind| (kind.schema_changes)(&pipeline.sink).usual);
    Plan {
        pipeline: pipeline.name.to_string(),
        target: summary::place(pipeline),
        loads: !compacts,
        write: serde_json::to_value(pipeline.sink.write)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default(),
        delivery: sink::find(&pipeline.sink).map_or("unknown", |kind| kind.capabilities.delivery),
        windows_due,
        tasks: windows_due.div_ceil(per_task),
        next_window_closes: next.map(|at| instant(at.as_microsecond())),
        gather: pipeline.sink.gather,
        new_column: pipeline.schema.new_column.unwrap_or(usual).word(),
        type_change: pipeline.schema.type_change.unwrap_or(usual).word(),
        lifecycle: sink::find(&pipeline.sink).map(|kind| (kind.lifecycle)(pipeline)).unwrap_or_default(),
        columns,
        verbatim,
        decoded: decoded.filter(|_| alike),
        columns_unknown,
        refused,
    }
}

fn render(plan: &Plan) -> String {
    let style = Style::of(&io::stdout());
    let mut text = match plan.loads {
        true => loading(plan, style),
        false => {
            format!("{}: {}\n  loads nothing; small files are rewritten\n", style.bold(&plan.pipeline), plan.target)
        }
    };
    for sentence in &plan.lifecycle {
        text.push_str(&format!("  {sentence}\n"));
    }
    match &plan.decoded {
        Some(why) => text.push_str(&format!("  values are decoded: {why}\n")),
        None if plan.verbatim => text.push_str("  rows travel as they are: not decoded\n"),
        None => {}
    }
    if let Some(unknown) = &plan.columns_unknown {
        text.push_str(&format!("  columns: {}\n", style.yellow(unknown)));
    }
    text.push_str(&mapping::render(&plan.columns, style));
    if let Some(refused) = &plan.refused {
        text.push_str(&format!("  {}\n", style.red(refused)));
    }
    text
}

/// What it loads, and when.
fn loading(plan: &Plan, style: Style) -> String {
    let mut text = format!(
        "{} -> {}\n  {}, {} delivery\n  {} due now in {}\n",
        style.bold(&plan.pipeline),
        plan.target,
        plan.write,
        plan.delivery,
        counted(plan.windows_due, "window"),
        counted(plan.tasks, "task")
    );
    if let Some(next) = &plan.next_window_closes {
        text.push_str(&format!("  next window closes {next}\n"));
    }
    if let Some(Gather { wait, size }) = plan.gather {
        text.push_str(&format!("  sealed windows are gathered until they have {size}, {wait} at most\n"));
    }
    text.push_str(&format!("  columns that change: new {}, of another type {}\n", plan.new_column, plan.type_change));
    text
}
