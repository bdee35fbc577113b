//! A real Jaeger, keeping traces in memory: what a user sees of a trace, asked of its query API.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{http, process::free_port};

/// How long it may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running Jaeger; it ends when it is dropped.
pub struct Jaeger {
    process: Child,
    query: String,
    otlp: String,
    logs: TempDir,
}

impl Jaeger {
    /// Starts it on free ports. `None` if there is none here: `WINDROW_JAEGER` names none and .tools has none.
    pub async fn start() -> Result<Option<Self>> {
        let Some(binary) = binary() else { return Ok(None) };
        let logs = tempfile::tempdir()?;
        let log = File::create(logs.path().join("jaeger.log"))?;
        let (query, otlp) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
        // What else it listens on would be fixed ports of every interface.
        let others = ["admin.http", "collector.grpc-server", "collector.http-server", "collector.otlp.http"];
        let mut command = Command::new(&binary);
        for part in others.into_iter().chain(["query.grpc-server"]) {
            command.arg(format!("--{part}.host-port=127.0.0.1:{}", free_port()?));
        }
        let process = command
            .arg(format!("--query.http-server.host-port={query}"))
            .arg(format!("--collector.otlp.grpc.host-port={otlp}"))
            .env("SPAN_STORAGE_TYPE", "memory")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let jaeger = Self { process, query, otlp: format!("http://{otlp}"), logs };
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        while jaeger.services().is_err() {
            ensure!(tokio::time::Instant::now() < deadline, "jaeger does not answer: {}", jaeger.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Some(jaeger))
    }

    /// Where traces are sent to, over OTLP/gRPC.
    pub fn otlp(&self) -> &str {
        &self.otlp
    }

    /// The address of its pages; a trace's is below it.
    pub fn url(&self) -> String {
        format!("http://{}", self.query)
    }

    pub fn services(&self) -> Result<Value> {
        self.ask("/api/services")
    }

    /// The spans of a trace as it shows them.
    pub fn trace(&self, id: &str) -> Result<Value> {
        self.ask(&format!("/api/traces/{id}"))
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let answer: Value = serde_json::from_str(&http::get(&self.query, path)?.body)?;
        Ok(answer["data"].clone())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.logs.path().join("jaeger.log")).unwrap_or_default()
    }
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("WINDROW_JAEGER").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/jaeger/jaeger");
    named.into_iter().chain([installed]).find(|candidate| candidate.is_file())
}
