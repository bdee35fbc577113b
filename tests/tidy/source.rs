//! What the source may and may not contain.

use crate::{
    hold,
    tree::{File, files, rust_files},
};

const MAX_LINES: usize = 500;

/// Every line of code outside tests that has one of the words, as `path:line: word`.
fn lines_with(words: &[&str], applies: impl Fn(&File) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for file in rust_files().iter().filter(|file| !file.is_test() && applies(file)) {
        for (line, code) in file.code() {
            broken.extend(
                words.iter().filter(|word| has_word(&code, word)).map(|word| format!("{}:{line}: {word}", file.path)),
            );
        }
    }
    broken
}

/// Whether the code has the word, not as the end or beginning of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    let joins = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(start, _)| {
        let before = code[..start].chars().next_back().filter(|_| word.starts_with(joins));
        let after = code[start + word.len()..].chars().next().filter(|_| word.ends_with(joins));
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

#[test]
fn the_pure_core_has_no_async_no_clock_and_no_input_or_output() {
    let words = [
        "async",
        "await",
        "tokio",
        "Instant",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "std::fs",
        "std::net",
        "std::io",
        "std::thread",
        "std::env",
        "std::process",
        "println!",
        "eprintln!",
        "rand",
    ];
    hold(
        "coordinator/src/core decides and nothing else: time and chance are arguments, effects are results",
        &lines_with(&words, |file| file.path.starts_with("coordinator/src/core")),
    );
}

#[test]
fn time_is_asked_for_in_one_file() {
    let words = ["SystemTime::now", "std::time::Instant", "Timestamp::now", "Zoned::now", "Utc::now", "Local::now"];
    hold(
        "only common/src/clock.rs reads a clock; all others take a Clock or an instant",
        &lines_with(&words, |file| file.path != "common/src/clock.rs"),
    );
}

#[test]
fn nothing_is_left_undone_or_left_lying_about() {
    hold("no todo!, unimplemented! or dbg!", &lines_with(&["todo!", "unimplemented!", "dbg!"], |_| true));
}

#[test]
fn nothing_panics_on_purpose_outside_tests() {
    hold(
        "errors are values: no panic! and no .expect( in production code",
        &lines_with(&["panic!", ".expect("], |_| true),
    );
}

#[test]
fn every_source_file_says_at_its_top_what_it_is() {
    let broken: Vec<_> =
        rust_files().iter().filter(|file| !file.text.starts_with("//!")).map(|file| file.path.clone()).collect();
    hold("a file starts with `//!`: what it is, and what it may not depend on", &broken);
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long = |file: &&File| !file.is_test() && file.code().len() > MAX_LINES;
    let broken: Vec<_> =
        rust_files().iter().filter(long).map(|file| format!("{}: {} lines", file.path, file.code().len())).collect();
    hold("one idea per file: at most 500 lines, its tests not counted", &broken);
}

#[test]
fn no_module_is_a_drawer() {
    let drawers = ["utils", "util", "helpers", "misc", "shared"];
    let broken: Vec<_> = rust_files()
        .iter()
        .filter(|file| file.path.trim_end_matches(".rs").split('/').any(|part| drawers.contains(&part)))
        .map(|file| file.path.clone())
        .collect();
    hold("a module is named after what it holds", &broken);
}

#[test]
fn names_of_tests_are_sentences() {
    let mut broken = Vec::new();
    for file in rust_files() {
        for (index, line) in file.text.lines().enumerate() {
            let function = line.trim().trim_start_matches("async ").strip_prefix("fn ").unwrap_or_default();
            if function.starts_with("test_") {
                broken.push(format!("{}:{}: {function}", file.path, index + 1));
            }
        }
    }
    hold("a test's name says what holds, and does not begin with test_", &broken);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Put together here, so that this file does not break its own rule.
    let words = ["work", "root"].map(|folder| format!("/{folder}/"));
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| !file.path.ends_with(".lock")) {
        for (index, line) in file.text.lines().enumerate() {
            let found = words.iter().find(|word| starts_path(line, word));
            broken.extend(found.map(|word| format!("{}:{}: {word}", file.path, index + 1)));
        }
    }
    hold("no path of a particular machine in a committed file", &broken);
}

/// Whether the text has the folder at the beginning of a path, not in the middle of one.
fn starts_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || matches!(character, '.' | '_' | '-' | '}' | '/'))
    })
}

#[test]
fn the_rules_see_code_and_not_words() {
    let file = File {
        path: "x.rs".to_owned(),
        text: "let a = \"todo!\"; // todo!\ntodo!()\n#[cfg(test)]\nmod tests { todo!() }\n".to_owned(),
    };
    let found: Vec<_> = file.code().iter().filter(|(_, code)| has_word(code, "todo!")).map(|(line, _)| *line).collect();
    assert_eq!(found, [2]);
    assert!(has_word("x.await?", "await") && !has_word("awaited", "await") && !has_word("brand", "rand"));
    assert!(starts_path("open(\"/opt/x\")", "/opt/") && !starts_path("/usr/opt/x", "/opt/"));
}
