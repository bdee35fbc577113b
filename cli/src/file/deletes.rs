//! `deletes`: whether keys can be compared, and whether they may be.

use windrow_common::{
    deletes::Deletes,
    error,
    manifest::WriteMode,
    pipeline::{Pipeline, SinkSpec, SourceSpec},
};

use super::{
    Options,
    diagnostic::{Findings, Span},
    tree::{Entry, Node, Step},
};

/// What a pipeline asks of its source and its sink.
pub(crate) struct Asked<'a> {
    /// The pipeline's key.
    pub(crate) at: Span,
    pub(crate) node: &'a Node,
    pub(crate) deletes: &'a Deletes,
    pub(crate) source: &'a SourceSpec,
    pub(crate) sink: &'a SinkSpec,
}

impl Asked<'_> {
    pub(crate) fn check(&self, options: &Options, findings: &mut Findings) {
        if self.deletes.every.0.is_zero() {
            findings
                .error(error::BAD_VALUE, self.span(&["every"]), "keys would be compared all the time")
                .fix("write how long after one comparison the next one is due, such as 1d");
        }
        if self.sink.write != WriteMode::Upsert {
            findings
                .error(error::CONTRADICTION, self.span(&[]), "rows without a key have none that could be compared")
                .fix("write `write: upsert` and name the key in the sink, or remove `deletes`");
            return;
        }
        let sink = options.connectors.sink(&self.sink.format);
        if sink.is_some_and(|sink| !sink.capabilities.compares) {
            let message = format!("a {} sink cannot compare keys", self.sink.format);
            findings.error(error::SINK_UNSUPPORTED, self.span(&[]), message).fix("remove `deletes`");
        }
        if options.connectors.source(self.source).is_some_and(|source| !source.keys) {
            findings
                .error(error::KEYS_UNKNOWN, self.span(&[]), "this source cannot tell which keys it has")
                .fix("remove `deletes`, or read from a PostgreSQL database");
        }
        if let Some(from) = self.deletes.from.as_ref().filter(|from| from.kind != self.source.from.kind) {
            let message = format!(
                "connection `{}` is of type {}, and rows come from one of type {}",
                from.name, from.kind, self.source.from.kind
            );
            findings
                .error(error::CONTRADICTION, self.span(&["from"]), message)
                .fix("name a standby of the source's database, or leave it out");
        }
    }

    fn span(&self, within: &[&str]) -> Span {
        let steps = ["deletes"].iter().chain(within).map(|key| Step::Key((*key).to_owned()));
        self.node.place(&steps.collect::<Vec<_>>()).unwrap_or(self.at)
    }
}

/// Of a table whose keys are compared with those of one source, every row is of that source.
pub(super) fn check_shared(lane: &[&(&Entry, Pipeline)], findings: &mut Findings) {
    for (entry, pipeline) in lane.iter().filter(|(_, pipeline)| pipeline.deletes.is_some()) {
        let Some((_, other)) = lane.iter().find(|(_, other)| other.name != pipeline.name) else { continue };
        let span = entry.node.place(&[Step::Key("deletes".to_owned())]).unwrap_or(entry.key_span);
        let message =
            format!("`{}` would delete the rows that `{}` writes to the same table", pipeline.name, other.name);
        findings.error(error::CONTRADICTION, span, message).fix("give each a table of its own, or remove `deletes`");
    }
}
