//! `windrow dev`: a whole windrow in this process, which goes on until it is stopped.

use std::io::{self, Write};

use windrow_common::count::{counted, either};

use super::{apply, exit::Exit, here::Here, stop_signal};

/// Run pipelines here, and go on as time does
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    here: Here,
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(pipelines) = args.here.load()? else { return Ok(Exit::Config) };
    let local = args.here.start_to_stay()?;
    let applied = apply::send(local.admin(), &pipelines, false).await;
    if applied.is_ok() {
        let count = pipelines.len() as u64;
        writeln!(io::stderr(), "{} {}; stop with Ctrl-C", counted(count, "pipeline"), either(count, "runs", "run"))?;
        stop_signal().await;
    }
    local.stop().await;
    applied?;
    Ok(Exit::Ok)
}
