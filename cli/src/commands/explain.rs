//! `windrow explain`: what an error code means, or why a window is not published.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use clap::Subcommand;
use jiff::tz::TimeZone;
use windrow_common::count::{counted, either};
use windrow_proto::v1::{self, WindowState};

use super::{exit::Exit, explain_code, get, range, target::Target};
use crate::{
    client::Admin,
    show::{Style, instant},
};

/// Explain an error code, or why a window is not published
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    subject: Option<Subject>,
    /// The code, as it stands in the error: WR-W002
    code: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Why is this window (not) published?
    Window(Window),
}

#[derive(Debug, clap::Args)]
struct Window {
    /// The pipeline
    pipeline: String,
    /// A moment in the window: 2013-02-01T10:00
    at: String,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (&args.subject, &args.code) {
        (Some(Subject::Window(window)), _) => explain_window(window).await.map(Into::into),
        (None, Some(code)) => explain_code::run(code),
        (None, None) => Ok(Exit::Config.into()),
    }
}

async fn explain_window(args: &Window) -> anyhow::Result<Exit> {
    let opened = args.target.open()?;
    let found = look(opened.admin(), &args.pipeline, &args.at).await;
    opened.close().await;
    let text = match found? {
        Found::Window(status) => render(&args.pipeline, &status, &args.target)?,
        Found::Outside(why) => format!("{} has no window at {}: {why}\n", args.pipeline, args.at),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// What is at a moment of a pipeline's time.
enum Found {
    Window(Box<v1::WindowStatus>),
    Outside(String),
}

async fn look(admin: &Admin, pipeline: &str, at: &str) -> anyhow::Result<Found> {
    let window = range::windows_of(admin, pipeline).await?;
    let zone = TimeZone::get(&window.timezone)?;
    let at = range::instant(at, &zone)?;
    let start = zone.to_timestamp(window.start)?;
    let end = window.end.map(|end| zone.to_timestamp(end)).transpose()?;
    if at < start {
        return Ok(Found::Outside(format!("its first window starts at {start}")));
    }
    if let Some(end) = end.filter(|end| *end <= at) {
        return Ok(Found::Outside(format!("its last window ends at {end}")));
    }
    let at = at.as_microsecond();
    let moment = v1::Window { axis: v1::Axis::Time.into(), start: at, end: at.saturating_add(1) };
    let found = get::fetch_range(admin, pipeline, Some(moment)).await?;
    let none = || Found::Outside("its windows do not reach that far".to_owned());
    Ok(found.into_iter().next().map_or_else(none, |status| Found::Window(Box::new(status))))
}

fn render(pipeline: &str, status: &v1::WindowStatus, target: &Target) -> anyhow::Result<String> {
    let style = Style::of(&io::stdout());
    let (start, end) = super::range::bounds(status.window.as_ref());
    let state = get::state_name(status.state());
    let mut text = format!("{pipeline} {start} {end}: {}\n", style.bold(state));
    for (i, reason) in reasons(status).iter().enumerate() {
        writeln!(text, "  {}. {reason}", i + 1)?;
    }
    let next = match status.state() {
        WindowState::Quarantined => format!(
            "mend the cause, then: windrow backfill create {pipeline} --from {start} --to {end} --reprocess missing+failed{}",
            target.as_flags()
        ),
        WindowState::Missing => {
            format!(
                "windrow backfill create {pipeline} --from {start} --to {end} --reprocess missing{}",
                target.as_flags()
            )
        }
        WindowState::Open => "wait until it closes".to_owned(),
        WindowState::Published => return Ok(text),
        _ => "nothing; it goes on by itself".to_owned(),
    };
    writeln!(text, "next step: {next}")?;
    Ok(text)
}

/// What happened to the window so far, in order.
fn reasons(status: &v1::WindowStatus) -> Vec<String> {
    let mut reasons = Vec::new();
    if status.due_us > 0 {
        let tense = if status.state() == WindowState::Open { "closes" } else { "was due" };
        reasons.push(format!("it {tense} {}", instant(status.due_us)));
    }
    let Some(task) = &status.task else {
        match status.state() {
            WindowState::Due => reasons.push("it is not planned yet".to_owned()),
            WindowState::Missing => reasons.push(
                "no task covers it: it lies before the pipeline's first run, or its task was cancelled".to_owned(),
            ),
            _ => {}
        }
        return reasons;
    };
    if task.windows > 1 {
        reasons.push(format!("it is one of {} windows of task {}", task.windows, short(task)));
    }
    if task.attempts > 0 {
        let lost =
            if task.lost_leases > 0 { format!(", {} lost their lease", task.lost_leases) } else { String::new() };
        reasons.push(format!("it was tried {}, {} failed{lost}", counted(task.attempts, "time"), task.errors));
    }
    if task.outage_attempts > 0 {
        let since = instant(task.outage_since_us);
        let tries = format!("{} {}", task.outage_attempts, either(task.outage_attempts, "try", "tries"));
        let cost = either(task.outage_attempts, "it costs", "they cost");
        reasons.push(format!("{tries} since {since} could not reach something; {cost} no attempt"));
    }
    if let Some(failure) = &task.failure {
        reasons.push(format!("the last attempt failed: {} [{}]", failure.message, failure.code));
    }
    if !task.worker.is_empty() {
        let sealed = status.state() == WindowState::Sealed;
        let (has, at) = if sealed { ("staged it", "by") } else { ("has it", "since") };
        let when = if task.since_us > 0 { format!(" {at} {}", instant(task.since_us)) } else { String::new() };
        reasons.push(format!("worker {} {has}{when}", task.worker));
    }
    reasons.extend(task.obstacles.iter().cloned());
    reasons
}

fn short(task: &v1::Task) -> String {
    windrow_proto::convert::task_id(&task.id).map(|id| id.short()).unwrap_or_default()
}
