//! The other process: this program again, as another part of the bench.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// A running one; it ends when it is dropped.
pub(crate) struct Other {
    child: Child,
    pub(crate) port: u16,
}

impl Other {
    /// Starts a part and waits until it listens.
    pub(crate) fn be(part: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--be").args(part);
        Self::start(&mut command)
    }

    /// Starts a program that says its port.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no way out")?).read_line(&mut line)?;
        let port = port_of(&line);
        let mut other = Self { child, port: 0 };
        other.port = port?;
        Ok(other)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // If it cannot be killed it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the process that started this one where it listens.
pub(crate) fn say_port(port: u16) -> Result<()> {
    println!("{port}");
    Ok(std::io::stdout().flush()?)
}

fn port_of(line: &str) -> Result<u16> {
    line.trim().parse().with_context(|| format!("the other process said {line:?}"))
}
