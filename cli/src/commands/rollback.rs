//! `windrow rollback`: readers see a version of a full load again that they saw before.

use std::{
    io::{self, Write},
    time::Duration,
};

use windrow_common::error;
use windrow_proto::v1;
use windrow_worker::error::WorkerError;

use super::{exit::Exit, failure::Mistake, target::Target};
use crate::{
    client::Admin,
    show::{self, Output},
    trace,
};

/// Have readers see a version of a full load again that they saw before
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline
    pipeline: String,
    /// The version to show, as `get versions` lists them; the one before the shown one unless given
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// A repeat with the same id finds what the first one did
    #[arg(long)]
    request_id: Option<String>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// How often it is looked at until it is settled.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let request = v1::CreateRollbackRequest {
        request_id: args.request_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        pipeline: args.pipeline.clone(),
        to: args.to.as_deref().map(version).transpose()?,
        validate_only: args.dry_run,
    };
    let opened = args.target.open()?;
    let settled = roll_back(request, opened.admin()).await;
    opened.close().await;
    let rollback = settled?;
    let done = rollback.state() == v1::RollbackState::Done;
    if args.dry_run && !done {
        print(&rollback, args.output, &format!("would show v{} again; v{} is shown", rollback.to, rollback.shown))?;
        return Ok(Exit::Ok);
    }
    if !done {
        return Err(failure(&rollback));
    }
    let said = format!("v{} is shown again, v{} was before (commit {})", rollback.to, rollback.shown, rollback.seq);
    print(&rollback, args.output, &said)?;
    trace::show(&rollback.trace)?;
    writeln!(
        io::stderr(),
        "loads go on, and the next one is shown above it; hold them with: windrow pause {}{}",
        args.pipeline,
        args.target.as_flags()
    )?;
    Ok(Exit::Ok)
}

/// Asks for it and stays until it is settled: on this machine the work is done by this very process.
async fn roll_back(request: v1::CreateRollbackRequest, admin: &Admin) -> anyhow::Result<v1::Rollback> {
    let only_look = request.validate_only;
    let made = admin
        .call(request, |mut client, request| async move { client.create_rollback(request).await })
        .await?
        .rollback
        .unwrap_or_default();
    let mut found = made.clone();
    while !only_look && !is_settled(&found) {
        tokio::time::sleep(PAUSE).await;
        let request = v1::GetRollbackRequest { pipeline: made.pipeline.clone() };
        let newest = admin.call(request, |mut client, request| async move { client.get_rollback(request).await });
        found = newest.await?.rollback.unwrap_or_default();
        if found.request_id != made.request_id {
            return Err(Mistake::usage(format!("another rollback of {} has followed this one", made.pipeline)));
        }
    }
    Ok(found)
}

fn is_settled(rollback: &v1::Rollback) -> bool {
    matches!(rollback.state(), v1::RollbackState::Done | v1::RollbackState::Failed)
}

/// `v3` or `3`.
fn version(text: &str) -> anyhow::Result<u32> {
    let number = text.strip_prefix('v').unwrap_or(text).parse();
    number.map_err(|_| Mistake::usage(format!("{text:?} is no version: write v3, as `windrow get versions` does")))
}

fn failure(rollback: &v1::Rollback) -> anyhow::Error {
    let failure = rollback.failure.clone().unwrap_or_default();
    let code = error::find(&failure.code).copied().unwrap_or(error::INTERNAL);
    WorkerError::never(code, format!("v{} stays shown: {}", rollback.shown, failure.message))
        .at(format!("pipeline {}", rollback.pipeline))
        .into()
}

fn print(rollback: &v1::Rollback, output: Output, words: &str) -> anyhow::Result<()> {
    let value = serde_json::json!({
        "pipeline": rollback.pipeline, "to": rollback.to, "shown": rollback.shown, "seq": rollback.seq,
        "state": state_name(rollback.state()), "request_id": rollback.request_id,
    });
    let text = show::encoded(&value, output)?.unwrap_or_else(|| format!("{}: {words}\n", rollback.pipeline));
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// A rollback's state in one word.
fn state_name(state: v1::RollbackState) -> &'static str {
    match state {
        v1::RollbackState::Asked => "asked",
        v1::RollbackState::Committing => "committing",
        v1::RollbackState::Done => "done",
        v1::RollbackState::Failed => "failed",
        v1::RollbackState::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_version_is_written_as_it_is_listed_or_as_a_number() {
        assert_eq!((version("v3").unwrap(), version("0").unwrap()), (3, 0));
        for bad in ["", "v", "vv1", "-1", "latest"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
