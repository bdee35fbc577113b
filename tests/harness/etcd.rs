//! Real etcd clusters as child processes, to be killed, stopped and restarted at will.
//!
//! Everything a cluster leaves is in a temporary directory and gone when it is dropped. It knows nothing of windrow.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, ConnectOptions};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::process::free_ports_on;

/// How long a cluster may take until every member answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Another process may take a free port before etcd does; then the cluster starts over with others.
const START_ATTEMPTS: usize = 5;

/// A running cluster on loopback.
pub struct Etcd {
    // Members end before their directory goes.
    members: Vec<Member>,
    _dir: TempDir,
}

/// What a cluster held at a moment; gone when dropped.
pub struct Backup(TempDir);

struct Member {
    binary: PathBuf,
    data: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    endpoint: String,
    /// Absent while killed.
    process: Option<Child>,
}

impl Etcd {
    /// Starts a cluster and waits until every member answers. `None` if there is no etcd here: `WINDROW_ETCD` names
    /// none and the path has none.
    pub async fn start(members: usize) -> Result<Option<Self>> {
        Self::start_with(members, &[]).await
    }

    /// The same with more arguments for every member.
    pub async fn start_with(members: usize, args: &[&str]) -> Result<Option<Self>> {
        Self::start_on("127.0.0.1", members, args).await
    }

    /// The same on another address of this machine.
    pub async fn start_on(host: &str, members: usize, args: &[&str]) -> Result<Option<Self>> {
        let Some(binary) = find_binary() else { return Ok(None) };
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            match Self::try_start(&binary, (host, members), args).await {
                Ok(etcd) => return Ok(Some(etcd)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    /// One `http://` address per member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.endpoint.clone()).collect()
    }

    /// The process of a member; none while it is killed.
    pub fn process(&self, member: usize) -> Option<u32> {
        self.members[member].process.as_ref().map(Child::id)
    }

    /// Ends a member at once, as a power loss of its process would.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        self.members[member].kill()
    }

    /// Freezes a member: it keeps its connections and answers nothing.
    pub fn stop(&self, member: usize) -> Result<()> {
        self.members[member].signal("STOP")
    }

    /// Lets a frozen member go on.
    pub fn cont(&self, member: usize) -> Result<()> {
        self.members[member].signal("CONT")
    }

    /// Kills a member if it runs, and starts it again on its data. Waits until it answers.
    pub async fn restart(&mut self, member: usize) -> Result<()> {
        let member = &mut self.members[member];
        member.kill()?;
        member.launch()?;
        member.wait_until_healthy().await
    }

    /// Starts all members that were killed, at once, since fewer than most of them do not answer. Waits until all do.
    pub async fn restart_all(&mut self) -> Result<()> {
        for member in &mut self.members {
            member.kill()?;
            member.launch()?;
        }
        for member in &mut self.members {
            member.wait_until_healthy().await?;
        }
        Ok(())
    }

    /// Copies what all members hold, as snapshots of their disks at one moment would.
    pub fn back_up(&self) -> Result<Backup> {
        let folder = tempfile::tempdir()?;
        for member in &self.members {
            member.signal("STOP")?;
        }
        for member in &self.members {
            copy(&member.data, &folder.path().join(member.name()?))?;
        }
        for member in &self.members {
            member.signal("CONT")?;
        }
        Ok(Backup(folder))
    }

    /// Kills all members and starts them again on what they held then, or on nothing.
    pub async fn put_back(&mut self, backup: Option<&Backup>) -> Result<()> {
        for member in &mut self.members {
            member.kill()?;
            std::fs::remove_dir_all(&member.data)?;
            if let Some(backup) = backup {
                copy(&backup.0.path().join(member.name()?), &member.data)?;
            }
        }
        self.restart_all().await
    }

    /// The member that leads the cluster.
    pub async fn leader(&self) -> Result<usize> {
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.process.is_some()) {
            let status = Client::connect([&member.endpoint], None).await?.status().await?;
            let id = status.header().context("a status has a header")?.member_id();
            if status.leader() == id {
                return Ok(index);
            }
        }
        bail!("no member leads")
    }

    async fn try_start(binary: &Path, (host, members): (&str, usize), args: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let ports = free_ports_on(host, members * 2)?;
        let peers: Vec<_> = (0..members).map(|n| format!("m{n}=http://{host}:{}", ports[2 * n + 1])).collect();
        let peers = peers.join(",");
        let mut etcd = Self { members: Vec::new(), _dir: dir };
        for n in 0..members {
            let data = etcd._dir.path().join(format!("m{n}"));
            let mut member = Member::new(
                binary,
                n,
                &[2 * n, 2 * n + 1].map(|port| format!("http://{host}:{}", ports[port])),
                (&peers, &data),
            );
            member.args.extend(args.iter().map(|arg| (*arg).to_owned()));
            member.launch()?;
            etcd.members.push(member);
        }
        for member in &mut etcd.members {
            member.wait_until_healthy().await?;
        }
        Ok(etcd)
    }
}

impl Member {
    fn new(binary: &Path, number: usize, [endpoint, peer]: &[String; 2], (peers, data): (&str, &Path)) -> Self {
        let args = [
            ("name", format!("m{number}")),
            ("data-dir", data.display().to_string()),
            ("listen-client-urls", endpoint.clone()),
            ("advertise-client-urls", endpoint.clone()),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", peers.to_owned()),
            ("initial-cluster-state", "new".to_owned()),
            ("log-level", "warn".to_owned()),
            ("logger", "zap".to_owned()),
        ];
        let args = args.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        Self {
            binary: binary.to_owned(),
            data: data.to_owned(),
            args,
            log: data.with_extension("log"),
            endpoint: endpoint.clone(),
            process: None,
        }
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let process = Command::new(&self.binary)
            .args(&self.args)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start", self.binary.display()))?;
        self.process = Some(process);
        Ok(())
    }

    async fn wait_until_healthy(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !answers(&self.endpoint).await {
            let process = self.process.as_mut().context("the member was killed")?;
            if let Some(status) = process.try_wait()? {
                bail!("etcd ended with {status}: {}", self.log_text());
            }
            ensure!(Instant::now() < deadline, "etcd does not answer: {}", self.log_text());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let process = self.process.as_ref().context("the member was killed")?;
        // The shell's own kill: the standard library has no safe call for other signals.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", process.id())).status()?;
        ensure!(sent.success(), "signal {signal} was not sent");
        Ok(())
    }

    fn name(&self) -> Result<&OsStr> {
        self.data.file_name().context("a data directory has a name")
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Ends a stopped process too. If it cannot be killed it has ended by itself.
        let _ = self.kill();
    }
}

/// Whether the member answers a linearizable read: it has joined, and there is a leader.
async fn answers(endpoint: &str) -> bool {
    let patience = Duration::from_secs(2);
    let options = ConnectOptions::new().with_timeout(patience).with_connect_timeout(patience);
    match Client::connect([endpoint], Some(options)).await {
        Ok(mut client) => client.get("health", None).await.is_ok(),
        Err(_) => false,
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(copied.success(), "{} was not copied", from.display());
    Ok(())
}

fn find_binary() -> Option<PathBuf> {
    let named = std::env::var_os("WINDROW_ETCD").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    named.into_iter().chain(candidates).find(|candidate| candidate.is_file())
}
