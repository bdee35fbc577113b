//! Whether somebody can tell what the pipeline waits for, and whether its own markers make sense.

use windrow_common::{
    error,
    pipeline::{Pipeline, SourceSpec},
    readiness::{Condition, Readiness, Then},
};
use windrow_worker::{marker, notify};

use super::{
    Options,
    diagnostic::{Findings, Span},
    tree::{Entry, Node, Step},
};

/// What a pipeline asks of its source.
pub(crate) struct Asked<'a> {
    /// The pipeline's key, and what it says.
    pub(crate) at: Span,
    pub(crate) name: &'a str,
    pub(crate) node: &'a Node,
    pub(crate) readiness: &'a Readiness,
    pub(crate) source: &'a SourceSpec,
    /// How many windows a task is to take.
    pub(crate) per_task: u32,
    /// Whether each window has objects of its own; `None` where there are no windows.
    pub(crate) windows: Option<bool>,
}

impl Asked<'_> {
    pub(crate) fn check(&self, options: &Options, findings: &mut Findings) {
        let require = &self.readiness.require;
        self.check_waiting(findings);
        if self.windows == Some(false) && require.conditions().any(Condition::is_about_objects) {
            findings
                .error(error::CONTRADICTION, self.span(&[]), "nothing tells which objects are those of a window")
                .fix("split `source.path` by `{window.start:%Y-%m-%d}`, or remove `readiness`");
            return;
        }
        let Some(source) = options.connectors.source(self.source) else { return };
        for (list, conditions) in [("all", &require.all), ("any", &require.any)] {
            for (place, condition) in conditions.iter().enumerate().filter(|(_, condition)| is_of_the_source(condition))
            {
                if let Err(reason) = (source.tells)(self.source, condition) {
                    let at = [Step::Key(list.to_owned()), Step::Index(place)];
                    findings
                        .error(error::CONTRADICTION, self.span(&at), format!("`{}`: {reason}", word(condition)))
                        .fix("correct the condition or the path, or remove the condition");
                }
            }
        }
    }

    /// What the coordinator has to see to.
    fn check_waiting(&self, findings: &mut Findings) {
        let require = &self.readiness.require;
        if let Some(place) = require.any.iter().position(|condition| matches!(condition, Condition::Count(_))) {
            let at = [Step::Key("any".to_owned()), Step::Index(place)];
            findings
                .error(
                    error::CONTRADICTION,
                    self.span(&at),
                    "rows are counted when they were read, and others are asked before",
                )
                .fix("write `count` under `all`");
        }
        for (list, conditions) in [("all", &require.all), ("any", &require.any)] {
            for (place, condition) in conditions.iter().enumerate() {
                if matches!(condition, Condition::Pipeline(name) if name.as_str() == self.name) {
                    let at = [Step::Key(list.to_owned()), Step::Index(place)];
                    findings
                        .error(error::CONTRADICTION, self.span(&at), "the pipeline would wait for itself")
                        .fix("name the pipeline that makes its input");
                }
            }
        }
        let own = |key: &str| self.node.get("window").and_then(|window| window.get(key)).map(|value| value.span);
        if let Some(span) = own("per_task").filter(|_| self.readiness.publish.is_some() && self.per_task > 1) {
            findings
                .error(error::CONTRADICTION, span, "each window gets a marker of its own, so a task takes one window")
                .fix("remove `per_task`, or write `per_task: 1`");
        }
        if let Some(span) = own("lookback").filter(|_| self.readiness.late.closes()) {
            findings
                .error(error::CONTRADICTION, span, "published windows are not loaded again: `readiness.late` says so")
                .fix("remove `lookback`, or let windows be loaded again: `late: reopen`");
        }
        if require.timeout.is_none() && require.then != Then::default() {
            findings
                .error(error::CONTRADICTION, self.span(&[Step::Key("then".to_owned())]), "`then` is never reached")
                .fix("add `timeout`, or remove `then`");
        }
    }

    fn span(&self, within: &[Step]) -> Span {
        let mut path = vec![Step::Key("readiness".to_owned()), Step::Key("require".to_owned())];
        path.extend_from_slice(within);
        self.node.place(&path).unwrap_or(self.at)
    }
}

/// What the source has to tell, before it is read or after.
fn is_of_the_source(condition: &Condition) -> bool {
    condition.is_about_objects() || matches!(condition, Condition::Count(_))
}

/// Whether the pipeline's markers make sense, and whether its receiver may be told.
pub(crate) fn check_told(pipeline: &Pipeline, entry: &Entry, findings: &mut Findings) {
    let receiver = pipeline.readiness.notify.as_ref().and_then(|notify| notify::check(notify).err());
    for wrong in marker::check(pipeline).err().into_iter().chain(receiver).flatten() {
        let steps = ["readiness"].into_iter().chain(wrong.path.split('.'));
        let steps: Vec<Step> = steps.map(|key| Step::Key(key.to_owned())).collect();
        let span = [&steps[..], &steps[..2]].iter().find_map(|steps| entry.node.place(steps)).unwrap_or(entry.key_span);
        findings.error(wrong.code, span, wrong.message).fix = wrong.fix;
    }
}

fn word(condition: &Condition) -> &'static str {
    match condition {
        Condition::Marker(_) => "marker",
        Condition::NextPartition(_) => "next_partition",
        Condition::Pipeline(_) => "pipeline",
        Condition::Delta(_) => "delta",
        Condition::Sql(_) => "sql",
        Condition::Count(_) => "count",
    }
}
