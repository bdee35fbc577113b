//! Sink `delta`.

use super::{Capabilities, SinkKind};

pub const KIND: SinkKind = SinkKind {
    kind: "delta",
    formats: &["delta"],
    connections: &["local", "s3"],
    capabilities: Capabilities { writes: &[], partitions: true, delivery: "atomic" },
    build: |_| Err(Vec::new()),
    schema: || schemars::schema_for!(()),
};
