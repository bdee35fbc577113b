//! windrow as its users run it: processes with logs, killed and stopped by pid, gone when the test is over.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The binary under test: where `cargo build --workspace` of the same profile puts it.
pub fn windrow() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // Tests lie in target/<profile>/deps, other binaries a folder above.
    let mut folder = own.parent().context("an executable lies in a folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("deps lies in a folder")?;
    }
    let binary = folder.join("windrow");
    ensure!(binary.exists(), "there is no {}: build it with `cargo build --workspace`", binary.display());
    Ok(binary)
}

/// A port of the loopback address that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs windrow to its end.
pub fn run(args: &[&str]) -> Result<Output> {
    Ok(Command::new(windrow()?).args(args).stdin(Stdio::null()).output()?)
}

/// Runs windrow to its end and reads its standard output as JSON. Fails unless it exits with 0.
pub fn run_json(args: &[&str]) -> Result<serde_json::Value> {
    let output = run(args)?;
    ensure!(output.status.success(), "windrow {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A windrow that runs until it is stopped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts windrow with its output in `log`.
    pub fn start(args: &[&str], log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        let child =
            Command::new(windrow()?).args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it where it is; [`Self::cont`] lets it go on.
    pub fn stop(&self) -> Result<()> {
        self.signal("STOP")
    }

    pub fn cont(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "kill -{name} {} failed", self.child.id());
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
