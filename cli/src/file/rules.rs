//! Rules between settings: each is fine alone, together they make no sense or not the sense their writer hopes for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};
use windrow_common::{
    compaction::Compaction,
    error,
    id::SinkId,
    manifest::WriteMode,
    pipeline::{Limits, Pattern, Pipeline, Retries, SinkSpec, SourceSpec, WindowSpec},
    upsert::Upsert,
};
use windrow_coordinator::core::calendar::{BadTiling, Tiling};

use super::{
    compaction, deletes,
    diagnostic::{Findings, Span},
    gather, template,
    tree::{Entry, Node, Step},
};

/// The parts of a pipeline that could be read.
pub(crate) struct Parts<'a> {
    pub(crate) pattern: Option<Pattern>,
    pub(crate) source: Option<&'a SourceSpec>,
    /// Whether windows have to be read from the source one by one.
    pub(crate) by_window: bool,
    pub(crate) window: Option<&'a WindowSpec>,
    pub(crate) sink: Option<&'a SinkSpec>,
    pub(crate) retries: Option<&'a Retries>,
    pub(crate) limits: Option<&'a Limits>,
    pub(crate) compaction: Option<&'a Compaction>,
}

/// The pipeline's block, and where findings go.
pub(crate) struct Rules<'a> {
    pub(crate) at: Span,
    pub(crate) node: &'a Node,
    pub(crate) now: Timestamp,
    pub(crate) findings: &'a mut Findings,
}

impl Rules<'_> {
    pub(crate) fn check(mut self, parts: &Parts<'_>) {
        match parts.pattern {
            Some(Pattern::Full) => self.check_full(parts),
            Some(Pattern::Incremental) => self.check_incremental(parts),
            Some(Pattern::Compact) => compaction::check_pattern(&mut self),
            None => {}
        }
        if let Some(window) = parts.window {
            self.check_window(window);
            self.check_width(window);
            if parts.by_window {
                self.check_run(window);
            }
        }
        if let Some(sink) = parts.sink {
            match &sink.upsert {
                Some(upsert) => self.check_upsert(upsert),
                None => self.refuse_keys(),
            }
            if let Some(gather) = &sink.gather {
                gather::check(&mut self, parts.pattern, gather);
            }
        }
        if let Some(compaction) = parts.compaction {
            compaction::check(&mut self, compaction, parts.sink);
        }
        if parts.pattern.is_some_and(|pattern| pattern != Pattern::Compact) && self.node.entry("source").is_none() {
            self.findings.error(error::MISSING_KEY, self.at, "the pipeline has no `source`").fix(
                "add `source: { from: CONNECTION, ... }`, or write `pattern: compact` for a table that others write",
            );
        }
        self.check_bounds(parts);
    }

    /// Rows that go by their keys need keys, and something by which one is newer than another.
    fn check_upsert(&mut self, upsert: &Upsert) {
        for (columns, message, fix) in [
            (
                &upsert.key,
                "nothing tells which row is a newer one of which",
                "name the columns of the key: `key: [id]`",
            ),
            (
                &upsert.order,
                "nothing tells which of two rows of a key is newer",
                "name a column: `order: [updated_at]`",
            ),
        ] {
            if columns.is_empty() {
                let span = self.span(&["sink", "write"]);
                self.findings.error(error::MISSING_KEY, span, message).fix(fix);
            }
        }
        for (key, columns) in [("key", &upsert.key), ("order", &upsert.order)] {
            let mut seen = BTreeSet::new();
            if let Some(twice) = columns.iter().find(|column| !seen.insert(*column)) {
                let span = self.span(&["sink", key]);
                let message = format!("`{key}` names {twice:?} twice");
                self.findings.error(error::BAD_VALUE, span, message).fix("name each column once");
            }
        }
        if upsert.deleted.as_ref().is_some_and(|condition| condition.trim().is_empty()) {
            let span = self.span(&["sink", "deleted"]);
            self.findings
                .error(error::BAD_VALUE, span, "`deleted` is no condition")
                .fix("write a condition in SQL, such as `deleted_at IS NOT NULL`, or remove it");
        }
    }

    fn refuse_keys(&mut self) {
        for key in super::connector::BY_KEY {
            if let Some(span) = self.existing(&["sink", key]) {
                self.findings
                    .error(error::CONTRADICTION, span, format!("`{key}` is for rows that go by their keys"))
                    .fix("write `write: upsert`, or remove it");
            }
        }
    }

    /// A full load has one window, the whole dataset.
    fn check_full(&mut self, parts: &Parts<'_>) {
        for (path, message) in [
            (["window", ""], "a full load has no windows: it reads the whole dataset each time"),
            (["source", "cursor"], "a full load reads everything, whatever the cursor says"),
        ] {
            if let Some(span) = self.existing(&path) {
                self.findings
                    .error(error::CONTRADICTION, span, message)
                    .fix("remove it, or write `pattern: incremental`");
            }
        }
        self.refuse_write(WriteMode::ReplaceWindow, "a full load has no windows to replace one by one");
        if parts.sink.is_some_and(|sink| sink.write != WriteMode::ReplaceAll) {
            self.refuse_guard("a guard watches loads that replace everything, and this one does not");
        }
        if parts.by_window {
            let span = self.span(&["source", "path"]);
            self.findings
                .error(error::CONTRADICTION, span, "a full load has no window to put into a path")
                .fix("write a path without `{window...}`, or `pattern: incremental`");
        }
    }

    fn check_incremental(&mut self, parts: &Parts<'_>) {
        if self.node.entry("window").is_none() {
            self.findings
                .error(error::MISSING_KEY, self.at, "an incremental pipeline has no `window`")
                .fix("add `window: { every: 1h, start: 2024-01-01T00:00 }`");
        }
        self.refuse_write(WriteMode::ReplaceAll, "each window would remove the rows of all the others");
        self.refuse_guard("a guard watches loads that replace everything, and windows replace their own rows alone");
        if let (Some(window), Some(sink)) = (parts.window, parts.sink) {
            self.check_lookback(window, sink);
        }
        if let (Some(source), Some(window)) = (parts.source, parts.window) {
            if !parts.by_window {
                self.check_selection(source);
            }
            self.check_lateness(source, window);
        }
    }

    fn refuse_guard(&mut self, message: &str) {
        if let Some(span) = self.existing(&["guard"]) {
            self.findings.error(error::CONTRADICTION, span, message).fix("remove `guard`");
        }
    }

    fn refuse_write(&mut self, mode: WriteMode, message: &str) {
        if self.text(&["sink", "write"]) == Some(super::connector::word(mode))
            && let Some(span) = self.existing(&["sink", "write"])
        {
            self.findings
                .error(error::CONTRADICTION, span, message)
                .fix("remove `write`: the default fits the pattern");
        }
    }

    fn check_lookback(&mut self, window: &WindowSpec, sink: &SinkSpec) {
        if window.lookback > 0 && sink.write == WriteMode::Append {
            let span = self.span(&["window", "lookback"]);
            self.findings
                .error(error::CONTRADICTION, span, "windows loaded again by `lookback` and appended are there twice")
                .fix("write `write: replace_window`, or remove `lookback`");
        }
    }

    /// Something must tell which rows belong to a window.
    fn check_selection(&mut self, source: &SourceSpec) {
        let whole = ["path", "table", "query"].into_iter().find(|key| self.text(&["source", key]).is_some());
        if let (None, Some(key)) = (&source.cursor, whole) {
            let span = self.span(&["source", key]);
            self.findings
                .error(
                    error::CONTRADICTION,
                    span,
                    "every window would read all of this: nothing tells their rows apart",
                )
                .fix(match key {
                    "path" => "name the column of time in `cursor`, or split the path by `{window.start:%Y-%m-%d}`",
                    _ => "name the column of time in `cursor`",
                });
        }
    }

    /// A column of time says when something happened, not when its row became readable.
    fn check_lateness(&mut self, source: &SourceSpec, window: &WindowSpec) {
        let over = window.end.is_some_and(|end| instant(end, &window.timezone).is_some_and(|end| end <= self.now));
        let counted = window.audit_after.is_some();
        if source.cursor.is_some() && window.lag.0.is_zero() && window.lookback == 0 && !counted && !over {
            let span = self.span(&["source", "cursor"]);
            self.findings
                .warning(error::LATE_ROWS, span, "rows that come after their window was read are never loaded")
                .fix(
                    "say how late they may come: `lag: 5m` waits for them, `lookback: 2` loads the last windows again",
                );
        }
    }

    fn check_window(&mut self, window: &WindowSpec) {
        // A default's zone is checked where it stands.
        let zone = self.existing(&["window", "timezone"]);
        if let (Err(cause), Some(span)) = (TimeZone::get(&window.timezone), zone) {
            unknown_zone(&cause, span, self.findings);
        }
        // What a coordinator would refuse is refused here, by the same rule.
        match Tiling::new(window) {
            Ok(_) | Err(BadTiling::UnknownZone(_)) => {}
            Err(BadTiling::EndsBeforeStart) => {
                let span = self.span(&["window", "end"]);
                self.findings
                    .error(error::BAD_WINDOW, span, "the windows end before they start")
                    .fix("`end` is exclusive and lies after `start`");
            }
            Err(cause @ BadTiling::OutOfRange(civil)) => {
                let key = if civil == window.start { "start" } else { "end" };
                let span = self.span(&["window", key]);
                self.findings
                    .error(error::BAD_WINDOW, span, cause.to_string())
                    .fix("write a time between the years -9999 and 9999, in any zone");
            }
            Err(cause @ BadTiling::TooLong(_)) => {
                let span = self.span(&["window", "every"]);
                self.findings
                    .error(error::BAD_WINDOW, span, cause.to_string())
                    .fix("write a length such as 1h, 1d or 1mo");
            }
        }
    }

    /// A path that splits time finer than the windows do misses all but the first of its parts.
    fn check_width(&mut self, window: &WindowSpec) {
        for block in ["source", "sink"] {
            let path = self.text(&[block, "path"]).map(template::places);
            let Some(split) = path.and_then(template::finest) else { continue };
            if split.unit.is_narrower_than(window.every) {
                let (unit, placeholder) = (split.unit, split.placeholder.to_owned());
                let span = self.span(&["window", "every"]);
                self.findings
                    .error(
                        error::WINDOW_TOO_WIDE,
                        span,
                        format!(
                            "{} is wider than a part of {block}.path, which splits by {}",
                            window.every,
                            unit.word()
                        ),
                    )
                    .fix(format!("every: {}, or drop {placeholder} from {block}.path", unit.window()));
            }
        }
    }

    /// Windows with objects of their own cannot be read in one go. Left out, the number is 1 for them.
    fn check_run(&mut self, window: &WindowSpec) {
        if let Some(span) = self.existing(&["window", "per_task"])
            && window.per_task > 1
        {
            self.findings
                .error(error::CONTRADICTION, span, "each window has objects of its own, so a task takes one window")
                .fix("remove `per_task`, or write `per_task: 1`");
        }
    }

    fn check_bounds(&mut self, parts: &Parts<'_>) {
        let window = parts.window.map(|window| (["window", "per_task"], window.per_task));
        let retries = parts.retries.map(|retries| (["retries", "attempts"], retries.attempts));
        let leases = parts.retries.map(|retries| (["retries", "lost_leases"], retries.lost_leases));
        let limits = parts.limits.map(|limits| (["limits", "concurrency"], limits.concurrency));
        for (path, count) in [window, retries, leases, limits].into_iter().flatten() {
            if count == 0 {
                let span = self.span(&path);
                self.findings
                    .error(error::BAD_VALUE, span, format!("`{}`: with 0 nothing ever runs", path.join(".")))
                    .fix("write 1 or more");
            }
        }
        let lookback = parts.window.map(|window| (["window", "lookback"], window.lookback));
        for (path, count) in [window, lookback].into_iter().flatten() {
            if count > WindowSpec::MAX_RUN {
                let span = self.span(&path);
                let message = format!("`{}` is {} at most", path.join("."), WindowSpec::MAX_RUN);
                self.findings
                    .error(error::BAD_VALUE, span, message)
                    .fix(format!("write {} or less", WindowSpec::MAX_RUN));
            }
        }
        if parts.retries.is_some_and(|retries| retries.max_backoff < retries.backoff) {
            let span = self.span(&["retries", "max_backoff"]);
            self.findings
                .error(error::CONTRADICTION, span, "the longest pause is shorter than the first")
                .fix("make `max_backoff` at least `backoff`");
        }
        if parts.limits.is_some_and(|limits| !(0.0..=1.0).contains(&limits.max_rejected)) {
            let span = self.span(&["limits", "max_rejected"]);
            self.findings
                .error(error::BAD_VALUE, span, "`limits.max_rejected` is a share of the rows")
                .fix("write a number from 0 to 1, such as 0.01");
        }
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(self.node, |node, key| node.get(key)).and_then(Node::text)
    }

    /// Where the setting stands, if it does.
    pub(super) fn existing(&self, path: &[&str]) -> Option<Span> {
        let path: Vec<&str> = path.iter().copied().filter(|key| !key.is_empty()).collect();
        path.iter().try_fold(self.node, |node, key| node.get(key))?;
        self.place(&path)
    }

    /// Where the setting stands or would stand.
    fn place(&self, path: &[&str]) -> Option<Span> {
        let steps: Vec<Step> = path.iter().map(|&key| Step::Key(key.to_owned())).collect();
        self.node.place(&steps)
    }

    pub(super) fn span(&self, path: &[&str]) -> Span {
        self.place(path).unwrap_or(self.at)
    }
}

/// Reports a zone the machine does not know.
pub(crate) fn check_timezone(node: &Node, findings: &mut Findings) {
    let name: Option<String> = super::decode::value(node, "timezone", findings);
    if let Some(Err(cause)) = name.map(|name| TimeZone::get(&name)) {
        unknown_zone(&cause, node.span, findings);
    }
}

pub(super) fn unknown_zone(cause: &jiff::Error, span: Span, findings: &mut Findings) {
    findings
        .error(error::BAD_WINDOW, span, cause.to_string())
        .fix("write a name of the IANA database, such as Europe/Paris or UTC");
}

fn instant(civil: jiff::civil::DateTime, zone: &str) -> Option<Timestamp> {
    Some(civil.to_zoned(TimeZone::get(zone).ok()?).ok()?.timestamp())
}

/// A pipeline that replaces all there is shares its target with nobody, and one that goes by keys with none that goes by others.
pub(crate) fn check_shared_sinks(pipelines: &[(&Entry, Pipeline)], findings: &mut Findings) {
    let mut lanes: BTreeMap<SinkId, Vec<&(&Entry, Pipeline)>> = BTreeMap::new();
    for pipeline in pipelines {
        lanes.entry(pipeline.1.sink.id()).or_default().push(pipeline);
    }
    for lane in lanes.values().filter(|lane| lane.len() > 1) {
        compaction::check_shared(lane, findings);
        deletes::check_shared(lane, findings);
        let replacing = lane.iter().position(|(_, pipeline)| pipeline.sink.write == WriteMode::ReplaceAll);
        let Some(replacing) = replacing else {
            check_shared_keys(lane, findings);
            continue;
        };
        let (entry, pipeline) = lane[replacing];
        let others: Vec<_> = lane.iter().filter(|other| other.1.name != pipeline.name).collect();
        let names: Vec<_> = others.iter().map(|other| format!("`{}`", other.1.name)).collect();
        let path = [Step::Key("sink".to_owned()), Step::Key("path".to_owned())];
        findings
            .error(
                error::CONTRADICTION,
                entry.node.place(&path).unwrap_or(entry.key_span),
                format!("`{}` replaces everything here, and {} writes here too", pipeline.name, names.join(", ")),
            )
            .fix("give each a path of its own");
    }
}

fn check_shared_keys(lane: &[&(&Entry, Pipeline)], findings: &mut Findings) {
    let rule =
        |pipeline: &Pipeline| pipeline.sink.upsert.as_ref().map(|upsert| (upsert.key.clone(), upsert.order.clone()));
    let Some((first, rest)) = lane.split_first() else { return };
    for (entry, pipeline) in rest.iter().filter(|other| rule(&other.1) != rule(&first.1)) {
        findings
            .error(
                error::CONTRADICTION,
                entry.node.place(&[Step::Key("sink".to_owned())]).unwrap_or(entry.key_span),
                format!("`{}` and `{}` write here, and rows go by other keys or by none", first.1.name, pipeline.name),
            )
            .fix("give them the same `write`, `key` and `order`, or tables of their own");
    }
}
