//! What tests of sinks share: small files, and groups rewritten as a worker would.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use windrow_common::{
    claim::Token,
    id::TaskId,
    intent::IntentTask,
    manifest::{Counts, Manifest, ManifestRef, WriteMode},
    quantity::ByteSize,
    window::Window,
};

use super::{Group, Packing, Room, Working};
use crate::{error::Result, sink::Sink, stage::Attempt};

pub(in crate::sink) const RULE: Packing = Packing {
    target: 1 << 20,
    small_below: 1 << 19,
    min_files: 2,
    stale_before: 0,
    windows_are_replaced: true,
    busy: BTreeSet::new(),
    major: None,
};

/// The groups worth rewriting.
pub(in crate::sink) async fn groups(sink: &dyn Sink, rule: Packing) -> Vec<Group> {
    sink.small_files(&rule).await.unwrap().groups
}

/// As much as a small worker has.
fn room() -> Room {
    Room { memory: ByteSize(8 << 20), spill: None }
}

/// A group rewritten in the name of a task of that number.
pub(in crate::sink) async fn rewrite(sink: &dyn Sink, group: &Group, number: u8) -> Result<Manifest> {
    let (task, token) = (TaskId::from_bytes([number; 16]), Token { epoch: 1, revision: 900 + i64::from(number) });
    let attempt = Attempt { task, token, window: Window::version(0) };
    let read = AtomicU64::new(0);
    let count = |rows: u64| {
        read.fetch_add(rows, Ordering::Relaxed);
    };
    let done = sink.rewrite(group, Working { attempt: &attempt, read: &count, room: &room() }).await?;
    Ok(Manifest {
        task,
        token,
        attempt: 1,
        pipeline: "flights".parse().unwrap(),
        sink: group.sink.clone(),
        window: attempt.window,
        write: WriteMode::Append,
        schema: done.schema,
        files: done.files,
        dead_letters: Vec::new(),
        inputs: group.inputs(),
        counts: Counts { rows_read: read.load(Ordering::Relaxed), ..Counts::default() },
    })
}

/// Its task, as an intent names it.
pub(in crate::sink) fn task_of(made: &Manifest, manifest: ManifestRef) -> IntentTask {
    let (task, token, pipeline, window) = (made.task, made.token, made.pipeline.clone(), made.window);
    IntentTask { task, pipeline, window, revision: 0, token, manifest, declared: None }
}
