//! `gather` of a sink: how long sealed windows wait for more of them.

use serde_json::{Map, Value};
use windrow_common::{error, gather::Gather, pipeline::Pattern, quantity::Pause};
use windrow_worker::sink;

use super::{decode, diagnostic::Findings, rules::Rules, spec::GatherBlock, tree::Entry};

/// What a `sink` says, with the size it leaves out.
pub(super) fn read(sink: &Entry, params: &Map<String, Value>, findings: &mut Findings) -> Option<Option<Gather>> {
    let Some(entry) = sink.node.entry("gather") else { return Some(None) };
    let block: GatherBlock = decode::block(&entry.node, entry.key_span, "`gather`", findings)?;
    Some(Some(Gather { wait: block.wait, size: block.size.unwrap_or_else(|| sink::target_file_size(params)) }))
}

pub(super) fn check(rules: &mut Rules<'_>, pattern: Option<Pattern>, gather: &Gather) {
    let why = match pattern {
        Some(Pattern::Full) => Some("a full load is one window, which nothing could be gathered with"),
        Some(Pattern::Compact) => Some("`pattern: compact` loads no windows that could be gathered"),
        Some(Pattern::Incremental) | None => None,
    };
    if let Some(message) = why {
        let span = rules.span(&["sink", "gather"]);
        rules.findings.error(error::CONTRADICTION, span, message).fix("remove `gather`");
        return;
    }
    let (least, most) = (Gather::MIN_WAIT, Gather::MAX_WAIT);
    if !(least..=most).contains(&gather.wait.0) {
        let span = rules.span(&["sink", "gather", "wait"]);
        let message = format!("windows are gathered for {} to {}", Pause(least), Pause(most));
        let fix = match gather.wait.0 < least {
            true => "write a time such as 1m, or remove `gather` to have windows committed at once".to_owned(),
            false => format!("write {} or less", Pause(most)),
        };
        rules.findings.error(error::BAD_VALUE, span, message).fix(fix);
    }
    if gather.size.0 == 0 {
        let span = rules.span(&["sink", "gather", "size"]);
        rules
            .findings
            .error(error::BAD_VALUE, span, "with a size of 0 nothing would be gathered")
            .fix("leave it out: the sink's `target_file_size`");
    }
}
