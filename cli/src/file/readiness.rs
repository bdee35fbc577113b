//! Whether the source can tell what the pipeline waits for.

use windrow_common::{
    error,
    pipeline::SourceSpec,
    readiness::{Condition, Readiness},
};

use super::{
    Options,
    diagnostic::{Findings, Span},
    tree::{Node, Step},
};

/// What a pipeline asks of its source.
pub(crate) struct Asked<'a> {
    /// The pipeline's key.
    pub(crate) at: Span,
    pub(crate) node: &'a Node,
    pub(crate) readiness: &'a Readiness,
    pub(crate) source: &'a SourceSpec,
    /// Whether each window has objects of its own; `None` where there are no windows.
    pub(crate) windows: Option<bool>,
}

impl Asked<'_> {
    pub(crate) fn check(&self, options: &Options, findings: &mut Findings) {
        let require = &self.readiness.require;
        if require.conditions().next().is_none() {
            return;
        }
        if self.windows == Some(false) {
            findings
                .error(error::CONTRADICTION, self.span(&[]), "nothing tells which objects are those of a window")
                .fix("split `source.path` by `{window.start:%Y-%m-%d}`, or remove `readiness`");
            return;
        }
        let Some(source) = options.connectors.source(self.source) else { return };
        for (list, conditions) in [("all", &require.all), ("any", &require.any)] {
            for (place, condition) in conditions.iter().enumerate() {
                if let Err(reason) = (source.tells)(self.source, condition) {
                    let at = [Step::Key(list.to_owned()), Step::Index(place)];
                    findings
                        .error(error::CONTRADICTION, self.span(&at), format!("`{}`: {reason}", word(condition)))
                        .fix("correct the condition or the path, or remove the condition");
                }
            }
        }
    }

    fn span(&self, within: &[Step]) -> Span {
        let mut path = vec![Step::Key("readiness".to_owned()), Step::Key("require".to_owned())];
        path.extend_from_slice(within);
        self.node.place(&path).unwrap_or(self.at)
    }
}

fn word(condition: &Condition) -> &'static str {
    match condition {
        Condition::Marker(_) => "marker",
        Condition::NextPartition(_) => "next_partition",
    }
}
