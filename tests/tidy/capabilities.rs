//! `docs/capabilities.md`: which behaviour owed to users which test proves. It is made from the doc comments of the
//! tests: `/// Proves IL3, CL2.`

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::{
    hold,
    tree::{files, root},
};

const PAGE: &str = "docs/capabilities.md";

/// A behaviour: id, what it is in one line, and what is missing where no test proves it.
struct Owed(&'static str, &'static str, &'static str);

const GROUPS: [(&str, &[Owed]); 5] = [
    ("Full loads", FULL_LOADS),
    ("Incremental loads", INCREMENTAL_LOADS),
    ("Compaction", COMPACTION),
    ("Readiness", READINESS),
    ("The cluster", CLUSTER),
];

const NO_TEST: &str = "no test shows it";

const FULL_LOADS: &[Owed] = &[
    Owed("FL1", "A copy between stores of one kind uses their own export and import and decodes no value", NO_TEST),
    Owed("FL2", "A copy between stores of different kinds lists every lossy type mapping before it runs", NO_TEST),
    Owed("FL3", "A source that doubles overnight is loaded by more workers, not by a bigger one", NO_TEST),
    Owed("FL4", "Readers during a load never see an empty or a mixed table, kill -9 included", NO_TEST),
    Owed("FL5", "Where there are no transactions, a load goes to a hidden version and is exposed by a view", NO_TEST),
    Owed("FL6", "The view swap survives dropped, renamed and reordered columns", NO_TEST),
    Owed("FL7", "One call goes back to the version before", NO_TEST),
    Owed(
        "FL8",
        "Objects gone from the source go from the copy, unchanged ones are not sent again",
        "the passthrough pattern is not there yet",
    ),
    Owed("FL9", "A load that would empty the target or shrink it beyond a limit stops and keeps the old data", NO_TEST),
    Owed("FL10", "JSON with a declared schema becomes one new table version; the old one stays readable", NO_TEST),
    Owed("FL11", "CSV with another delimiter and a header loads as the database's own COPY would", NO_TEST),
    Owed("FL12", "A source proven unchanged moves nothing and is recorded as unchanged", NO_TEST),
    Owed("FL13", "Of many tables one failing does not keep the others from being published", NO_TEST),
    Owed(
        "FL14",
        "A full reload runs beside live change capture of the same table and loses no change",
        "change data capture is not there yet",
    ),
];

const INCREMENTAL_LOADS: &[Owed] = &[
    Owed(
        "IL1",
        "The position of a load by cursor is durable; a load by partition derives its partition from the window alone",
        NO_TEST,
    ),
    Owed("IL2", "Windows are half-open: a row exactly on an edge is in one of them", NO_TEST),
    Owed("IL3", "Running a window again gives the same rows and replaces the old ones", NO_TEST),
    Owed("IL4", "Replacing a window is atomic: a failed run leaves the old rows, never a hole", NO_TEST),
    Owed("IL5", "A row that commits after the reader passed its stamp is still loaded", NO_TEST),
    Owed("IL6", "A cursor that may see late rows raises a warning that asks for a lateness policy", NO_TEST),
    Owed("IL7", "Of updated rows the newest wins by key; a mark of deletion deletes", NO_TEST),
    Owed("IL8", "Hard deletes are found without a change log by comparing keys", NO_TEST),
    Owed(
        "IL9",
        "A backfill of months is so many bounded windows, run within limits, and leaves the live position alone",
        NO_TEST,
    ),
    Owed("IL10", "Waiting for a partition to be ready holds no worker's slot", NO_TEST),
    Owed("IL11", "Readiness can be read from a file, a partition or a table version", NO_TEST),
    Owed(
        "IL12",
        "A copy of a prefix keeps its layout and never flattens it in silence",
        "the passthrough pattern is not there yet",
    ),
    Owed("IL13", "Rows can be chosen by a parsed field and written as the raw line they came as", NO_TEST),
    Owed("IL14", "Cursor values carry their zone: the hour of a clock change is neither lost nor doubled", NO_TEST),
    Owed("IL15", "Many rows with one cursor value at an edge: none lost, none doubled", NO_TEST),
];

const COMPACTION: &[Owed] = &[
    Owed("CO1", "A Delta table is rewritten by a commit that changes no data; rows added meanwhile stay", NO_TEST),
    Owed("CO3", "Rows deleted while a rewrite runs are never brought back by it", NO_TEST),
    Owed("CO4", "A rewrite neither starves under commits that come and come nor holds them up", NO_TEST),
    Owed("CO7", "Dead rows of PostgreSQL tables that windrow writes are vacuumed, and seen", NO_TEST),
    Owed(
        "CO8",
        "A folder of JSON, CSV or Parquet files is compacted aside and swapped; readers count no row twice",
        NO_TEST,
    ),
    Owed("CO9", "Cleaning keeps what the longest open reader or writer needs, and lists what it would delete", NO_TEST),
    Owed("CO10", "A version somebody holds is not cleaned, and holds expire", NO_TEST),
    Owed(
        "CO11",
        "A policy says when: inline, in the background, off hours, within a budget; what is being written is left alone",
        NO_TEST,
    ),
    Owed(
        "CO12",
        "One huge table cannot starve others: work is cut into bounded groups with leases of their own",
        NO_TEST,
    ),
    Owed("CO13", "Of two that carry one plan out exactly one commits, and a dead one's plan is taken over", NO_TEST),
    Owed("CO14", "Late files are compacted again, by their number or their age", NO_TEST),
    Owed(
        "CO15",
        "Small windows are gathered into files of the target size within their time; so will be the transactions of change \
         capture, which is not there yet",
        NO_TEST,
    ),
    Owed(
        "CO16",
        "The share of a job's time that goes into listing, and files per partition, are seen before and after",
        NO_TEST,
    ),
];

const READINESS: &[Owed] = &[
    Owed("RM1", "A marker appears after everything it tells of is durable; kill -9 before leaves none", NO_TEST),
    Owed(
        "RM2",
        "Loading a window again takes its marker away before its rows change; a failed load leaves none",
        NO_TEST,
    ),
    Owed("RM3", "Partitions have markers too, also when they are replaced", NO_TEST),
    Owed("RM4", "A marker says what is complete, in itself or beside it; an empty one does for others", NO_TEST),
    Owed("RM5", "The commit of a table is a marker and names its windows; no other file lies in the table", NO_TEST),
    Owed("RM6", "The next partition tells that the one before is complete; an idle hour keeps nobody waiting", NO_TEST),
    Owed("RM7", "Waiting holds no worker's slot, however many windows wait", NO_TEST),
    Owed("RM8", "Rows that are staged are seen by nobody until they are published", NO_TEST),
    Owed("RM9", "Rows that come late to a closed window go where a policy says, and subscribers are told", NO_TEST),
    Owed("RM10", "Counts are compared with the source's before a window is marked", NO_TEST),
    Owed("RM11", "Consumers wait for windows by a call, a command or a file", NO_TEST),
];

const CLUSTER: &[Owed] = &[
    Owed("CL1", "A claim is one transaction of the store: two workers never own one task", NO_TEST),
    Owed(
        "CL2",
        "A lease alone proves nothing: every commit carries a number, and the sink refuses an old one",
        NO_TEST,
    ),
    Owed("CL3", "A worker stopped past its lease and woken again loses nothing, doubles nothing and stops", NO_TEST),
    Owed("CL4", "A claim belongs to one acquisition, not to a host", NO_TEST),
    Owed("CL5", "When the leader changes, running windows go on", NO_TEST),
    Owed("CL6", "A killed worker's windows are taken over within the lease, and its attempts are ended", NO_TEST),
    Owed("CL7", "The result of a slow worker counts as long as its claim is current", NO_TEST),
    Owed("CL8", "Cutting work anew while it runs keeps exactly-once", "shards are fixed when a task is planned"),
    Owed("CL9", "A worker that joins or leaves moves only the tasks it must", NO_TEST),
    Owed("CL10", "Backfills by API: dry run, submit, progress, pause, cancel, resubmit without effect", NO_TEST),
    Owed("CL11", "A backfill neither starves live work nor is starved by it", NO_TEST),
    Owed("CL12", "The signal to scale by counts pending and running work; scaling in drains first", NO_TEST),
    Owed(
        "CL13",
        "Batches are split under the message limit, bytes in flight are bounded, a broken stream is begun anew",
        NO_TEST,
    ),
    Owed("CL14", "Limits of a source hold over all workers", NO_TEST),
    Owed(
        "CL15",
        "While the store is away nothing is committed without its guard, and all recover by themselves",
        NO_TEST,
    ),
    Owed("CL16", "One trace follows a window from its trigger to its marker", NO_TEST),
    Owed("CL17", "Two neighbouring versions work together during an upgrade", "there is one version so far"),
];

/// The tests that prove each id, and what is wrong with the comments that say so.
fn proofs() -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let mut proofs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".rs") && !file.path.starts_with("tests/tidy/")) {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(ids) = line.strip_prefix("/// Proves ") else { continue };
            let place = format!("{}:{}", file.path, index + 1);
            let Some(name) = lines[index..].iter().find_map(|line| function(line)) else {
                broken.push(format!("{place}: no test follows"));
                continue;
            };
            for id in ids.split('.').next().unwrap_or_default().split(',').map(str::trim) {
                if owed(id).is_none() {
                    broken.push(format!("{place}: no capability {id:?}"));
                }
                proofs.entry(id.to_owned()).or_default().insert(format!("{}::{name}", file.path));
            }
        }
    }
    (proofs, broken)
}

/// The name of the function a line declares.
fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

fn owed(id: &str) -> Option<&'static Owed> {
    GROUPS.iter().flat_map(|(_, owed)| owed.iter()).find(|owed| owed.0 == id)
}

fn page(proofs: &BTreeMap<String, BTreeSet<String>>) -> String {
    let all: usize = GROUPS.iter().map(|(_, owed)| owed.len()).sum();
    let mut page = format!(
        "# Capabilities\n\n<!-- Made by `make docs` from the tests' doc comments and tests/tidy/capabilities.rs. Do not edit. -->\n\n\
         What windrow owes its users, and the tests that show it. {} of {all} are shown.\n",
        proofs.len(),
    );
    for (group, owed) in GROUPS {
        page += &format!("\n## {group}\n\n| id | behaviour | shown by |\n|---|---|---|\n");
        for Owed(id, line, missing) in owed {
            let shown = match proofs.get(*id) {
                Some(tests) => tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>"),
                None => format!("not yet: {missing}"),
            };
            page += &format!("| {id} | {line} | {shown} |\n");
        }
    }
    page
}

#[test]
fn what_a_test_claims_to_prove_is_a_capability_and_the_claim_stands_at_a_test() {
    hold("`/// Proves IL3, CL2.` names known ids and stands above a test", &proofs().1);
}

/// With `WINDROW_UPDATE=1` the page is written instead.
#[test]
fn the_page_of_capabilities_is_up_to_date() {
    let fresh = page(&proofs().0);
    let path = root().join(PAGE);
    if crate::updating() {
        fs::write(&path, &fresh).unwrap();
    }
    let stale = fs::read_to_string(&path).unwrap_or_default();
    let differing: Vec<String> = fresh
        .lines()
        .filter(|line| !stale.lines().any(|old| old == *line))
        .map(|line| format!("missing: {line}"))
        .chain(stale.lines().filter(|old| !fresh.lines().any(|line| line == *old)).map(|old| format!("stale: {old}")))
        .collect();
    hold("docs/capabilities.md says what the tests show; `make docs` writes it", &differing);
}

#[test]
fn no_capability_is_listed_twice() {
    let ids: Vec<&str> = GROUPS.iter().flat_map(|(_, owed)| owed.iter().map(|owed| owed.0)).collect();
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len());
    assert_eq!(ids.len(), 14 + 15 + 13 + 11 + 17);
}
