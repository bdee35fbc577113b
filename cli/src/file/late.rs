//! What becomes of rows that come late to closed windows: whether that makes sense, and the pipeline that loads them where they have
//! a place of their own. It is one like any other: what it loads it is told by the windows of the first.

use serde_json::Value;
use windrow_common::{
    closed::{Beside, Late, Place},
    error,
    pipeline::{Pipeline, WindowSpec},
    readiness::Readiness,
};

use super::{
    Options,
    diagnostic::{Findings, Span},
    tree::{Entry, Step},
};

/// Where the settings stand.
const LATE: &[&str] = &["readiness", "late"];
const AUDIT: &[&str] = &["window", "audit_after"];
/// What the place of a sink's rows may be called.
const PLACES: [&str; 2] = ["path", "table"];

/// Whether what a pipeline says of late rows can be had.
pub(crate) fn check(pipeline: &Pipeline, entry: &Entry, options: &Options, findings: &mut Findings) {
    let late = &pipeline.readiness.late;
    let audit = pipeline.window.as_ref().and_then(|window| window.audit_after);
    let (code, path, message, fix) = match (late, &pipeline.window) {
        (Late::Reopen, _) | (Late::Refuse, None) => return,
        (Late::Refuse, Some(_)) if audit.is_some() => (
            error::CONTRADICTION,
            AUDIT,
            "what is found would change nothing: `readiness.late` refuses it",
            "remove `audit_after`, or write `late: quarantine`, which keeps what is found for you to decide",
        ),
        (Late::Refuse, Some(_)) => return,
        (_, None) => (error::CONTRADICTION, LATE, "a full load has no windows that close", "remove `late`"),
        (_, Some(_)) if audit.is_none() => (
            error::MISSING_KEY,
            LATE,
            "nothing looks for what comes late",
            "count windows again some time after their end: `audit_after: 6h` in `window`",
        ),
        (Late::Quarantine, Some(_)) => return,
        (Late::Aside(place), Some(_)) => return check_aside(pipeline, place, entry, options, findings),
    };
    findings.error(code, span(entry, path), message).fix(fix);
}

fn check_aside(pipeline: &Pipeline, place: &Place, entry: &Entry, options: &Options, findings: &mut Findings) {
    let mut refuse = |message: String, fix: &str| {
        findings.error(error::CONTRADICTION, span(entry, LATE), message).fix(fix);
    };
    if !options.connectors.by_window(&pipeline.source) {
        refuse(
            "this source can tell that a window has changed, and not what of it came late".to_owned(),
            "split `source.path` by `{window.start:%Y-%m-%d}` so that windows have files of their own, or write `late: quarantine`",
        );
    }
    let Some((key, own)) = own_place(pipeline) else {
        return refuse(
            "the sink has no place that another one could lie beside".to_owned(),
            "write `late: quarantine`",
        );
    };
    match (key, place) {
        ("path", Place { path: Some(path), table: None }) if apart(own, path) => {}
        ("table", Place { path: None, table: Some(table) }) if own != table => {}
        ("path", Place { path: Some(path), table: None }) => refuse(
            format!("{path:?} and the sink's own {own:?} lie in each other"),
            "name a folder beside it, such as `visits_late`",
        ),
        ("table", Place { path: None, table: Some(_) }) => {
            refuse(format!("{own:?} is the sink's own table"), "name another one");
        }
        (key, _) => refuse(
            format!("the sink's place is its `{key}`, and so has to be the one beside it"),
            "write `late: { aside: { path: visits_late } }`, or `table` for tables of a database",
        ),
    }
}

/// The key and the value of where the sink's rows go.
fn own_place(pipeline: &Pipeline) -> Option<(&'static str, &str)> {
    PLACES.iter().find_map(|key| Some((*key, pipeline.sink.params.get(*key)?.as_str()?)))
}

/// Whether neither of two folders is in the other.
fn apart(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|path| format!("{}/", path.trim_matches('/')));
    one != "/" && other != "/" && !one.starts_with(&other) && !other.starts_with(&one)
}

fn span(entry: &Entry, path: &[&str]) -> Span {
    let steps: Vec<Step> = path.iter().map(|&key| Step::Key(key.to_owned())).collect();
    entry.node.place(&steps).unwrap_or(entry.key_span)
}

/// The pipeline that loads what comes late to another one's windows; `None` if nothing does.
pub(crate) fn beside(of: &Pipeline) -> Option<Pipeline> {
    let Late::Aside(place) = &of.readiness.late else { return None };
    let (key, _) = own_place(of)?;
    let own = if key == "path" { &place.path } else { &place.table };
    let mut sink = of.sink.clone();
    sink.params.insert(key.to_owned(), Value::String(own.clone()?));
    let window = of.window.clone().map(|window| WindowSpec { audit_after: None, lookback: 0, per_task: 1, ..window });
    let readiness = Readiness { notify: of.readiness.notify.clone(), ..Readiness::default() };
    Some(Pipeline {
        name: format!("{}.late", of.name).parse().ok()?,
        window,
        sink,
        readiness: Box::new(readiness),
        compaction: None,
        beside: Some(Box::new(Beside { of: of.name.clone(), sink: of.sink.clone() })),
        ..of.clone()
    })
}
