//! `windrow validate`: checks pipeline files and changes nothing.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use windrow_common::clock::{Clock, SystemClock};

use crate::{
    file::{self, Options},
    show::{self, Output, Style, diagnostics},
};

/// Check pipeline files: shape, values, windows, connectors
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, or folders of which all *.yaml and *.yml files are taken
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// 0 when the files can be used, 2 when they cannot.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = file::load(&args.paths, &Options::new(SystemClock::new().now(), true));
    let mut stdout = io::stdout();
    let text = match show::encoded(&diagnostics::report(&loaded), args.output)? {
        Some(text) => text,
        None => diagnostics::render(&loaded, Style::of(&stdout)),
    };
    stdout.write_all(text.as_bytes())?;
    Ok(if loaded.failed() { ExitCode::from(2) } else { ExitCode::SUCCESS })
}
