//! Where it happens: an etcd, a coordinator, and pipelines with as many due windows as there are to be open tasks.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, GetOptions};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use windrow_coordinator::{
    core::{apply::MAX_PIPELINES, plan::MAX_OPEN},
    ledger::Keys,
};
use windrow_proto::v1::{ApplyPipelinesRequest, ListWorkersRequest, admin_service_client::AdminServiceClient};
use windrow_tests::etcd::Etcd;

use super::coordinator;
use crate::other::Other;

pub(super) const CLUSTER: &str = "scale";
/// How long anything may take before the bench gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the module. The coordinator ends before its etcd.
pub(super) struct Site {
    pub(super) coordinator: Other,
    pub(super) etcd: Client,
    /// etcd's process.
    pub(super) store: u32,
    pub(super) version: String,
    _server: Etcd,
}

/// How large etcd's database is: the file, and what of it is in use.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) file: u64,
    pub(super) used: u64,
}

impl Site {
    pub(super) async fn start() -> Result<Self> {
        let server = Etcd::start(1).await?.context("there is no etcd; `make tools` installs it")?;
        let endpoint = server.endpoints().into_iter().next().context("no member")?;
        let mut etcd = Client::connect([&endpoint], None).await?;
        let version = etcd.status().await?.version().to_owned();
        let store = server.process(0).context("the member was killed")?;
        Ok(Self { coordinator: coordinator::start(&endpoint)?, etcd, store, version, _server: server })
    }

    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.coordinator.port)
    }

    /// Applies pipelines as a user does and waits until their windows are open tasks; how long planning took.
    pub(super) async fn plan(&mut self, tasks: usize) -> Result<Duration> {
        let mut admin = self.admin().await?;
        let began = Instant::now();
        let pipelines: Vec<Vec<u8>> =
            (0..tasks.div_ceil(MAX_OPEN)).map(|number| pipeline(number).to_string().into()).collect();
        for some in pipelines.chunks(MAX_PIPELINES) {
            let request = ApplyPipelinesRequest { pipelines: some.to_vec(), validate_only: false };
            while let Err(status) = admin.apply_pipelines(request.clone()).await {
                // Nobody leads in the first moments.
                ensure!(status.code() == tonic::Code::Unavailable && began.elapsed() < PATIENCE, "{status}");
                sleep(LOOK_EVERY).await;
            }
        }
        while self.open_tasks().await? < tasks {
            ensure!(began.elapsed() < PATIENCE, "{} of {tasks} tasks were planned", self.open_tasks().await?);
            sleep(LOOK_EVERY).await;
        }
        Ok(began.elapsed())
    }

    /// Task records in the store.
    pub(super) async fn open_tasks(&mut self) -> Result<usize> {
        let prefix = format!("{}t/", Keys::of_cluster(CLUSTER).prefix());
        let options = GetOptions::new().with_prefix().with_count_only();
        Ok(usize::try_from(self.etcd.get(prefix, Some(options)).await?.count())?)
    }

    /// The store's revision: it grows by one with every transaction that writes.
    pub(super) async fn revision(&mut self) -> Result<i64> {
        Ok(self.etcd.status().await?.header().context("a status has a header")?.revision())
    }

    pub(super) async fn size(&mut self) -> Result<Size> {
        let status = self.etcd.status().await?;
        Ok(Size { file: u64::try_from(status.db_size())?, used: u64::try_from(status.raft_used_db_size())? })
    }

    /// The size that is left when history is compacted and the file made anew.
    pub(super) async fn compacted(&mut self) -> Result<Size> {
        let revision = self.revision().await?;
        self.etcd.compact(revision, Some(etcd_client::CompactionOptions::new().with_physical())).await?;
        self.etcd.defragment().await?;
        self.size().await
    }

    /// Workers the leader knows of, and the claims it thinks they hold.
    pub(super) async fn held(&self) -> Result<(usize, usize)> {
        let workers = self.admin().await?.list_workers(ListWorkersRequest {}).await?.into_inner().workers;
        Ok((workers.len(), workers.iter().map(|worker| worker.claims as usize).sum()))
    }

    async fn admin(&self) -> Result<AdminServiceClient<Channel>> {
        let began = Instant::now();
        loop {
            match AdminServiceClient::connect(self.address()).await {
                Ok(admin) => return Ok(admin.max_decoding_message_size(64 << 20)),
                Err(_) if began.elapsed() < PATIENCE => sleep(LOOK_EVERY).await,
                Err(error) => bail!(error),
            }
        }
    }
}

/// A pipeline into a place of its own, with more hourly windows due than it may have open tasks.
fn pipeline(number: usize) -> Value {
    let name = format!("scale-{number}");
    json!({
        "name": name, "pattern": "incremental",
        "source": { "from": { "name": "in", "type": "synthetic" }, "cursor": "at" },
        "window": { "every": "1h", "start": "2013-01-01T00:00", "per_task": 1 },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": "/lake" },
            "format": "delta", "write": "replace_window", "path": name,
        },
        "limits": { "concurrency": 1_000_000 },
    })
}
