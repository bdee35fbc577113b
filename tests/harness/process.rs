//! windrow as its users run it: processes with logs, killed and stopped by pid, gone when the test is over.

use std::{
    ffi::OsString,
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
    free_port_on("127.0.0.1")
}

/// The same of another address of this machine.
pub fn free_port_on(host: &str) -> Result<u16> {
    Ok(free_ports_on(host, 1)?[0])
}

/// Several, all different. None is one that the system gives to connections: it may be taken before whoever asked for it listens.
pub fn free_ports_on(host: &str, count: usize) -> Result<Vec<u16>> {
    let tries = (0..100 * count).map(|_| rand::random_range(10_000..32_000));
    // All are held until all are found.
    let held = tries.filter_map(|port| TcpListener::bind((host, port)).ok()).take(count).collect::<Vec<_>>();
    ensure!(held.len() == count, "no {count} ports of {host} are free");
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// windrow with arguments, for those who have more to say about how it runs.
pub fn command(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(windrow()?);
    command.args(args).stdin(Stdio::null());
    Ok(command)
}

/// Runs windrow to its end.
pub fn run(args: &[&str]) -> Result<Output> {
    Ok(command(args)?.output()?)
}

/// The same with more in its environment.
pub fn run_in(args: &[&str], environment: &[(String, String)]) -> Result<Output> {
    let environment = environment.iter().map(|(name, value)| (name, value));
    Ok(command(args)?.envs(environment).output()?)
}

/// Runs windrow to its end: its exit code, and all it said.
pub fn ran(args: &[&str]) -> Result<(Option<i32>, String)> {
    let output = run(args)?;
    Ok((output.status.code(), said(&output)))
}

/// All that a process said.
pub fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// What a process wrote, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs windrow to its end and reads its standard output as JSON. Fails unless it exits with 0.
pub fn run_json(args: &[&str]) -> Result<serde_json::Value> {
    let output = run(args)?;
    ensure!(output.status.success(), "windrow {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a process is started with beside its arguments.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// A command that runs it, such as one that enters a namespace. It must become the process, not its parent.
    pub wrapper: Vec<String>,
    pub env: Vec<(String, String)>,
}

impl Surroundings {
    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// A windrow that runs until it is stopped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts windrow with its output in `log`.
    pub fn start(args: &[&str], log: &Path) -> Result<Self> {
        Self::start_in(&Surroundings::default(), args, log)
    }

    /// The same in other surroundings.
    pub fn start_in(surroundings: &Surroundings, args: &[&str], log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        let mut words = surroundings.wrapper.iter().map(OsString::from).collect::<Vec<_>>();
        words.push(windrow()?.into_os_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args).envs(surroundings.env.iter().cloned());
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether it stands still, stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('T'))
    }

    /// The most memory it has taken so far; `None` once it has ended.
    pub fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
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

    /// SIGTERM: asks it to end in its own time.
    pub fn terminate(&self) -> Result<()> {
        self.signal("TERM")
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
