//! Documents that must keep step with the code.

use std::{collections::BTreeSet, fs};

use windrow_common::error::{CATALOGUE, find};

use crate::{
    hold,
    tree::{files, root},
};

const GROUPS: [(char, &str); 8] = [
    ('C', "Command line and configuration"),
    ('P', "Pipeline file"),
    ('W', "Windows"),
    ('S', "Source"),
    ('T', "Transform"),
    ('K', "Sink"),
    ('L', "Ledger and store"),
    ('N', "Network and sessions"),
];
const SECTIONS: [&str; 3] = ["## Causes", "## What to do", "## Example"];

fn page(code: &str) -> Option<String> {
    fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).ok()
}

#[test]
fn every_error_code_has_a_page() {
    let broken: Vec<_> =
        CATALOGUE.iter().filter(|entry| page(entry.code).is_none()).map(|entry| entry.code.to_owned()).collect();
    hold("every code of common/src/error.rs has docs/errors/<code>.md", &broken);
}

#[test]
fn every_error_page_has_a_code() {
    let broken: Vec<_> = fs::read_dir(root().join("docs/errors"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "README.md" && find(name.trim_end_matches(".md")).is_none())
        .collect();
    hold("docs/errors holds a page for each code, an index, and nothing else", &broken);
}

#[test]
fn error_pages_say_what_a_code_means_where_it_comes_from_and_what_to_do() {
    let mut broken = Vec::new();
    for entry in CATALOGUE {
        let text = page(entry.code).unwrap_or_default();
        if text.lines().next() != Some(&format!("# {}: {}", entry.code, entry.meaning)) {
            broken.push(format!("{}: the title is not `# {}: {}`", entry.code, entry.code, entry.meaning));
        }
        for section in SECTIONS {
            let body = text.split(&format!("{section}\n")).nth(1).and_then(|rest| rest.split("\n## ").next());
            if body.is_none_or(|body| body.trim().len() < 30) {
                broken.push(format!("{}: `{section}` is missing or empty", entry.code));
            }
        }
        if !text.contains(&format!("[{}]: ", entry.code)) {
            broken.push(format!("{}: the example is not of this code", entry.code));
        }
    }
    hold("an error page has a meaning, causes, what to do and an example message", &broken);
}

#[test]
fn the_index_of_error_pages_lists_all_of_them() {
    let path = root().join("docs/errors/README.md");
    let fresh = index();
    if crate::updating() {
        fs::write(&path, &fresh).unwrap();
    }
    let stale = fs::read_to_string(&path).unwrap_or_default();
    let broken: Vec<_> =
        fresh.lines().filter(|line| !stale.lines().any(|old| old == *line)).map(str::to_owned).collect();
    hold("docs/errors/README.md has a line for each code; `make docs` writes it", &broken);
}

fn index() -> String {
    let mut text =
        "# Errors\n\nEvery error a user can meet has a code and a page. `windrow explain WR-P003` prints the page.\n"
            .to_owned();
    for (letter, group) in GROUPS {
        text += &format!("\n## {group}\n\n| code | meaning |\n|---|---|\n");
        for entry in CATALOGUE.iter().filter(|entry| entry.code[3..].starts_with(letter)) {
            text += &format!("| [{code}]({code}.md) | {meaning} |\n", code = entry.code, meaning = entry.meaning);
        }
    }
    text
}

#[test]
fn every_code_named_anywhere_is_in_the_catalogue() {
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| !file.path.starts_with("tests/tidy/")) {
        for code in codes_in(&file.text) {
            if find(&code).is_none() {
                broken.push(format!("{}: {code}", file.path));
            }
        }
    }
    hold("no file speaks of an error code that does not exist", &broken);
}

/// Everything that looks like a code: `WR-`, a letter, three digits.
fn codes_in(text: &str) -> BTreeSet<String> {
    let is_code = |code: &&str| {
        let tail = &code.as_bytes()[3..];
        tail[0].is_ascii_uppercase() && tail[1..].iter().all(u8::is_ascii_digit)
    };
    let starts = text.match_indices("WR-").filter_map(|(start, _)| text.get(start..start + 7));
    starts.filter(is_code).map(str::to_owned).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root().join(&file.path).parent().unwrap().to_owned();
        for target in file.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !path.contains(' ') && !folder.join(path).exists() {
                broken.push(format!("{}: {target}", file.path));
            }
        }
    }
    hold("a link to a file of the repository leads to one", &broken);
}
