//! Metrics and what is said of them: docs/operations.md lists what the code makes, and dashboards and alerts ask for
//! nothing else.

use std::{collections::BTreeSet, fs};

use crate::{
    hold,
    tree::{File, files, root},
};

const PAGE: &str = "docs/operations.md";
const PREFIX: &str = "windrow_";
/// How instruments are made, and what the exporter adds to their names.
const MAKERS: [(&str, &str); 3] = [("counter(", "_total"), ("gauge(", ""), ("histogram(", "")];
/// What a histogram's samples are called.
const SAMPLES: [&str; 3] = ["_bucket", "_sum", "_count"];
/// Names that are no metrics: of a schema in the databases that are written.
const NO_METRICS: [&str; 1] = ["windrow_stage"];

/// The metrics a file makes, as they are scraped, and names that no instrument takes.
fn made(file: &File) -> (BTreeSet<String>, Vec<String>) {
    let code = production(file);
    let (mut metrics, mut stray) = (BTreeSet::new(), Vec::new());
    let quoted = format!("\"{PREFIX}");
    for (at, _) in code.match_indices(&quoted) {
        let name: String = code[at + 1..].chars().take_while(is_of_name).collect();
        if !code[at + 1 + name.len()..].starts_with('"') {
            continue;
        }
        let before = code[..at].trim_end();
        match MAKERS.iter().find(|(maker, _)| before.ends_with(maker)) {
            Some((_, suffix)) => drop(metrics.insert(format!("{name}{suffix}"))),
            None if NO_METRICS.contains(&name.as_str()) => {}
            None => stray.push(format!("{}: {name}", file.path)),
        }
    }
    (metrics, stray)
}

/// The text without its tests; strings are kept.
fn production(file: &File) -> &str {
    file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

fn is_of_name(character: &char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || *character == '_'
}

fn telling(path: &str) -> bool {
    ["coordinator/src/", "worker/src/", "cli/src/"].iter().any(|folder| path.starts_with(folder))
        && path.ends_with(".rs")
}

fn all_made() -> BTreeSet<String> {
    let all = files();
    let code = all.iter().filter(|file| telling(&file.path) && !file.is_test());
    code.flat_map(|file| made(file).0).collect()
}

#[test]
fn metrics_that_are_made_are_documented_and_documented_ones_are_made() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `windrow_")?.split('`').next());
    let documented: BTreeSet<String> = rows.map(|name| format!("{PREFIX}{name}")).collect();
    let made = all_made();
    assert!(made.len() > 10, "instruments are made in another way than this test knows: {made:?}");
    let unknown = made.difference(&documented).map(|name| format!("made, not documented: {name}"));
    let gone = documented.difference(&made).map(|name| format!("documented, not made: {name}"));
    hold("the tables of docs/operations.md list the metrics there are", &unknown.chain(gone).collect::<Vec<_>>());
}

#[test]
fn a_name_of_a_metric_stands_where_it_is_made() {
    let all = files();
    let code = all.iter().filter(|file| telling(&file.path) && !file.is_test());
    let stray: Vec<String> = code.flat_map(|file| made(file).1).collect();
    hold("a metric's name is written once, as the first argument of counter, gauge or histogram", &stray);
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_there_are() {
    let made = all_made();
    let asks = |file: &&File| {
        let path = file.path.to_lowercase();
        path.starts_with("deploy/") && ["grafana", "dashboard", "rule", "alert"].iter().any(|word| path.contains(word))
    };
    let mut broken = Vec::new();
    for file in files().iter().filter(asks) {
        for (at, _) in file.text.match_indices(PREFIX) {
            let name: String = file.text[at..].chars().take_while(is_of_name).collect();
            let plain = SAMPLES.iter().find_map(|sample| name.strip_suffix(sample)).unwrap_or(&name);
            if !made.contains(&name) && !made.contains(plain) {
                broken.push(format!("{}: {name}", file.path));
            }
        }
    }
    hold("dashboards and alerts name metrics that are made", &broken);
}

#[test]
fn names_are_found_however_an_instrument_is_made() {
    let text = "let a = counter(\"windrow_a\", \"x\");\nlet b = meter.f64_gauge(\"windrow_b_seconds\");\n\
                let c = histogram(\n    \"windrow_c\",\n);\nlet d = \"windrow_d\";\nuse windrow_e;\n";
    let (metrics, stray) = made(&File { path: "x.rs".to_owned(), text: text.to_owned() });
    assert_eq!(metrics, ["windrow_a_total", "windrow_b_seconds", "windrow_c"].map(str::to_owned).into());
    assert_eq!(stray, ["x.rs: windrow_d"]);
}
