//! `windrow pause` and `windrow resume`: whether a pipeline is given new work.

use std::io::{self, Write};

use windrow_proto::v1;

use super::{exit::Exit, target::Target};

/// Give a pipeline no new work; what runs goes on
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// The pipeline
    name: String,
    /// Why, for whoever asks later
    #[arg(long, default_value = "by hand")]
    note: String,
    #[command(flatten)]
    target: Target,
}

/// Give a paused pipeline work again
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The pipeline
    name: String,
    #[command(flatten)]
    target: Target,
}

pub async fn pause(args: &PauseArgs) -> anyhow::Result<Exit> {
    let request = v1::SetPipelinePausedRequest { name: args.name.clone(), paused: true, note: args.note.clone() };
    set(request, &args.target).await?;
    writeln!(
        io::stderr(),
        "{} is paused; go on with: windrow resume {}{}",
        args.name,
        args.name,
        args.target.as_flags()
    )?;
    Ok(Exit::Ok)
}

pub async fn resume(args: &ResumeArgs) -> anyhow::Result<Exit> {
    let request = v1::SetPipelinePausedRequest { name: args.name.clone(), paused: false, note: String::new() };
    set(request, &args.target).await?;
    writeln!(io::stderr(), "{} goes on", args.name)?;
    Ok(Exit::Ok)
}

async fn set(request: v1::SetPipelinePausedRequest, target: &Target) -> anyhow::Result<()> {
    let opened = target.open()?;
    let answer = opened
        .admin()
        .call(request, |mut client, request| async move { client.set_pipeline_paused(request).await })
        .await;
    opened.close().await;
    answer?;
    Ok(())
}
