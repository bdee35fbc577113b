//! `docs/failures.md`: which fault was injected, how often, and what held. Its tables are made from `docs/failures.json`,
//! into which `make failures` takes over what runs on this machine have shown.

use std::{collections::BTreeMap, fs};

use windrow_common::{failpoint::Point, invariant::CATALOGUE};
use windrow_tests::proof::Proof;

use crate::{hold, tree::root};

const PAGE: &str = "docs/failures.md";
const RESULTS: &str = "docs/failures.json";
/// What stands above it is written by hand.
const MARK: &str = "<!-- Below here: made by `make docs` from docs/failures.json. Do not edit. -->\n";
const LAYERS: [&str; 4] = ["model", "simulation", "chaos", "fuzz"];
const FAULTS: [&str; 4] = ["kill", "stop", "cut", "fail"];
const SINKS: [&str; 4] = ["delta", "parquet", "json", "postgres"];

fn results() -> Vec<Proof> {
    let text = fs::read_to_string(root().join(RESULTS)).unwrap_or_else(|_| "[]".to_owned());
    serde_json::from_str(&text).unwrap()
}

/// What was recorded here replaces what is known of the same case.
fn merge() {
    let mut all: BTreeMap<(usize, String), Proof> = BTreeMap::new();
    let place = |proof: &Proof| LAYERS.iter().position(|layer| *layer == proof.layer).unwrap_or(LAYERS.len());
    let fresh = Proof::read_all().unwrap();
    for proof in results().into_iter().chain(fresh) {
        all.insert((place(&proof), sortable(&proof.case)), proof);
    }
    let lines: Vec<String> = all.values().map(|proof| serde_json::to_string(proof).unwrap()).collect();
    fs::write(root().join(RESULTS), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
}

/// So that F2 comes before F10.
fn sortable(case: &str) -> String {
    let digits = case.strip_prefix('F').and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    match digits.and_then(|digits| digits.parse::<u32>().ok()) {
        Some(number) => format!("F{number:03}{}", case.trim_start_matches(|c: char| c == 'F' || c.is_ascii_digit())),
        None => case.to_owned(),
    }
}

fn tables(proofs: &[Proof]) -> String {
    let chaos: Vec<&Proof> = proofs.iter().filter(|proof| proof.layer == "chaos").collect();
    let of = |point: &str, fault: &str| -> Vec<&str> {
        let cell = |sink: &&&str| chaos.iter().any(|proof| proof.case == format!("{point}-{fault}-{sink}"));
        SINKS.iter().filter(cell).copied().collect()
    };
    let mut held = 0;
    let mut matrix = String::new();
    let points: Vec<&str> = Point::ALL.into_iter().filter(|point| point.is_everywhere()).map(Point::id).collect();
    for point in &points {
        let said = chaos.iter().find(|proof| proof.case.starts_with(&format!("{point}-")));
        let moment = said.and_then(|proof| proof.injected.split_once(": ")).map_or("", |(_, moment)| moment);
        let columns = FAULTS.map(|fault| {
            let sinks = of(point, fault);
            held += sinks.len();
            if sinks.len() == SINKS.len() { "held, all four sinks".to_owned() } else { sinks.join(", ") }
        });
        matrix += &format!("| {point} | {moment} | {} |\n", columns.join(" | "));
    }
    matrix += "| F8b | readers see the rows, no marker says so | killed and failed by `tests/it/ready.rs`, where there are markers | | | |\n";
    matrix += "| F11 | before a position is confirmed to a source | no change capture yet | | | |\n";
    let cells = points.len() * FAULTS.len() * SINKS.len();
    let mut text = format!(
        "\n## Points of the protocol\n\n{held} of {cells} cells held, each with 0 rows lost and 0 doubled. A cell is run by \
         `make chaos CELLS=F3-stop-delta`.\n\n| point | moment | killed | stopped past the lease | cut off past the lease | \
         failed |\n|---|---|---|---|---|---|\n{matrix}"
    );
    let is_cell = |proof: &Proof| Point::ALL.iter().any(|point| proof.case.starts_with(&format!("{}-", point.id())));
    for (layer, heading) in [
        ("chaos", "Other faults, real processes"),
        ("simulation", "Simulation"),
        ("model", "Model"),
        ("fuzz", "Fuzzing"),
    ] {
        let proofs: Vec<&Proof> =
            proofs.iter().filter(|proof| proof.layer == layer && !(layer == "chaos" && is_cell(proof))).collect();
        if proofs.is_empty() {
            continue;
        }
        text += &format!(
            "\n## {heading}\n\n| case | what was done | times | invariants held | found | again by |\n|---|---|---|---|---|---|\n"
        );
        for proof in proofs {
            let held: Vec<&str> = proof.held.iter().map(|id| id.trim_start_matches("INV-")).collect();
            let Proof { case, injected, times, command, .. } = proof;
            text +=
                &format!("| {case} | {injected} | {times} | {} | {} | `{command}` |\n", held.join(", "), found(proof));
        }
    }
    text += "\n## Invariants\n\n| id | |\n|---|---|\n";
    for (id, words) in CATALOGUE {
        text += &format!("| {} | {words} |\n", id.trim_start_matches("INV-"));
    }
    text
}

/// What a run found, in words.
fn found(proof: &Proof) -> String {
    let states = proof.states.map(|states| format!("{states} states"));
    let rows = |count: Option<u64>, what: &str| count.map(|count| format!("{count} rows {what}"));
    let parts = [states, rows(proof.lost, "lost"), rows(proof.doubled, "doubled")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// With `WINDROW_UPDATE=1` the page is written instead, with `WINDROW_MERGE=1` the results before.
#[test]
fn the_page_of_failures_is_up_to_date() {
    if std::env::var("WINDROW_MERGE").is_ok_and(|merge| merge == "1") {
        merge();
    }
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).unwrap_or_default();
    let (words, stale) = page.split_once(MARK).unwrap_or((&page, ""));
    let fresh = tables(&results());
    if crate::updating() {
        fs::write(&path, format!("{words}{MARK}{fresh}")).unwrap();
        return;
    }
    let differing: Vec<String> =
        fresh.lines().filter(|line| !stale.lines().any(|old| old == *line)).map(str::to_owned).collect();
    hold("docs/failures.md says what docs/failures.json does; `make docs` writes it", &differing);
}

#[test]
fn points_are_sorted_by_number() {
    assert!(sortable("F2-kill-json") < sortable("F2b-kill-json") && sortable("F2b-x") < sortable("F10-kill-json"));
}
