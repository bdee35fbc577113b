//! `windrow schema`: the JSON Schema of pipeline files, for editors.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;

use crate::file;

/// Print the JSON Schema (draft-07) of pipeline files
///
/// Editors complete and check a file that starts with
/// `# yaml-language-server: $schema=./windrow.schema.json`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write to this file instead
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = format!("{}\n", serde_json::to_string_pretty(&file::schema::json_schema())?);
    match &args.to {
        Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?,
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}
