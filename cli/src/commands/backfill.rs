//! `windrow backfill`: marking a part of a pipeline's timeline to be moved again, and seeing it through.

use std::io::{self, Write};

use clap::{Subcommand, ValueEnum};
use tracing::Instrument;
use windrow_common::count::{counted, grouped};
use windrow_proto::v1;

use super::{
    exit::Exit,
    range,
    target::{Opened, Target},
};
use crate::{
    client::Admin,
    show::{self, Output, Style, calendar, instant},
    trace,
};

/// Load a part of a pipeline's timeline, again or for the first time
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List exactly which windows would run, and why
    Preview(Range),
    /// Create it
    Create(Create),
    /// Follow it until it is settled
    Watch(One),
    /// Give it no new work; what runs goes on
    Pause(One),
    /// Go on with a paused one
    Resume(One),
    /// Withdraw what is not done
    Cancel(One),
}

#[derive(Debug, clap::Args)]
struct Range {
    /// The pipeline
    pipeline: String,
    /// From this time on, in the pipeline's zone
    #[arg(long)]
    from: Option<String>,
    /// Before this time
    #[arg(long)]
    to: Option<String>,
    /// Which windows of the range run
    #[arg(long, value_enum, default_value_t)]
    reprocess: Choice,
    /// Which run first
    #[arg(long, value_enum, default_value_t)]
    order: Order,
    /// Most tasks at a time; the pipeline's own limit unless given
    #[arg(long, default_value_t = 0)]
    concurrency: u32,
    /// Allow more than 10,000 windows
    #[arg(long)]
    force: bool,
    /// Let loads through whatever their guards say
    #[arg(long)]
    accept: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    range: Range,
    /// A repeat with the same id finds what the first one made
    #[arg(long)]
    request_id: Option<String>,
    /// Do not follow it
    #[arg(long)]
    no_watch: bool,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The backfill
    id: String,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Windows that were never published
    #[default]
    Missing,
    /// Those, and failed ones
    #[value(name = "missing+failed")]
    MissingFailed,
    /// All; published ones are replaced
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    #[default]
    Oldest,
    Newest,
}

impl Args {
    /// The verb, as it stands in traces.
    pub fn verb(&self) -> &'static str {
        match &self.verb {
            Verb::Preview(_) => "backfill preview",
            Verb::Create(_) => "backfill create",
            Verb::Watch(_) => "backfill watch",
            Verb::Pause(_) => "backfill pause",
            Verb::Resume(_) => "backfill resume",
            Verb::Cancel(_) => "backfill cancel",
        }
    }

    /// Whether it goes on when it has its answer. Creating has a span of its own, for the request alone.
    pub fn follows(&self) -> bool {
        matches!(&self.verb, Verb::Create(_) | Verb::Watch(_))
    }
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Preview(range) => with(&range.target, async |opened| preview(range, opened.admin()).await).await,
        Verb::Create(create) => with(&create.range.target, async |opened| self::create(create, opened).await).await,
        Verb::Watch(one) => with(&one.target, async |opened| watch(&one.id, opened.admin()).await).await,
        Verb::Pause(one) => set(one, v1::BackfillState::Paused).await,
        Verb::Resume(one) => set(one, v1::BackfillState::Running).await,
        Verb::Cancel(one) => set(one, v1::BackfillState::Cancelled).await,
    }
}

/// Opens the target, does something with it and closes it again whatever came out.
async fn with(target: &Target, work: impl AsyncFnOnce(&Opened) -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    let opened = target.open()?;
    let outcome = work(&opened).await;
    opened.close().await;
    outcome
}

async fn spec(range: &Range, admin: &Admin) -> anyhow::Result<v1::BackfillSpec> {
    let choice = match range.reprocess {
        Choice::Missing => v1::BackfillChoice::Missing,
        Choice::MissingFailed => v1::BackfillChoice::MissingFailed,
        Choice::All => v1::BackfillChoice::All,
    };
    let order = match range.order {
        Order::Oldest => v1::BackfillOrder::OldestFirst,
        Order::Newest => v1::BackfillOrder::NewestFirst,
    };
    Ok(v1::BackfillSpec {
        pipeline: range.pipeline.clone(),
        range: range::of(admin, &range.pipeline, range.from.as_deref(), range.to.as_deref()).await?,
        choice: choice.into(),
        order: order.into(),
        concurrency: range.concurrency,
        force: range.force,
        accept: range.accept,
    })
}

async fn preview(range: &Range, admin: &Admin) -> anyhow::Result<Exit> {
    let request = v1::PreviewBackfillRequest { spec: Some(spec(range, admin).await?) };
    let found =
        admin.call(request, |mut client, request| async move { client.preview_backfill(request).await }).await?;
    let text = match show::encoded(&preview_value(&found), range.output)? {
        Some(text) => text,
        None => calendar::render(&range.pipeline, &found, Style::of(&io::stdout())),
    };
    io::stdout().write_all(text.as_bytes())?;
    if range.output == Output::Table && found.windows.iter().any(|window| window.will_run) {
        writeln!(io::stderr(), "create it:  {}", create_command(range))?;
    }
    Ok(Exit::Ok)
}

fn preview_value(found: &v1::PreviewBackfillResponse) -> serde_json::Value {
    let windows = found.windows.iter().map(|window| {
        let (start, end) = range::bounds(window.window.as_ref());
        let state = super::get::state_name(window.state());
        serde_json::json!({ "start": start, "end": end, "state": state, "will_run": window.will_run, "why": window.why })
    });
    serde_json::json!({
        "published": found.published, "missing": found.missing, "failed": found.failed, "open": found.open,
        "windows": windows.collect::<Vec<_>>(),
    })
}

fn create_command(range: &Range) -> String {
    let mut text = format!("windrow backfill create {}", range.pipeline);
    for (flag, value) in [("from", &range.from), ("to", &range.to)] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag} {value}"));
        }
    }
    let choice = range.reprocess.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let accept = if range.accept { " --accept" } else { "" };
    text.push_str(&format!(" --reprocess {choice}{accept}{}", range.target.as_flags()));
    text
}

async fn create(args: &Create, opened: &Opened) -> anyhow::Result<Exit> {
    let admin = opened.admin();
    let backfill = submit(args, admin).instrument(trace::command_span("backfill create")).await?;
    trace::show(&backfill.trace)?;
    // On this machine the work is done by this very process, so it stays until the backfill is settled.
    if args.no_watch && !args.range.target.is_local() {
        print(&backfill, args.range.output)?;
        return Ok(Exit::Ok);
    }
    watch(&backfill.id, admin).await
}

async fn submit(args: &Create, admin: &Admin) -> anyhow::Result<v1::Backfill> {
    let request = v1::CreateBackfillRequest {
        request_id: args.request_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        spec: Some(spec(&args.range, admin).await?),
        validate_only: false,
    };
    let created =
        admin.call(request, |mut client, request| async move { client.create_backfill(request).await }).await?;
    Ok(created.backfill.unwrap_or_default())
}

async fn watch(id: &str, admin: &Admin) -> anyhow::Result<Exit> {
    let request = v1::WatchBackfillRequest { id: id.to_owned() };
    loop {
        let mut stream = admin
            .call(request.clone(), |mut client, request| async move { client.watch_backfill(request).await })
            .await?;
        // A stream that breaks (the leader changed) is opened again.
        while let Ok(Some(update)) = stream.message().await {
            let Some(backfill) = update.backfill else { continue };
            writeln!(io::stderr(), "{}", line(&backfill))?;
            if backfill.settled_us != 0 {
                return Ok(match backfill.state() {
                    v1::BackfillState::Failed => Exit::SomeWindowsFailed,
                    v1::BackfillState::Succeeded => Exit::Ok,
                    // Somebody withdrew it: what it was to do is not done.
                    _ => Exit::Failed,
                });
            }
        }
    }
}

async fn set(one: &One, state: v1::BackfillState) -> anyhow::Result<Exit> {
    with(&one.target, async |opened| {
        let request = v1::SetBackfillStateRequest { id: one.id.clone(), state: state.into() };
        let answer =
            opened.admin().call(request, |mut client, request| async move { client.set_backfill_state(request).await });
        print(&answer.await?.backfill.unwrap_or_default(), one.output)?;
        Ok(Exit::Ok)
    })
    .await
}

fn print(backfill: &v1::Backfill, output: Output) -> anyhow::Result<()> {
    let text = show::encoded(&value(backfill), output)?.unwrap_or_else(|| format!("{}\n", line(backfill)));
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// `bf-7k2q visits  2/3 published, 1 retrying, running`
fn line(backfill: &v1::Backfill) -> String {
    let pipeline = backfill.spec.as_ref().map(|spec| spec.pipeline.as_str()).unwrap_or_default();
    let mut text =
        format!("{} {pipeline}  {}/{}", backfill.id, grouped(backfill.published), counted(backfill.windows, "window"));
    for (count, what) in [(backfill.running, "running"), (backfill.retrying, "retrying"), (backfill.failed, "failed")] {
        if count > 0 {
            text.push_str(&format!(", {} {what}", grouped(count)));
        }
    }
    text.push_str(&format!(", {}", state_name(backfill.state())));
    if let Some(failure) = backfill.last_failure.as_ref() {
        text.push_str(&format!(" ({}: {})", failure.code, failure.message));
    }
    text
}

/// A backfill for programs.
pub fn value(backfill: &v1::Backfill) -> serde_json::Value {
    let spec = backfill.spec.clone().unwrap_or_default();
    let (from, to) = range::bounds(spec.range.as_ref());
    serde_json::json!({
        "id": backfill.id, "pipeline": spec.pipeline, "from": from, "to": to,
        "state": state_name(backfill.state()), "windows": backfill.windows, "published": backfill.published,
        "failed": backfill.failed, "running": backfill.running, "retrying": backfill.retrying,
        "created": instant(backfill.created_us),
        "settled": (backfill.settled_us != 0).then(|| instant(backfill.settled_us)),
        "trace": trace::trace_id(&backfill.trace),
    })
}

/// A backfill's state in one word.
pub fn state_name(state: v1::BackfillState) -> &'static str {
    match state {
        v1::BackfillState::Running => "running",
        v1::BackfillState::Paused => "paused",
        v1::BackfillState::Cancelled => "cancelled",
        v1::BackfillState::Succeeded => "succeeded",
        v1::BackfillState::Failed => "failed",
        v1::BackfillState::Unspecified => "unknown",
    }
}
