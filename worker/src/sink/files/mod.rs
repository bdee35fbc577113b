//! Sink `files`.

use super::{Capabilities, SinkKind};

pub const KIND: SinkKind = SinkKind {
    kind: "files",
    formats: &["parquet", "csv", "json"],
    connections: &["local", "s3"],
    capabilities: Capabilities { writes: &[], partitions: true, delivery: "atomic" },
    build: |_| Err(Vec::new()),
    schema: || schemars::schema_for!(()),
};
