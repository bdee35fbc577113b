//! Whether a sink can follow the pipeline's policy on changing columns, and whether the rest of the pipeline lets it.

use windrow_common::{
    error,
    pipeline::{Limits, SinkSpec},
    schema::{OnChange, SchemaPolicy},
};

use super::{
    Options,
    diagnostic::{Findings, Span},
    tree::{Node, Step},
};

/// What a pipeline asks of its sink.
pub(crate) struct Asked<'a> {
    /// The pipeline's key.
    pub(crate) at: Span,
    pub(crate) node: &'a Node,
    pub(crate) policy: SchemaPolicy,
    pub(crate) sink: &'a SinkSpec,
    pub(crate) limits: Option<&'a Limits>,
}

impl Asked<'_> {
    pub(crate) fn check(&self, options: &Options, findings: &mut Findings) {
        let Some(sink) = options.connectors.sink(&self.sink.format) else { return };
        let can = (sink.schema_changes)(self.sink);
        let settings = [
            ("new_column", self.policy.new_column, can.new_column),
            ("type_change", self.policy.type_change, can.type_change),
        ];
        for (key, asked, can_be) in settings {
            let Some(asked) = asked.filter(|asked| !can_be.contains(asked)) else { continue };
            let word = asked.word();
            let message = format!("a {} sink cannot `{key}: {word}` here: {}", self.sink.format, can.why);
            let words: Vec<_> = can_be.iter().map(|one| one.word()).collect();
            findings
                .error(error::SINK_UNSUPPORTED, self.span(key), message)
                .fix(format!("it can {}", words.join(", ")));
        }
        self.check_limit(findings);
    }

    /// Rows that go to the dead letters are rejected, and without a limit none may be.
    fn check_limit(&self, findings: &mut Findings) {
        let none = self.limits.is_some_and(|limits| limits.max_rejected == 0.0);
        for (key, asked) in [("new_column", self.policy.new_column), ("type_change", self.policy.type_change)] {
            if asked == Some(OnChange::DiscardRow) && none {
                findings
                    .error(
                        error::CONTRADICTION,
                        self.span(key),
                        "rows are to be discarded, and `limits.max_rejected` allows none",
                    )
                    .fix("say which share of a window's rows may be: `limits: { max_rejected: 0.01 }`");
                return;
            }
        }
    }

    /// Where the setting stands; the pipeline's key if it comes from `defaults`.
    fn span(&self, key: &str) -> Span {
        let path = ["schema", key];
        let there = path.iter().try_fold(self.node, |node, key| node.get(key)).is_some();
        let steps = path.map(|key| Step::Key(key.to_owned()));
        self.node.place(&steps).filter(|_| there).unwrap_or(self.at)
    }
}
