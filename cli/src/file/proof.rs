//! Whether what rests on proofs of a source can be had: full loads that are left out, and windows that are counted again.

use windrow_common::{
    error,
    manifest::WriteMode,
    pipeline::{Pattern, SinkSpec, SourceSpec, Unchanged, WindowSpec},
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
    pub(crate) pattern: Pattern,
    pub(crate) unchanged: Unchanged,
    pub(crate) window: Option<&'a WindowSpec>,
    pub(crate) source: &'a SourceSpec,
    pub(crate) sink: &'a SinkSpec,
}

/// Where the settings stand.
const UNCHANGED: &[&str] = &["unchanged"];
const AUDIT: &[&str] = &["window", "audit_after"];

impl Asked<'_> {
    pub(crate) fn check(&self, options: &Options, findings: &mut Findings) {
        if self.unchanged == Unchanged::Skip {
            self.check_skip(findings);
            self.check_source(UNCHANGED, options, findings);
        }
        if let Some(window) = self.window.filter(|window| window.audit_after.is_some()) {
            self.check_audit(window, findings);
            self.check_source(AUDIT, options, findings);
        }
    }

    fn check_skip(&self, findings: &mut Findings) {
        let message = match (self.pattern, self.sink.write) {
            (Pattern::Incremental, _) => "windows are loaded once, so there is nothing to leave out",
            (Pattern::Compact, _) => "a table that is compacted is not loaded",
            (Pattern::Full, WriteMode::ReplaceAll) => return,
            (Pattern::Full, _) => "a load that adds to the table is never the same again",
        };
        findings.error(error::CONTRADICTION, self.span(UNCHANGED), message).fix("remove `unchanged`");
    }

    fn check_audit(&self, window: &WindowSpec, findings: &mut Findings) {
        let mut refuse = |message: &str, fix: &str| {
            findings.error(error::CONTRADICTION, self.span(AUDIT), message).fix(fix);
        };
        if self.sink.write == WriteMode::Append {
            refuse(
                "a window that has changed is loaded again, and appended it would be there twice",
                "write `write: replace_window`, or remove `audit_after`",
            );
        }
        if window.lookback > 0 {
            refuse(
                "`lookback` loads the last windows again in any case, `audit_after` only those that have changed",
                "remove one of the two",
            );
        }
        if window.audit_after.is_some_and(|after| after <= window.lag) {
            refuse(
                "a window would be counted again before it is read: `audit_after` is no longer than `lag`",
                "count it again some hours later, as in `audit_after: 6h`",
            );
        }
    }

    fn check_source(&self, path: &[&str], options: &Options, findings: &mut Findings) {
        if options.connectors.proves(self.source, self.pattern) {
            return;
        }
        let (message, fix) = match self.pattern {
            Pattern::Full | Pattern::Compact => {
                ("this source cannot prove that it is what it was", "remove `unchanged`")
            }
            Pattern::Incremental => (
                "this source cannot prove that a window is what it was",
                "remove `audit_after`; of files, those whose path names the window can be proven",
            ),
        };
        findings.error(error::NOTHING_PROVES, self.span(path), message).fix(fix);
    }

    fn span(&self, path: &[&str]) -> Span {
        let steps: Vec<Step> = path.iter().map(|&key| Step::Key(key.to_owned())).collect();
        self.node.place(&steps).unwrap_or(self.at)
    }
}
