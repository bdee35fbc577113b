//! A whole cluster on loopback: etcd, coordinators, workers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    etcd::Etcd,
    http,
    process::{Process, Surroundings, free_port, run, run_json},
};

/// Real processes; all of them end when it is dropped.
pub struct Cluster {
    pub etcd: Etcd,
    pub coordinators: Vec<Coordinator>,
    pub workers: Vec<(String, Process)>,
    surroundings: Surroundings,
    logs: TempDir,
    lease: String,
}

/// A coordinator and where it is.
pub struct Coordinator {
    pub process: Process,
    pub address: String,
    pub metrics: String,
}

impl Coordinator {
    /// One that never does is no second coordinator for a test that kills the first.
    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while TcpStream::connect(&self.address).await.is_err() {
            if self.process.ended()?.is_some() || tokio::time::Instant::now() > deadline {
                bail!("no coordinator listens at {}:\n{}", self.address, self.process.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// How long the cluster may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

impl Cluster {
    /// Three etcds and so many of the others; `None` if etcd cannot be had.
    pub async fn start(coordinators: usize, workers: usize) -> Result<Option<Self>> {
        Self::start_in(Vec::new(), coordinators, workers).await
    }

    /// The same with more in the environment of its processes.
    pub async fn start_in(
        environment: Vec<(String, String)>,
        coordinators: usize,
        workers: usize,
    ) -> Result<Option<Self>> {
        let Some(mut cluster) = Self::lead(environment, coordinators, "6s").await? else { return Ok(None) };
        for i in 1..=workers {
            cluster.add_worker(&format!("w{i}"))?;
        }
        Ok(Some(cluster))
    }

    /// The same without workers, and with leases of another length.
    pub async fn start_with_lease(coordinators: usize, lease: &str) -> Result<Option<Self>> {
        Self::lead(Vec::new(), coordinators, lease).await
    }

    async fn lead(environment: Vec<(String, String)>, coordinators: usize, lease: &str) -> Result<Option<Self>> {
        let Some(etcd) = Etcd::start(3).await? else { return Ok(None) };
        let (logs, lease) = (tempfile::tempdir()?, lease.to_owned());
        let surroundings = Surroundings { env: environment, ..Surroundings::default() };
        let mut cluster = Self { etcd, coordinators: Vec::new(), workers: Vec::new(), surroundings, logs, lease };
        for _ in 0..coordinators {
            cluster.add_coordinator()?;
        }
        for coordinator in &mut cluster.coordinators {
            coordinator.wait_until_it_listens().await?;
        }
        Ok(Some(cluster))
    }

    pub fn add_coordinator(&mut self) -> Result<()> {
        let (listen, metrics) = (free_port()?, free_port()?);
        let (address, metrics) = (format!("127.0.0.1:{listen}"), format!("127.0.0.1:{metrics}"));
        let etcd = self.etcd.endpoints().join(",");
        let log = self.logs.path().join(format!("coordinator-{listen}.log"));
        #[rustfmt::skip]
        let args = [
            "coordinator", "--etcd", &etcd, "--listen", &address, "--metrics", &metrics,
            "--lease", &self.lease, "--heartbeat", "1s", "--sweep-grace", "1h",
        ];
        let process = Process::start_in(&self.surroundings, &args, &log)?;
        self.coordinators.push(Coordinator { process, address, metrics });
        Ok(())
    }

    pub fn add_worker(&mut self, name: &str) -> Result<()> {
        self.add_worker_with(name, &["--slots", "1"])
    }

    /// A worker with other arguments.
    pub fn add_worker_with(&mut self, name: &str, more: &[&str]) -> Result<()> {
        let log = self.logs.path().join(format!("worker-{name}.log"));
        let addresses = self.addresses();
        let args = [&["worker", "--coordinator", &addresses, "--name", name], more].concat();
        let process = Process::start_in(&self.surroundings, &args, &log)?;
        self.workers.push((name.to_owned(), process));
        Ok(())
    }

    /// A worker in which something goes off.
    pub fn add_worker_armed(&mut self, name: &str, trap: &str) -> Result<()> {
        self.add_worker_armed_with(name, trap, &["--slots", "1"])
    }

    /// The same of one that reads and commits nothing.
    pub fn add_reader_armed(&mut self, name: &str, trap: &str) -> Result<()> {
        self.add_worker_armed_with(name, trap, &["--role", "ingest", "--slots", "1"])
    }

    /// The same with other arguments.
    pub fn add_worker_armed_with(&mut self, name: &str, trap: &str, more: &[&str]) -> Result<()> {
        let before = self.surroundings.clone();
        self.surroundings = before.clone().with_env("WINDROW_FAILPOINTS", trap);
        let added = self.add_worker_with(name, more);
        self.surroundings = before;
        added
    }

    /// All coordinators, as an argument.
    pub fn addresses(&self) -> String {
        self.coordinators.iter().map(|coordinator| coordinator.address.clone()).collect::<Vec<_>>().join(",")
    }

    /// Asks the cluster for something as JSON.
    pub fn ask(&self, args: &[&str]) -> Result<Value> {
        let addresses = self.addresses();
        run_json(&[args, &["-o", "json", "--coordinator", &addresses]].concat())
    }

    pub fn apply(&self, path: &str) -> Result<()> {
        let output = run(&["apply", path, "--coordinator", &self.addresses()])?;
        anyhow::ensure!(output.status.success(), "apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// How many windows of flights are published.
    pub fn published(&self) -> Result<u64> {
        let pipelines = self.ask(&["get", "pipelines"])?;
        let flights = pipelines.as_array().and_then(|all| all.iter().find(|one| one["name"] == "flights"));
        flights.and_then(|flights| flights["windows"]["published"].as_u64()).context("there are no flights")
    }

    /// Waits until so many windows of flights are published.
    pub async fn wait_for(&self, windows: u64) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            // While no coordinator leads there is no answer, which is no failure here.
            let found = self.published().unwrap_or(0);
            if found >= windows {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{found} of {windows} windows after {PATIENCE:?}\n{}", self.logs());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The worker that commits to the table of flights.
    pub fn committer(&self) -> Result<usize> {
        let workers = self.ask(&["get", "workers"])?;
        let commits = |worker: &Value| {
            let sinks = worker["sinks"].as_array().cloned().unwrap_or_default();
            sinks.iter().any(|sink| sink.as_str().is_some_and(|sink| sink.starts_with("flights")))
        };
        let id = workers.as_array().and_then(|all| all.iter().find(|worker| commits(worker)));
        let id = id.and_then(|worker| worker["id"].as_str()).context("nobody commits to flights")?.to_owned();
        self.worker_of(&id)
    }

    /// Which process a worker's id belongs to.
    pub fn worker_of(&self, id: &str) -> Result<usize> {
        let found = self.workers.iter().position(|(name, _)| id.starts_with(&format!("{name}-")));
        found.with_context(|| format!("{id} is none of the workers"))
    }

    /// The workers that hold a claim on flights now, with the task's start.
    pub fn holders(&self) -> Result<Vec<(usize, String)>> {
        let tasks = self.ask(&["get", "tasks", "flights"])?;
        let claimed =
            tasks.as_array().cloned().unwrap_or_default().into_iter().filter(|task| task["state"] == "claimed");
        claimed
            .map(|task| {
                let worker = self.worker_of(task["worker"].as_str().unwrap_or_default())?;
                Ok((worker, task["start"].as_str().unwrap_or_default().to_owned()))
            })
            .collect()
    }

    /// Which coordinator leads, by its log.
    pub fn leader(&self) -> Result<usize> {
        let leads = |coordinator: &Coordinator| leads(&coordinator.process.log());
        self.coordinators.iter().position(leads).context("nobody leads")
    }

    /// A counter summed over the metrics of all coordinators.
    pub fn metric(&self, name: &str) -> u64 {
        self.coordinators.iter().filter_map(|coordinator| metric(&coordinator.metrics, name)).sum()
    }

    /// The ends of all logs, for failures.
    pub fn logs(&self) -> String {
        let coordinators = self.coordinators.iter().map(|one| (one.address.as_str(), one.process.log()));
        let workers = self.workers.iter().map(|(name, process)| (name.as_str(), process.log()));
        let tail = |text: String| {
            text.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        coordinators.chain(workers).map(|(name, log)| format!("== {name}\n{}\n", tail(log))).collect()
    }
}

/// Whether a coordinator leads, by its log.
pub fn leads(log: &str) -> bool {
    let (won, lost) = (log.rfind("\"message\":\"leads\""), log.rfind("does not lead any more"));
    won.is_some_and(|won| lost.is_none_or(|lost| lost < won))
}

/// Reads a counter from a Prometheus page.
fn metric(address: &str, name: &str) -> Option<u64> {
    let page = http::get(address, "/metrics").ok()?.body;
    let lines = page.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Some(values.sum::<f64>() as u64)
}
