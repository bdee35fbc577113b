//! `windrow dev`: a whole windrow in this process, which goes on until it is stopped.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::{apply, exit::Exit, run, stop_signal};
use crate::local::{Local, state_of};

/// Run pipelines here, and go on as time does
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A pipeline file, or a folder of them
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Where to keep the ledger; beside the files unless given
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Tasks at a time; one per core unless given
    #[arg(long)]
    slots: Option<u32>,
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(pipelines) = run::load(&args.path)? else { return Ok(Exit::Config) };
    let state = args.state.clone().unwrap_or_else(|| state_of(&args.path));
    let local = Local::start(&state, args.slots.unwrap_or_else(run::default_slots))?;
    let applied = apply::send(local.admin(), &pipelines, false).await;
    if applied.is_ok() {
        writeln!(io::stderr(), "{} pipelines run; stop with Ctrl-C", pipelines.len())?;
        stop_signal().await;
    }
    local.stop().await;
    applied?;
    Ok(Exit::Ok)
}
