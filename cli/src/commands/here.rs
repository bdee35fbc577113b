//! Pipelines that run on this machine: what `run` and `dev` are told, and the windrow that runs them.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use windrow_common::{
    clock::{Clock, SystemClock},
    pipeline::Pipeline,
};

use crate::{
    file::{self, Options},
    local::{Local, state_of},
    show::{Style, diagnostics},
    worker::default_slots,
};

/// Pipelines on this machine
#[derive(Debug, clap::Args)]
pub struct Here {
    /// A pipeline file, or a folder of them
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Where to keep the ledger; beside the files unless given
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Tasks at a time; one per core unless given
    #[arg(long)]
    slots: Option<u32>,
}

impl Here {
    /// The pipelines of the files, or nothing after their errors were shown.
    pub fn load(&self) -> anyhow::Result<Option<Vec<Pipeline>>> {
        load(&self.path)
    }

    /// One that goes on until it is stopped.
    pub fn start_to_stay(&self) -> anyhow::Result<Local> {
        self.start(false)
    }

    /// One that ends when everything that is due is published.
    pub fn start_to_leave(&self) -> anyhow::Result<Local> {
        self.start(true)
    }

    fn start(&self, leaves: bool) -> anyhow::Result<Local> {
        let state = self.state.clone().unwrap_or_else(|| state_of(&self.path));
        Local::start(&state, self.slots.unwrap_or_else(default_slots), leaves)
    }
}

/// The pipelines of the files at `path`, or nothing after their errors were shown.
pub fn load(path: &PathBuf) -> anyhow::Result<Option<Vec<Pipeline>>> {
    let loaded = file::load(std::slice::from_ref(path), &Options::new(SystemClock::new().now(), true).asking());
    if !loaded.diagnostics.is_empty() {
        let text = diagnostics::render(&loaded, Style::of(&io::stderr()));
        io::stderr().write_all(text.as_bytes())?;
    }
    Ok((!loaded.failed()).then_some(loaded.pipelines))
}
