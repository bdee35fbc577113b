//! The fuzzer's pipeline files, replayed: see `tests/fuzz/src/pipelines.rs` for what is asked of each.
#![allow(unreachable_pub, reason = "for the fuzzer, the module is a library's")]

use std::{fs, panic, path::Path};

#[path = "../../../../tests/fuzz/src/pipelines.rs"]
mod pipelines;

#[test]
fn what_loads_is_taken_in_and_what_is_said_has_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/pipelines");
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() > 5, "{inputs:?}");
    let fails = |input: &&std::path::PathBuf| {
        let data = fs::read(input).unwrap();
        panic::catch_unwind(|| pipelines::check(&data)).is_err()
    };
    let broken: Vec<_> = inputs.iter().filter(fails).collect();
    assert!(broken.is_empty(), "what panicked above are {broken:?}");
}
