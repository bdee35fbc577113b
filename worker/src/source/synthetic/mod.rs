//! Source `synthetic`.

use super::SourceKind;

pub const KIND: SourceKind = SourceKind {
    kind: "synthetic",
    connections: &["synthetic"],
    build: |_| Err(Vec::new()),
    schema: || schemars::schema_for!(()),
};
