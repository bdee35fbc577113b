//! The `windrow` binary: parse, set up, run, drain.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tracing::Instrument;
use windrow_cli::{
    commands::{Command, failure},
    telemetry, trace,
};

/// Moves datasets in bounded windows, every row exactly once
#[derive(Debug, Parser)]
#[command(name = "windrow", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Both rustls providers are compiled in by dependencies, so one has to be chosen before the first handshake.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        let (service, level) = cli.command.service();
        let telemetry = telemetry::start(service, level)?;
        windrow_common::failpoint::arm().map_err(anyhow::Error::msg)?;
        let work = cli.command.run(&telemetry);
        let outcome = match cli.command.is_short() {
            true => work.instrument(trace::command_span(cli.command.verb())).await,
            false => work.await,
        };
        telemetry.finish();
        outcome
    });
    outcome.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = io::stderr().write_all(failure::explain(error).as_bytes());
    failure::exit(error).into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense_as_a_whole() {
        Cli::command().debug_assert();
    }
}
