//! Rules of `compaction` and of `pattern: compact`.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use windrow_common::{
    compaction::{Clustering, Compaction, MOST_CLUSTERING_COLUMNS, When},
    error,
    pipeline::{Pattern, Pipeline, SinkSpec},
};
use windrow_worker::sink;

use super::{
    diagnostic::Findings,
    rules::{self, Rules},
    tree::{Entry, Step},
};

/// What a table that is only compacted has no use for.
const OF_LOADS: [&str; 7] = ["source", "window", "transform", "readiness", "guard", "schema", "deletes"];

pub(super) fn check_pattern(rules: &mut Rules<'_>) {
    for key in OF_LOADS {
        if let Some(span) = rules.existing(&[key]) {
            rules
                .findings
                .error(error::CONTRADICTION, span, format!("`pattern: compact` loads nothing, so it has no `{key}`"))
                .fix("remove it; to load rows as well, write the pattern that does and add `compaction` to it");
        }
    }
    if let Some(span) = rules.existing(&["sink", "write"]) {
        rules
            .findings
            .error(error::CONTRADICTION, span, "`pattern: compact` writes no rows, so there is no way to write them")
            .fix("remove `write`");
    }
}

pub(super) fn check(rules: &mut Rules<'_>, compaction: &Compaction, sink: Option<&SinkSpec>) {
    if let Some(sink) = sink
        && let Some(kind) = sink::find(sink)
        && !kind.capabilities.compaction
    {
        let span = rules.existing(&["compaction"]).unwrap_or(rules.at);
        rules
            .findings
            .error(
                error::COMPACTION_UNSUPPORTED,
                span,
                format!("files of format {:?} cannot be compacted", sink.format),
            )
            .fix("remove `compaction`, or write `format: delta`, `parquet`, `json` or `csv`");
    }
    let mut bad = |key: &str, code, message: &str, fix: &str| {
        let span = rules.span(&["compaction", key]);
        rules.findings.error(code, span, message.to_owned()).fix(fix);
    };
    if compaction.target_size.0 == 0 {
        bad("target_size", error::BAD_VALUE, "a file needs a size above zero", "leave it out: 256MiB");
    }
    if !(compaction.small > 0.0 && compaction.small <= 1.0) {
        let message = "`small` is the share of the target below which a file is small";
        bad("small", error::BAD_VALUE, message, "write a number above 0 and at most 1, such as 0.5");
    }
    if compaction.min_files < 2 {
        bad("min_files", error::BAD_VALUE, "a file alone cannot become fewer", "write 2 or more");
    }
    if let Some(clustering) = &compaction.cluster_by {
        check_clustering(rules, clustering, sink);
    }
    let Some(hours) = &compaction.off_hours else { return };
    let mut bad = |key: &str, code, message: &str, fix: &str| {
        let span = rules.span(&["compaction", key]);
        rules.findings.error(code, span, message.to_owned()).fix(fix);
    };
    if hours.from == hours.to {
        let message = "`off_hours` end when they begin, so nothing would ever be rewritten, or always";
        bad("off_hours", error::CONTRADICTION, message, "write two times, or remove it");
    }
    if compaction.when == When::Inline {
        let message = "`inline` wants files few after every commit, and `off_hours` only at some hours";
        bad("when", error::CONTRADICTION, message, "remove one of them");
    }
    if let Err(cause) = TimeZone::get(&hours.timezone) {
        let span = rules.span(&["compaction", "off_hours", "timezone"]);
        rules::unknown_zone(&cause, span, rules.findings);
    }
}

fn check_clustering(rules: &mut Rules<'_>, clustering: &Clustering, sink: Option<&SinkSpec>) {
    let (whole, columns) =
        (rules.span(&["compaction", "cluster_by"]), rules.span(&["compaction", "cluster_by", "columns"]));
    let kind = sink.and_then(sink::find).filter(|kind| kind.capabilities.compaction);
    if let (Some(sink), Some(kind)) = (sink, kind)
        && !kind.capabilities.clustering
    {
        let message = format!("rows of files of format {:?} cannot be clustered", sink.format);
        let fix = "remove `cluster_by`, or write `format: delta`";
        rules.findings.error(error::COMPACTION_UNSUPPORTED, whole, message).fix(fix);
    }
    let count = clustering.columns.len();
    if count == 0 || count > MOST_CLUSTERING_COLUMNS {
        let message = format!("rows are clustered by 1 to {MOST_CLUSTERING_COLUMNS} columns, not by {count}");
        let fix = "name the columns that most questions have conditions on, the most frequent first";
        rules.findings.error(error::BAD_VALUE, columns, message).fix(fix);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = clustering.columns.iter().find(|column| !seen.insert(*column)) {
        let message = format!("`cluster_by` names {twice:?} twice");
        rules.findings.error(error::BAD_VALUE, columns, message).fix("name each column once");
    }
    let partitions = sink.and_then(|sink| sink.params.get("partition_by")?.as_array());
    let is_partition = |column: &&String| partitions.is_some_and(|all| all.iter().any(|one| one == column.as_str()));
    if let Some(column) = clustering.columns.iter().find(is_partition) {
        let message =
            format!("rows of a partition have one value of {column:?} all, so nothing can be clustered by it");
        rules.findings.error(error::CONTRADICTION, columns, message).fix("name other columns");
    }
}

/// A table is compacted by whoever loads it, if somebody does: only then are its windows known, and one of them says how.
pub(super) fn check_shared(lane: &[&(&Entry, Pipeline)], findings: &mut Findings) {
    let loads = lane.iter().find(|(_, pipeline)| pipeline.pattern != Pattern::Compact);
    for (entry, pipeline) in lane.iter().filter(|(_, pipeline)| pipeline.pattern == Pattern::Compact) {
        let Some((_, other)) = loads else { continue };
        let span = entry.node.place(&[Step::Key("pattern".to_owned())]).unwrap_or(entry.key_span);
        let message =
            format!("`{}` compacts what `{}` loads, and knows nothing of its windows", pipeline.name, other.name);
        findings
            .error(error::CONTRADICTION, span, message)
            .fix(format!("remove it, and add `compaction` to `{}`", other.name));
    }
    let mut compacts = lane.iter().filter(|(_, pipeline)| pipeline.pattern == Pattern::Compact);
    if let Some((_, first)) = compacts.next() {
        for (entry, other) in compacts.filter(|(_, other)| other.sink.format != first.sink.format) {
            let span =
                entry.node.place(&["sink", "format"].map(|key| Step::Key(key.to_owned()))).unwrap_or(entry.key_span);
            let message = format!("`{}` and `{}` compact one folder as files of two formats", first.name, other.name);
            findings.error(error::CONTRADICTION, span, message).fix("give each format a folder of its own");
        }
    }
    let told: Vec<_> = lane.iter().filter_map(|(entry, one)| Some((*entry, one, one.compaction.as_ref()?))).collect();
    let Some(((_, first, rule), rest)) = told.split_first() else { return };
    for (entry, other, _) in rest.iter().filter(|(_, _, theirs)| theirs != rule) {
        let span = entry.node.place(&[Step::Key("compaction".to_owned())]).unwrap_or(entry.key_span);
        findings
            .error(
                error::CONTRADICTION,
                span,
                format!("`{}` and `{}` say differently how one table is compacted", first.name, other.name),
            )
            .fix("say it once, or the same");
    }
}
