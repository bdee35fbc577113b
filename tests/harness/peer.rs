//! Scripts in Python that are told on their standard input what to do next and answer: peers that say what they measured, so that
//! rounds of theirs and of ours alternate, and readers and writers that are not ours.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::reader;

/// The Python with the peers and the readers in it.
pub fn python() -> Result<PathBuf> {
    reader::python().map_err(|reason| anyhow!("{reason}; `make tools` installs it"))
}

/// A running script.
pub struct Peer {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script on a folder of its own, with the readers that tests have.
    pub fn start(script: &str, folder: &Path) -> Result<Self> {
        Self::start_with(&python()?, script, &[folder.as_os_str()])
    }

    /// Starts one whose first argument is its folder with peers of their own versions, which tests have no use for.
    pub fn start_apart(script: &str, arguments: &[&OsStr]) -> Result<Self> {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/peers/bin/python");
        ensure!(python.is_file(), "there are no peers; `make bench` installs them");
        Self::start_with(&python, script, arguments)
    }

    /// Starts one in a Python with arguments.
    pub fn start_with(python: &Path, script: &str, arguments: &[&OsStr]) -> Result<Self> {
        let mut child = Command::new(python)
            .args(["-c", script])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take().context("no way in")?;
        let answers = BufReader::new(child.stdout.take().context("no way out")?);
        Ok(Self { child, ask, answers })
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Says a line and waits for the answer, a line of JSON.
    pub fn ask(&mut self, what: &str) -> Result<Value> {
        writeln!(self.ask, "{what}")?;
        self.ask.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("the peer answered {answer:?}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // If it cannot be killed it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
