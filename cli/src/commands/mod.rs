//! The verbs. Each module has its arguments and its `run`.

use std::process::ExitCode;

use clap::Subcommand;

use crate::telemetry::Telemetry;

pub mod admin;
pub mod apply;
pub mod backfill;
pub mod clean;
mod closing;
pub mod compact;
pub mod compare;
pub mod coordinator;
pub mod describe;
pub mod dev;
pub mod discover;
pub mod exit;
pub mod explain;
pub mod explain_code;
pub mod failure;
pub mod get;
pub mod here;
mod mapping;
pub mod pin;
pub mod pipeline;
pub mod plan;
pub mod range;
pub mod ready;
pub mod rollback;
pub mod run;
pub mod schema;
pub mod target;
pub mod validate;
pub mod worker;

/// What windrow can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(run::Args),
    Validate(validate::Args),
    Discover(discover::Args),
    Schema(schema::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Get(get::Args),
    Describe(describe::Args),
    Explain(explain::Args),
    Backfill(backfill::Args),
    Rollback(rollback::Args),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Clean(clean::Args),
    Compact(compact::Args),
    Compare(compare::Args),
    Ready(ready::Args),
    Pause(pipeline::PauseArgs),
    Resume(pipeline::ResumeArgs),
    Admin(admin::Args),
    Dev(dev::Args),
    Coordinator(coordinator::Args),
    Worker(worker::Args),
}

impl Command {
    /// The process's name in traces, and how much it logs.
    pub fn service(&self) -> (&'static str, &'static str) {
        match self {
            Self::Coordinator(_) => ("windrow-coordinator", "info"),
            Self::Worker(_) => ("windrow-worker", "info"),
            Self::Dev(_) => ("windrow-dev", "info"),
            _ => ("windrow-cli", "error"),
        }
    }

    /// The verb, as it stands in traces.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Validate(_) => "validate",
            Self::Discover(_) => "discover",
            Self::Schema(_) => "schema",
            Self::Plan(_) => "plan",
            Self::Apply(_) => "apply",
            Self::Get(_) => "get",
            Self::Describe(_) => "describe",
            Self::Explain(_) => "explain",
            Self::Backfill(args) => args.verb(),
            Self::Rollback(_) => "rollback",
            Self::Pin(_) => "pin",
            Self::Unpin(_) => "unpin",
            Self::Clean(_) => "clean",
            Self::Compact(_) => "compact",
            Self::Compare(_) => "compare",
            Self::Ready(args) => args.verb(),
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Admin(args) => args.verb(),
            Self::Dev(_) => "dev",
            Self::Coordinator(_) => "coordinator",
            Self::Worker(_) => "worker",
        }
    }

    /// Whether the command is over when it has an answer. The others have no span of their own, since a span stays unseen
    /// until it ends: they run until they are stopped, or follow something that may take hours.
    pub fn is_short(&self) -> bool {
        match self {
            Self::Run(_) | Self::Dev(_) | Self::Coordinator(_) | Self::Worker(_) => false,
            Self::Backfill(args) => !args.follows(),
            Self::Ready(args) => !args.waits(),
            _ => true,
        }
    }

    pub async fn run(&self, telemetry: &Telemetry) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => run::run(args).await.map(Into::into),
            Self::Validate(args) => validate::run(args),
            Self::Discover(args) => discover::run(args).await.map(Into::into),
            Self::Schema(args) => schema::run(args),
            Self::Plan(args) => plan::run(args).await.map(Into::into),
            Self::Apply(args) => apply::run(args).await.map(Into::into),
            Self::Get(args) => get::run(args).await.map(Into::into),
            Self::Describe(args) => describe::run(args).await.map(Into::into),
            Self::Explain(args) => explain::run(args).await,
            Self::Backfill(args) => backfill::run(args).await.map(Into::into),
            Self::Rollback(args) => rollback::run(args).await.map(Into::into),
            Self::Pin(args) => pin::pin(args).await.map(Into::into),
            Self::Unpin(args) => pin::unpin(args).await.map(Into::into),
            Self::Clean(args) => clean::run(args).await.map(Into::into),
            Self::Compact(args) => compact::run(args).await.map(Into::into),
            Self::Compare(args) => compare::run(args).await.map(Into::into),
            Self::Ready(args) => ready::run(args).await.map(Into::into),
            Self::Pause(args) => pipeline::pause(args).await.map(Into::into),
            Self::Resume(args) => pipeline::resume(args).await.map(Into::into),
            Self::Admin(args) => admin::run(args).await.map(Into::into),
            Self::Dev(args) => dev::run(args).await.map(Into::into),
            Self::Coordinator(args) => coordinator::run(args, telemetry).await.map(Into::into),
            Self::Worker(args) => worker::run(args, telemetry).await.map(Into::into),
        }
    }
}

/// Resolves when the process is asked to stop: Ctrl-C, or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
