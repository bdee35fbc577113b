//! `windrow ready`: whether a pipeline's windows may be read, now or as soon as they may.

use std::{
    io::{self, Write},
    time::Duration,
};

use windrow_common::{
    clock::{Clock, SystemClock},
    count::{counted, either, grouped},
    quantity::Pause,
};
use windrow_proto::v1;

use super::{
    closing,
    exit::Exit,
    failure::Mistake,
    get::state_name,
    range::{self, bounds},
    target::Target,
};
use crate::{
    client::Admin,
    show::{self, Output},
};

/// Tell whether windows are published, or wait until they are
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Wait until all windows of a range are published
    ///
    /// Exits with 0 when they are, 4 when one of them is quarantined, 75 when the time is over.
    Wait {
        #[command(flatten)]
        asked: Asked,
        /// How long to wait
        #[arg(long, default_value = "1h")]
        timeout: Pause,
    },
    /// Tell whether all windows of a range are published
    ///
    /// Exits with 0 when they are, 75 when not.
    Check {
        #[command(flatten)]
        asked: Asked,
        /// Tell also whether nothing can change them any more, and what shows that
        ///
        /// Exits with 75 unless that is so.
        #[arg(long)]
        immutable: bool,
    },
    /// Declare a window complete: it is published without a load
    ///
    /// For a window that would never be: whoever waits for it goes on, and is told who said so. Load it later with `windrow
    /// backfill create --reprocess all`.
    Publish(closing::PublishArgs),
    /// Decide about a closed window whose source has changed
    ///
    /// What is held of it is let go, and the window is loaded again, or stays as it is with --drop.
    Release(closing::ReleaseArgs),
}

#[derive(Debug, clap::Args)]
struct Asked {
    /// The pipeline
    pipeline: String,
    /// The window that holds this time; all that is due without it and without a range
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to", "version"])]
    window: Option<String>,
    /// Start of the range, in the pipeline's zone
    #[arg(long)]
    from: Option<String>,
    /// End of the range; not part of it
    #[arg(long)]
    to: Option<String>,
    /// The version of a full load; the newest without it
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["from", "to"])]
    version: Option<String>,
    /// Take for ready only what is not about to be loaded again
    #[arg(long)]
    settled: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// How long one call waits: less than proxies let a call be quiet.
const CALL: Duration = Duration::from_secs(20);

impl Args {
    pub fn verb(&self) -> &'static str {
        match &self.verb {
            Verb::Wait { .. } => "ready wait",
            Verb::Check { .. } => "ready check",
            Verb::Publish(_) => "ready publish",
            Verb::Release(_) => "ready release",
        }
    }

    /// Whether it may take hours.
    pub fn waits(&self) -> bool {
        matches!(self.verb, Verb::Wait { .. })
    }
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let (asked, timeout, immutable) = match &args.verb {
        Verb::Wait { asked, timeout } => (asked, timeout.0, false),
        Verb::Check { asked, immutable } => (asked, Duration::ZERO, *immutable),
        Verb::Publish(args) => return closing::publish(args).await,
        Verb::Release(args) => return closing::release(args).await,
    };
    let opened = asked.target.open()?;
    let found = wait(opened.admin(), asked, timeout).await;
    opened.close().await;
    let found = found?;
    let closed = found.closed.clone().unwrap_or_default();
    print(asked, &found, immutable.then_some(&closed))?;
    Ok(match (found.ready && (closed.immutable || !immutable), args.waits() && is_quarantined(&found)) {
        (true, _) => Exit::Ok,
        (false, true) => Exit::SomeWindowsFailed,
        (false, false) => Exit::TryAgain,
    })
}

/// Asks until it is ready, cannot become so by itself, or the time is over.
async fn wait(admin: &Admin, asked: &Asked, timeout: Duration) -> anyhow::Result<v1::WaitReadyResponse> {
    let clock = SystemClock::new();
    let range = range_of(admin, asked).await?;
    let mut told = None;
    loop {
        let left = timeout.saturating_sub(clock.elapsed());
        let request = v1::WaitReadyRequest {
            pipeline: asked.pipeline.clone(),
            range,
            settled: asked.settled,
            wait_ms: u64::try_from(left.min(CALL).as_millis()).unwrap_or(u64::MAX),
        };
        let found = admin.call(request, |mut client, request| async move { client.wait_ready(request).await }).await?;
        if found.ready || left.is_zero() || is_quarantined(&found) {
            return Ok(found);
        }
        let waits_for = in_words(asked, &found);
        if told.as_ref() != Some(&waits_for) {
            writeln!(io::stderr(), "{waits_for}")?;
            told = Some(waits_for);
        }
    }
}

async fn range_of(admin: &Admin, asked: &Asked) -> anyhow::Result<Option<v1::Window>> {
    if let Some(version) = &asked.version {
        let number = version.strip_prefix('v').unwrap_or(version).parse::<u32>();
        let number = number.map_err(|_| Mistake::usage(format!("{version:?} is no version: write v3")))?;
        return Ok(Some(windrow_common::window::Window::version(number).into()));
    }
    match &asked.window {
        Some(time) => range::window_at(admin, &asked.pipeline, time).await.map(Some),
        None => range::of(admin, &asked.pipeline, asked.from.as_deref(), asked.to.as_deref()).await,
    }
}

fn is_quarantined(found: &v1::WaitReadyResponse) -> bool {
    found.first.as_ref().is_some_and(|first| first.state() == v1::WindowState::Quarantined)
}

fn print(asked: &Asked, found: &v1::WaitReadyResponse, closed: Option<&v1::Closed>) -> anyhow::Result<()> {
    let (start, end) = bounds(found.range.as_ref());
    let first = found.first.as_ref().map(|first| {
        let (start, end) = bounds(first.window.as_ref());
        serde_json::json!({ "start": start, "end": end, "state": state_name(first.state()), "why": why(first) })
    });
    let mut value = serde_json::json!({
        "pipeline": asked.pipeline, "ready": found.ready, "start": start, "end": end,
        "windows": found.windows, "published": found.published, "first_not_ready": first,
    });
    if let Some(closed) = closed {
        value["closed"] = closed_value(closed);
    }
    let words = || format!("{}\n{}", in_words(asked, found), closed.map(closed_in_words).unwrap_or_default());
    let text = show::encoded(&value, asked.output)?.unwrap_or_else(words);
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn in_words(asked: &Asked, found: &v1::WaitReadyResponse) -> String {
    let (windows, are) = (counted(found.windows, "window"), either(found.windows, "is", "are"));
    let published = format!("{} of {windows} {are} published", grouped(found.published));
    let Some(first) = &found.first else {
        return format!("{}: ready, {published}", asked.pipeline);
    };
    let (start, _) = bounds(first.window.as_ref());
    let why = match why(first) {
        why if why.is_empty() => String::new(),
        why => format!(": {why}"),
    };
    let state = state_name(first.state());
    format!("{}: not ready, {published}; {start} is {state}{why}", asked.pipeline)
}

fn digest(closed: &v1::Closed) -> String {
    closed.digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How far a range is closed, for programs.
fn closed_value(closed: &v1::Closed) -> serde_json::Value {
    let declared = |found: &v1::DeclaredWindow| {
        let (start, end) = bounds(found.window.as_ref());
        let declared = found.declared.clone().unwrap_or_default();
        serde_json::json!({
            "start": start, "end": end, "by": declared.by, "reason": declared.reason, "at": show::instant(declared.at_us),
        })
    };
    serde_json::json!({
        "immutable": closed.immutable, "why_not": closed.why_not, "revision": closed.revision, "seq": closed.seq,
        "digest": digest(closed), "declared": closed.declared.iter().map(declared).collect::<Vec<_>>(),
    })
}

fn closed_in_words(closed: &v1::Closed) -> String {
    let revision = match closed.revision {
        Some(0) => "each window was loaded once".to_owned(),
        Some(revision) => format!("windows were loaded again, up to revision {revision}"),
        None => "windows may have been loaded again before that was noted".to_owned(),
    };
    let commit = format!("commit {} ({}) follows from all before it", closed.seq, digest(closed));
    match closed.immutable {
        true => format!("nothing can load it again; {revision}; {commit}\n"),
        false => format!("it may change yet: {}; {revision}; {commit}\n", closed.why_not),
    }
}

/// Why the first window that is not ready is not.
fn why(first: &v1::WindowStatus) -> String {
    let Some(task) = &first.task else { return String::new() };
    match &task.failure {
        _ if !task.waiting_for.is_empty() => task.waiting_for.clone(),
        Some(failure) => format!("{} [{}]", failure.message, failure.code),
        None => task.obstacles.first().cloned().unwrap_or_default(),
    }
}
