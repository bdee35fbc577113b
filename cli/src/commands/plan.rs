//! `windrow plan`: what pipelines would do, without doing it: which windows would run, what every column becomes, and how
//! the sink delivers.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde::Serialize;
use windrow_common::{
    clock::{Clock, SystemClock},
    pipeline::Pipeline,
};
use windrow_coordinator::core::calendar::Tiling;
use windrow_worker::{
    sink, source,
    transform::{Transform, TransformLimits},
};

use super::{exit::Exit, here};
use crate::show::{self, Output, Style, instant, number::grouped, summary, table::table};

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
    write: String,
    delivery: &'static str,
    /// Windows that are closed by now, for a ledger that knows nothing yet.
    windows_due: u64,
    tasks: u64,
    next_window_closes: Option<String>,
    columns: Vec<Column>,
    /// Why the columns are not known.
    columns_unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    source: String,
    sink: String,
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
    let changes = plans.iter().any(|plan| plan.windows_due > 0);
    Ok(if args.detailed_exitcode && changes { Exit::Changes } else { Exit::Ok })
}

async fn plan(pipeline: &Pipeline) -> Plan {
    let now = SystemClock::new().now();
    let tiling = pipeline.window.as_ref().and_then(|window| Tiling::new(window).ok());
    let windows_due = tiling.as_ref().map_or(1, |tiling| tiling.count(tiling.origin(), tiling.closed_to(now)));
    let per_task = pipeline.window.as_ref().map_or(1, |window| u64::from(window.run()));
    let next = tiling.as_ref().and_then(|tiling| tiling.closes(tiling.closed_to(now)));
    let (columns, columns_unknown) = match columns(pipeline).await {
        Ok(columns) => (columns, None),
        Err(cause) => (Vec::new(), Some(cause)),
    };
    Plan {
        pipeline: pipeline.name.to_string(),
        target: summary::place(pipeline),
        write: serde_json::to_value(pipeline.sink.write)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default(),
        delivery: sink::find(&pipeline.sink).map_or("unknown", |kind| kind.capabilities.delivery),
        windows_due,
        tasks: windows_due.div_ceil(per_task),
        next_window_closes: next.map(|at| instant(at.as_microsecond())),
        columns,
        columns_unknown,
    }
}

/// What every column of the source becomes in the sink; the reason in words if that cannot be told.
async fn columns(pipeline: &Pipeline) -> Result<Vec<Column>, String> {
    let params =
        |errors: Vec<source::ParamError>| errors.first().map(|error| error.message.clone()).unwrap_or_default();
    let kind = source::find(&pipeline.source).ok_or("no source serves the connection")?;
    let input = (kind.build)(&pipeline.source).map_err(params)?.schema().await.map_err(|error| error.to_string())?;
    let limits = TransformLimits { memory: pipeline.limits.memory, spill: None };
    let transform = Transform::new(&pipeline.transform, limits);
    let shape = transform.check(input.clone(), pipeline.source.cursor.as_deref());
    let rows = shape.await.map_err(|error| error.to_string())?.output;
    let kind = sink::find(&pipeline.sink).ok_or("no sink writes the format")?;
    let sink = (kind.build)(pipeline).map_err(params)?;
    let layout = sink.layout(rows).await.map_err(|error| format!("{error} [{}]", error.code()))?;
    let of = |name: &str| {
        input.field_with_name(name).map_or_else(|_| "(computed)".to_owned(), |field| field.data_type().to_string())
    };
    let column = |field: &std::sync::Arc<arrow_schema::Field>| Column {
        name: field.name().clone(),
        source: of(field.name()),
        sink: field.data_type().to_string(),
    };
    Ok(layout.schema.fields().iter().map(column).collect())
}

fn render(plan: &Plan) -> String {
    let style = Style::of(&io::stdout());
    let mut text = format!(
        "{} -> {}\n  {}, {} delivery\n  {} windows due now in {} tasks\n",
        style.bold(&plan.pipeline),
        plan.target,
        plan.write,
        plan.delivery,
        grouped(plan.windows_due),
        grouped(plan.tasks)
    );
    if let Some(next) = &plan.next_window_closes {
        text.push_str(&format!("  next window closes {next}\n"));
    }
    if let Some(unknown) = &plan.columns_unknown {
        text.push_str(&format!("  columns: {}\n", style.yellow(unknown)));
    }
    let rows = plan
        .columns
        .iter()
        .map(|column| vec![format!("  {}", column.name), column.source.clone(), column.sink.clone()]);
    if !plan.columns.is_empty() {
        text.push_str(&table(&["  COLUMN", "SOURCE", "SINK"], rows));
    }
    text
}
