//! Which crate may know which.

use crate::{
    hold,
    tree::{CRATES, dependencies, rust_files},
};

/// The dependencies of `folder` that are forbidden: equal to a word, or beginning with one that ends in `*`.
fn forbidden(folder: &str, words: &[&str]) -> Vec<String> {
    let matches = |name: &str| {
        words.iter().any(|word| match word.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *word,
        })
    };
    let found = dependencies(folder).into_iter().filter(|name| matches(name));
    found.map(|name| format!("{folder}/Cargo.toml: {name}")).collect()
}

#[test]
fn common_knows_none_of_us_and_no_wire_store_or_format() {
    let words = ["windrow-*", "tonic*", "prost*", "etcd*", "redb", "arrow*", "object_store", "parquet", "datafusion*"];
    hold(
        "common is what coordinator and worker both speak of: no crate of ours, no tonic, etcd, arrow or object_store",
        &forbidden("common", &words),
    );
}

#[test]
fn proto_knows_common_alone() {
    let words = ["windrow-coordinator", "windrow-worker", "windrow", "arrow*", "etcd*", "object_store", "datafusion*"];
    hold("proto turns common's types into messages and back, and knows no more", &forbidden("proto", &words));
}

#[test]
fn the_coordinator_knows_no_worker_no_data_and_no_connector() {
    let words =
        ["windrow-worker", "windrow", "arrow*", "parquet", "datafusion*", "deltalake*", "object_store", "rdkafka"];
    hold("the coordinator plans and records; it never touches data", &forbidden("coordinator", &words));
}

#[test]
fn the_worker_knows_neither_coordinator_nor_store() {
    let words = ["windrow-coordinator", "windrow", "etcd*", "redb"];
    hold("the worker meets the coordinator through proto alone", &forbidden("worker", &words));
}

#[test]
fn nobody_but_tests_and_benches_imports_the_test_harness() {
    let broken: Vec<_> = CRATES
        .iter()
        .filter(|folder| !["tests", "benches"].contains(folder))
        .flat_map(|folder| forbidden(folder, &["windrow-tests", "windrow-benches"]))
        .collect();
    hold("production code does not rest on test code", &broken);
}

#[test]
fn every_crate_is_held_to_the_lints_of_the_workspace() {
    let broken: Vec<_> = CRATES
        .iter()
        .filter(|folder| {
            let manifest = std::fs::read_to_string(crate::tree::root().join(folder).join("Cargo.toml"));
            !manifest.is_ok_and(|text| text.contains("[lints]\nworkspace = true"))
        })
        .map(|folder| format!("{folder}/Cargo.toml"))
        .collect();
    hold("each manifest says `[lints]` `workspace = true`", &broken);
}

/// Modules that say in their first lines what they may not know are held to the plainest part of it.
#[test]
fn no_module_reaches_past_the_layer_above_it() {
    let rules: [(&str, &[&str]); 6] = [
        ("coordinator/src/store/", &["crate::ledger", "crate::controller", "crate::core", "crate::api"]),
        (
            "coordinator/src/core/",
            &["crate::ledger", "crate::controller", "crate::store", "crate::api", "crate::leader"],
        ),
        ("coordinator/src/ledger", &["crate::controller", "crate::api"]),
        ("worker/src/source/", &["crate::sink", "crate::session", "crate::commit"]),
        ("worker/src/sink/", &["crate::session", "crate::flight"]),
        ("worker/src/stage/", &["crate::sink", "crate::session"]),
    ];
    let mut broken = Vec::new();
    for file in rust_files().iter().filter(|file| !file.is_test()) {
        for (start, words) in rules.iter().filter(|(start, _)| file.path.starts_with(start)) {
            for (line, code) in file.code() {
                let found = words.iter().find(|word| code.contains(*word));
                broken.extend(found.map(|word| format!("{}:{line}: {word} in {start}", file.path)));
            }
        }
    }
    hold("a lower layer does not know a higher one", &broken);
}
