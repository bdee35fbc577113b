//! One cluster of real processes on the ground, with a pipeline whose every row is known, and the look at its end: what
//! the ledger says, what the oracle reads, what lies about.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use windrow_coordinator::{
    ledger::{self, Keys},
    store::{EtcdOptions, EtcdStore, Revision},
};
use windrow_tests::{
    network::Namespace,
    oracle::Found,
    process::{Process, Surroundings, free_port_on, run, run_json},
};

use crate::{
    course::{Missing, Outcome},
    ground::Ground,
    plot::Plot,
};

/// How long a site may take for anything.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long sweeps may take to find what was left behind.
const SWEPT_WITHIN: Duration = Duration::from_secs(15);
/// Digits of a task in the names of what windrow stages, which tell it from files of other writers.
const TASK: usize = 16;
/// After this a silent worker's claims pass on.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// After this the store lets another coordinator lead.
pub(crate) const LEADERSHIP: Duration = Duration::from_secs(10);

/// A cluster; all of it ends when it is dropped.
pub(crate) struct Site<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) coordinators: Vec<Part>,
    pub(crate) workers: Vec<Part>,
    pub(crate) plot: Plot,
    cluster: String,
    etcd: Vec<String>,
}

/// A process of the cluster.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) process: Process,
    pub(crate) namespace: Option<Namespace>,
    /// Of a coordinator.
    pub(crate) address: String,
}

/// How a part differs from the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Special {
    /// What goes off in it.
    pub(crate) trap: Option<String>,
    /// Where it listens, if not wherever there is room.
    pub(crate) at: Option<String>,
    /// Whether it lives in a namespace of its own.
    pub(crate) apart: bool,
    pub(crate) surroundings: Surroundings,
    /// More arguments.
    pub(crate) args: Vec<&'static str>,
}

impl Special {
    pub(crate) fn trap(trap: impl Into<String>) -> Self {
        Self { trap: Some(trap.into()), ..Self::default() }
    }
}

/// What a site looked like at its end.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) found: Found,
    /// Seals that were refused.
    pub(crate) fenced: u64,
}

impl Verdict {
    pub(crate) fn outcome(&self, times: u64) -> Outcome {
        Outcome::of(&self.found, self.fenced, times)
    }
}

impl<'a> Site<'a> {
    pub(crate) fn new(ground: &'a Ground, format: &'static str, seed: u64) -> Result<Self> {
        let plot = match format {
            "postgres" => {
                let url = ground.database().ok_or(Missing("there is no PostgreSQL server"))?;
                Plot::in_database(&url, seed)?
            }
            _ => Plot::new(format, seed)?,
        };
        let cluster = plot.path().file_name().context("a folder has a name")?.to_string_lossy().replace('.', "x");
        let etcd = ground.etcd.endpoints();
        Ok(Self { ground, coordinators: Vec::new(), workers: Vec::new(), plot, cluster, etcd })
    }

    /// The same on an etcd of its own.
    pub(crate) fn on_etcd(mut self, endpoints: Vec<String>) -> Self {
        self.etcd = endpoints;
        self
    }

    pub(crate) fn windows(&self) -> u64 {
        self.plot.rows.windows()
    }

    /// Adds a coordinator; the first one leads.
    pub(crate) async fn add_coordinator(&mut self, special: Special) -> Result<usize> {
        let name = format!("c{}", self.coordinators.len() + 1);
        let (surroundings, namespace) = self.surroundings(&special)?;
        let host = namespace.as_ref().map_or(self.ground.host(), |namespace| namespace.address.clone());
        let port = if namespace.is_some() { 7440 } else { free_port_on(&host)? };
        let address = special.at.clone().unwrap_or(format!("{host}:{port}"));
        let etcd = self.etcd.join(",");
        let lease = format!("{}s", LEASE.as_secs());
        #[rustfmt::skip]
        let mut args = vec![
            "coordinator", "--etcd", &etcd, "--cluster", &self.cluster, "--listen", &address,
            "--lease", &lease, "--heartbeat", "1s", "--sweep-every", "1s", "--sweep-grace", "1s",
        ];
        args.extend(&special.args);
        let process = Process::start_in(&surroundings, &args, &self.plot.path().join(format!("{name}.log")))?;
        self.coordinators.push(Part { name, process, namespace, address });
        if self.coordinators.len() == 1 {
            self.wait("a leader", |site| Ok(site.coordinators[0].process.log().contains("\"message\":\"leads\"")))
                .await?;
        }
        Ok(self.coordinators.len() - 1)
    }

    /// Asks a coordinator to stop and starts another at its address, as an upgrade does: workers know where to look.
    pub(crate) async fn replace_coordinator(&mut self, old: usize, special: Special) -> Result<()> {
        self.coordinators[old].process.terminate()?;
        self.wait("a coordinator to end", move |site| Ok(site.coordinators[old].process.ended()?.is_some())).await?;
        let at = Some(self.coordinators[old].address.clone());
        self.add_coordinator(Special { at, ..special }).await?;
        Ok(())
    }

    /// Adds a worker with one role, `ingest` or `sink`.
    pub(crate) fn add_worker(&mut self, name: &str, role: &str, special: Special) -> Result<usize> {
        let (surroundings, namespace) = self.surroundings(&special)?;
        let host = namespace.as_ref().map_or(self.ground.host(), |namespace| namespace.address.clone());
        let (addresses, flight) = (self.addresses(), format!("{host}:0"));
        let mut args = vec!["worker", "--coordinator", &addresses, "--name", name, "--role", role, "--slots", "1"];
        if role.contains("sink") {
            args.extend(["--flight", &flight]);
        }
        args.extend(&special.args);
        let process = Process::start_in(&surroundings, &args, &self.plot.path().join(format!("{name}.log")))?;
        self.workers.push(Part { name: name.to_owned(), process, namespace, address: String::new() });
        Ok(self.workers.len() - 1)
    }

    fn surroundings(&self, special: &Special) -> Result<(Surroundings, Option<Namespace>)> {
        let mut surroundings = special.surroundings.clone();
        if let Some(trap) = &special.trap {
            let folder = self.plot.arg();
            surroundings =
                surroundings.with_env("WINDROW_FAILPOINTS", trap).with_env("WINDROW_FAILPOINT_FOLDER", folder);
        }
        if !special.apart {
            return Ok((surroundings, None));
        }
        let network = self.ground.network.as_ref().context("there are no network namespaces")?;
        let namespace = network.namespace()?;
        surroundings.wrapper = [namespace.wrapper(), surroundings.wrapper].concat();
        Ok((surroundings, Some(namespace)))
    }

    pub(crate) fn apply(&self) -> Result<()> {
        let output = run(&["apply", self.plot.arg(), "--coordinator", &self.addresses()])?;
        ensure!(output.status.success(), "apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    pub(crate) fn ask(&self, args: &[&str]) -> Result<Value> {
        let addresses = self.addresses();
        run_json(&[args, &["-o", "json", "--coordinator", &addresses]].concat())
    }

    pub(crate) fn addresses(&self) -> String {
        // Whoever takes a dead one's place has its address.
        let all: BTreeSet<&str> = self.coordinators.iter().map(|part| part.address.as_str()).collect();
        all.into_iter().collect::<Vec<_>>().join(",")
    }

    /// Windows of a pipeline in a state, `published` for one.
    pub(crate) fn count(&self, pipeline: &str, state: &str) -> Result<u64> {
        let pipelines = self.ask(&["get", "pipelines"])?;
        let found = pipelines.as_array().and_then(|all| all.iter().find(|one| one["name"] == pipeline));
        found.and_then(|one| one["windows"][state].as_u64()).with_context(|| format!("no pipeline {pipeline}"))
    }

    /// Waits until `holds`, which may fail meanwhile: while nobody leads there is no answer.
    pub(crate) async fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let looked = holds(self);
            if matches!(looked, Ok(true)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = looked.err().map(|error| format!("{error:#}")).unwrap_or_default();
                bail!("waited {PATIENCE:?} for {what} {why}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all windows of `rows` are published.
    pub(crate) async fn wait_published(&mut self) -> Result<()> {
        let windows = self.windows();
        self.wait("all windows", |site| Ok(site.count("rows", "published")? == windows)).await
    }

    /// Whether the point has gone off.
    pub(crate) fn has_gone_off(&self, point: &str) -> bool {
        self.plot.path().join(format!("{point}.hit")).exists()
    }

    /// Lets what is held at the point go on.
    pub(crate) fn let_go(&self, point: &str) -> Result<()> {
        Ok(fs::write(self.plot.path().join(format!("{point}.go")), "")?)
    }

    /// Everything that must be so when all is published, whatever happened before.
    pub(crate) async fn check(&self) -> Result<Verdict> {
        self.check_pipeline("rows").await
    }

    /// The same of another pipeline over the same rows.
    pub(crate) async fn check_pipeline(&self, pipeline: &str) -> Result<Verdict> {
        if let ("postgres", Some(postgres)) = (self.plot.format, &self.ground.postgres) {
            self.plot.dump(postgres, pipeline)?;
        }
        let found = self.plot.read_back(&self.ground.python, pipeline)?;
        self.check_ledger(pipeline, (self.windows(), found.seqs.len() as u64)).await?;
        self.check_sweeps(pipeline, &found.live.iter().map(String::as_str).collect()).await?;
        let refused = |part: &Part| part.process.log().matches("\"message\":\"seal refused\"").count() as u64;
        Ok(Verdict { found, fenced: self.coordinators.iter().map(refused).sum() })
    }

    /// The records say what the sink says: nothing open, no intent, the same number of commits, one stretch covered.
    pub(crate) async fn check_ledger(&self, pipeline: &str, (windows, commits): (u64, u64)) -> Result<()> {
        let options = EtcdOptions { endpoints: self.etcd.clone(), ..EtcdOptions::default() };
        let store = EtcdStore::connect(options).await?;
        let table = ledger::load(&store, &Keys::of_cluster(&self.cluster), Revision(0)).await?;
        let name = pipeline.parse()?;
        let entry = table.pipeline(&name).context("the pipeline is not in the ledger")?;
        let open: Vec<_> = table.tasks_of(&name).map(|task| task.value.state.phase().to_string()).collect();
        ensure!(open.is_empty(), "tasks are open: {open:?}");
        ensure!(entry.windows_published() == windows, "{} windows are covered", entry.windows_published());
        let sink = table.sink(&entry.sink).context("the sink is not in the ledger")?;
        ensure!(sink.intent.is_none(), "an intent is open");
        let head = sink.head.as_ref().map_or(0, |head| head.value.seq);
        ensure!(head == commits, "the ledger's head is {head}, the sink has {commits} commits");
        Ok(())
    }

    /// Sooner or later no staged file is left that belongs to nothing.
    pub(crate) async fn check_sweeps(&self, pipeline: &str, live: &BTreeSet<&str>) -> Result<()> {
        let folder = self.plot.table(pipeline);
        let deadline = Instant::now() + SWEPT_WITHIN;
        loop {
            let orphans: Vec<String> =
                staged(&folder, "").into_iter().filter(|path| !live.contains(path.as_str())).collect();
            if orphans.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "left behind and not swept: {orphans:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The ends of all logs, for failures.
    pub(crate) fn logs(&self) -> String {
        let parts = self.coordinators.iter().chain(&self.workers);
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().rev().take(25).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        parts.map(|part| format!("== {}\n{}\n", part.name, tail(part.process.log()))).collect()
    }
}

/// Staged files below a folder, relative to it.
fn staged(folder: &Path, below: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(below)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if entry.path().is_dir() {
            found.extend(staged(folder, &path));
        } else if name.starts_with("part-") && name.split('-').nth(1).is_some_and(|task| task.len() == TASK) {
            found.push(path);
        }
    }
    found
}
