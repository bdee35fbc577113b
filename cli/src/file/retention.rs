//! How long a table's removed files are kept has to suit all who write and read it, not only the pipeline that says so.

use std::collections::BTreeMap;

use windrow_common::{error, id::SinkId, pipeline::Pipeline, quantity::Pause};
use windrow_coordinator::core::pins::table_read;

use super::{
    diagnostic::{Findings, Span},
    tree::{Entry, Step},
};

type Declared<'a> = (&'a Entry, Pipeline);

pub(crate) fn check(pipelines: &[Declared<'_>], findings: &mut Findings) {
    let mut writers: BTreeMap<SinkId, &Declared<'_>> = BTreeMap::new();
    for declared in pipelines {
        let first = *writers.entry(declared.1.sink.id()).or_insert(declared);
        if of(first) != of(declared) {
            findings
                .error(
                    error::CONTRADICTION,
                    place(declared),
                    format!("`{}` and `{}` write here, and clean it by other rules", first.1.name, declared.1.name),
                )
                .fix("give them the same `cleaning`");
        }
    }
    for reader in pipelines {
        let Some(writer) = table_read(&reader.1.source).and_then(|sink| writers.get(&sink)) else { continue };
        let deadline = reader.1.limits.deadline;
        if let Some(keep) = keep(writer).filter(|keep| keep.0 < deadline.0) {
            findings
                .error(
                    error::RETENTION_SHORT,
                    place(writer),
                    format!(
                        "`{}` reads this table for up to {deadline}, and files would go after {keep}",
                        reader.1.name
                    ),
                )
                .fix(format!("write {deadline} or more, or shorten its `limits.deadline`"));
        }
    }
}

fn of<'a>(declared: &'a Declared<'_>) -> Option<&'a serde_json::Value> {
    declared.1.sink.params.get("cleaning")
}

fn keep(declared: &Declared<'_>) -> Option<Pause> {
    of(declared)?.get("keep")?.as_str()?.parse().ok()
}

fn place(declared: &Declared<'_>) -> Span {
    let path = ["sink", "cleaning"].map(|key| Step::Key(key.to_owned()));
    declared.0.node.place(&path).unwrap_or(declared.0.key_span)
}
