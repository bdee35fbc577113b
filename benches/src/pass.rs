//! Passes for claims that no coordinator gave: the worker's own parts take them when they are signed with the key they
//! were told.

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use windrow_common::{
    claim::Token,
    clock::{Clock, SystemClock},
    id::TaskId,
    manifest::{Counts, Manifest, StagedFile},
    pipeline::Pipeline,
    ticket::{Ticket, TicketKey, TicketKeys, sha256},
    window::Window,
};
use windrow_worker::flight::Pass;

/// One pipeline's claims.
pub(crate) struct Claims {
    pub(crate) pipeline: Pipeline,
    /// As the coordinator sends it.
    pub(crate) json: Bytes,
    pub(crate) keys: TicketKeys,
}

/// A claim, what it opens and what it may seal.
pub(crate) struct Claim {
    pub(crate) ticket: Ticket,
    pub(crate) pass: Pass,
}

impl Claims {
    pub(crate) fn of(pipeline: Value) -> Result<Self> {
        let pipeline: Pipeline = serde_json::from_value(pipeline)?;
        let json = serde_json::to_vec(&pipeline)?.into();
        Ok(Self { pipeline, json, keys: keys()? })
    }

    /// The claim with this revision on the task of this window.
    pub(crate) fn claim(&self, window: Window, revision: i64) -> Result<Claim> {
        let ticket = Ticket {
            task: TaskId::of(&self.pipeline.name, 0, &window, 0),
            token: Token { epoch: 1, revision },
            attempt: 1,
            pipeline: self.pipeline.name.clone(),
            sink: self.pipeline.sink.id(),
            window,
            pipeline_sha256: sha256(&self.json),
            expires_unix_ms: SystemClock::new().now().as_millisecond() + 3_600_000,
        };
        let pass = Pass { ticket: self.keys.sign(&ticket)?.into(), pipeline: self.json.clone() };
        Ok(Claim { ticket, pass })
    }

    /// What an attempt would have sealed.
    pub(crate) fn manifest(&self, claim: &Claim, schema: Value, files: Vec<StagedFile>, rows: u64) -> Manifest {
        let Ticket { task, token, attempt, pipeline, sink, window, .. } = claim.ticket.clone();
        Manifest {
            task,
            token,
            attempt,
            pipeline,
            sink,
            window,
            write: self.pipeline.sink.write,
            schema,
            files,
            dead_letters: Vec::new(),
            inputs: Vec::new(),
            counts: Counts { rows_read: rows, ..Counts::default() },
        }
    }
}

/// The key all processes of a bench know.
pub(crate) fn keys() -> Result<TicketKeys> {
    Ok(TicketKeys::new(vec![TicketKey::new("bench", &[7; 32])?]))
}

/// A pipeline of made-up rows into a folder, for parts that need no more of it than where it writes.
pub(crate) fn pipeline(root: &std::path::Path, format: &str, write: &str, more: Value) -> Value {
    let mut sink = json!({
        "to": { "name": "lake", "type": "local", "root": root }, "format": format, "write": write, "path": "",
    });
    if let (Some(sink), Value::Object(more)) = (sink.as_object_mut(), more) {
        sink.extend(more);
    }
    json!({
        "name": "bench", "pattern": "incremental",
        "source": { "from": { "name": "in", "type": "synthetic" }, "cursor": "at" },
        "sink": sink,
    })
}
