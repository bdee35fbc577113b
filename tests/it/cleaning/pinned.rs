//! Versions pinned at random, and the table cleaned again and again: each pinned one reads as it did, and nothing else is left.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use windrow_tests::{reader, s3::S3, skip::skip};

use super::{Content, Table};
use crate::lake::server;

const ROUNDS: u64 = 4;

/// The seed that was asked for, or any.
fn seed() -> u64 {
    let seed = std::env::var("WINDROW_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("WINDROW_TEST_SEED={seed}");
    seed
}

/// Loads, pins, lets go of pins and cleans, eight days later each time.
fn walk(table: &Table, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut generation = 0;
    let mut pins: BTreeMap<u64, (String, Content)> = BTreeMap::new();
    let mut reclaimed = 0;
    for round in 0..ROUNDS {
        for _ in 0..random.random_range(1..4) {
            generation += 1;
            table.load(generation, random.random_bool(0.7).then(|| random.random_range(1..=super::DAYS)));
        }
        let before = table.read(None);
        let newest = *before.keys().last().unwrap();
        for _ in 0..random.random_range(0..3) {
            let whole: Vec<u64> = before.keys().copied().collect();
            let version = *whole.choose(&mut random).unwrap();
            pins.entry(version)
                .or_insert_with(|| (table.pin(&version.to_string()).unwrap(), before[&version].0.clone()));
        }
        if random.random_bool(0.3)
            && let Some(version) = pins.keys().copied().collect::<Vec<_>>().choose(&mut random)
        {
            let (pin, _) = pins.remove(version).unwrap();
            table.local(&["unpin", &pin], &[]);
        }
        let would = table.clean(8, &["--dry-run"]);
        let files = table.files();
        let did = table.clean(8, &[]);
        assert_eq!((&would["files"], &would["bytes"]), (&did["files"], &did["bytes"]), "round {round}: {would} {did}");
        reclaimed += did["files"].as_u64().unwrap();
        let kept: BTreeSet<u64> = pins.keys().copied().chain([newest]).collect();
        let after = table.read(Some(&kept));
        for (version, (_, content)) in &pins {
            assert_eq!(after.get(version).map(|found| &found.0), Some(content), "round {round}: version {version}");
        }
        assert_eq!(after[&newest].0, before[&newest].0, "round {round}");
        let needed: BTreeSet<String> = after.values().flat_map(|(_, files)| files.clone()).collect();
        assert_eq!(table.files(), needed, "round {round}: nothing else is left");
        assert_eq!(files.len() - needed.len(), did["files"].as_u64().unwrap() as usize);
        // What is not whole any more cannot be pinned.
        let broken = before.keys().find(|version| !before[version].1.is_subset(&needed));
        if let Some(version) = broken {
            let refused = table.pin(&version.to_string()).unwrap_err();
            assert!(refused.contains("WR-K050") && refused.contains(" gone "), "{refused}");
        }
    }
    assert!(reclaimed > 0, "nothing was cleaned");
}

fn on(test: &str, s3: Option<S3>) {
    match reader::python() {
        Ok(python) => walk(&Table::published(python, s3), seed()),
        Err(reason) => skip(test, &reason),
    }
}

/// Proves CO9, CO10. On a folder.
#[test]
fn pinned_versions_outlive_any_cleaning_of_a_folder_and_nothing_else_does() {
    on("pinned_versions_outlive_any_cleaning_of_a_folder_and_nothing_else_does", None);
}

/// Proves CO9, CO10. On S3.
#[test]
fn pinned_versions_outlive_any_cleaning_of_a_bucket_and_nothing_else_does() {
    let test = "pinned_versions_outlive_any_cleaning_of_a_bucket_and_nothing_else_does";
    if let Some(s3) = server(test) {
        on(test, Some(s3));
    }
}
