//! `windrow ready publish` and `windrow ready release`: what operators decide about closed windows.

use std::{
    io::{self, Write},
    time::Duration,
};

use windrow_common::{
    clock::{Clock, SystemClock},
    quantity::Pause,
};
use windrow_proto::v1;

use super::{
    exit::Exit,
    range::{self, bounds},
    target::Target,
};
use crate::client::Admin;

/// Which window, and who asks.
#[derive(Debug, clap::Args)]
struct Asked {
    /// The pipeline
    pipeline: String,
    /// The window that holds this time
    #[arg(long, value_name = "TIME")]
    window: String,
    /// Who you are, for whoever asks later
    #[arg(long, env = "USER", default_value = "unknown")]
    by: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub(super) struct PublishArgs {
    #[command(flatten)]
    asked: Asked,
    /// Why the window is complete without a load
    #[arg(long)]
    reason: String,
    /// How long to wait until it is published
    #[arg(long, default_value = "1m")]
    timeout: Pause,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    asked: Asked,
    /// Leave the window as it is and forget what is held
    #[arg(long)]
    drop: bool,
}

/// Longest a call waits.
const CALL: Duration = Duration::from_secs(20);

pub(super) async fn publish(args: &PublishArgs) -> anyhow::Result<Exit> {
    let opened = args.asked.target.open()?;
    let published = declare(opened.admin(), args).await;
    opened.close().await;
    Ok(if published? { Exit::Ok } else { Exit::TryAgain })
}

/// Whether it is published in time.
async fn declare(admin: &Admin, args: &PublishArgs) -> anyhow::Result<bool> {
    let Asked { pipeline, window, by, .. } = &args.asked;
    let window = range::window_at(admin, pipeline, window).await?;
    let (start, _) = bounds(Some(&window));
    let request = v1::DeclareWindowRequest {
        pipeline: pipeline.clone(),
        window: Some(window),
        by: by.clone(),
        reason: args.reason.clone(),
    };
    let found = admin.call(request, |mut client, request| async move { client.declare_window(request).await }).await?;
    if !found.declared {
        writeln!(io::stderr(), "{pipeline}: {start} is published or declared already")?;
    }
    let clock = SystemClock::new();
    loop {
        let left = args.timeout.0.saturating_sub(clock.elapsed());
        let request = v1::WaitReadyRequest {
            pipeline: pipeline.clone(),
            range: Some(window),
            settled: false,
            wait_ms: u64::try_from(left.min(CALL).as_millis()).unwrap_or(u64::MAX),
        };
        let found = admin.call(request, |mut client, request| async move { client.wait_ready(request).await }).await?;
        if found.ready {
            writeln!(io::stdout(), "{pipeline}: {start} is published")?;
            return Ok(true);
        }
        if left.is_zero() {
            writeln!(io::stdout(), "{pipeline}: {start} is declared complete and not published yet")?;
            return Ok(false);
        }
    }
}

pub(super) async fn release(args: &ReleaseArgs) -> anyhow::Result<Exit> {
    let opened = args.asked.target.open()?;
    let released = let_go(opened.admin(), args).await;
    opened.close().await;
    released?;
    Ok(Exit::Ok)
}

async fn let_go(admin: &Admin, args: &ReleaseArgs) -> anyhow::Result<()> {
    let Asked { pipeline, window, by, .. } = &args.asked;
    let window = range::window_at(admin, pipeline, window).await?;
    let request =
        v1::ReleaseLateRequest { pipeline: pipeline.clone(), window: Some(window), by: by.clone(), drop: args.drop };
    admin.call(request, |mut client, request| async move { client.release_late(request).await }).await?;
    let (start, _) = bounds(Some(&window));
    let what = if args.drop { "stays as it is" } else { "is loaded again, or what came late to it is put aside" };
    writeln!(io::stdout(), "{pipeline}: {start} {what}")?;
    Ok(())
}
