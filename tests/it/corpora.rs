//! The fuzzer's corpora, replayed: every input that was worth keeping, found by hand or by `make fuzz`, is looked at again
//! with every change. What is asked of each is in `tests/fuzz/src`.
#![allow(unreachable_pub, reason = "for the fuzzer, these modules are a library's")]

use std::{fs, panic, path::Path};

#[path = "../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../fuzz/src/csv.rs"]
mod csv;
#[path = "../fuzz/src/delta_log.rs"]
mod delta_log;
#[path = "../fuzz/src/draw.rs"]
mod draw;
#[path = "../fuzz/src/intervals.rs"]
mod intervals;
#[path = "../fuzz/src/json_lines.rs"]
mod json_lines;
#[path = "../fuzz/src/parquet.rs"]
mod parquet;
#[path = "../fuzz/src/parts.rs"]
mod parts;
#[path = "../fuzz/src/records.rs"]
mod records;
#[path = "../fuzz/src/rows.rs"]
mod rows;
#[path = "../fuzz/src/ticket.rs"]
mod ticket;
#[path = "../fuzz/src/windows.rs"]
mod windows;
#[path = "../fuzz/src/words.rs"]
mod words;

/// Looks at every input of a target, and names those that something is wrong with.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 2, "{} has {} inputs", folder.display(), inputs.len());
    let fails = |input: &&std::path::PathBuf| {
        let data = fs::read(input).unwrap();
        panic::catch_unwind(|| check(&data)).is_err()
    };
    let broken: Vec<_> = inputs.iter().filter(fails).map(|input| input.display().to_string()).collect();
    assert!(broken.is_empty(), "what panicked above are inputs of {target}:\n  {}\n", broken.join("\n  "));
}

macro_rules! replayed {
    ($($test:ident: $target:ident;)*) => {
        $(#[test]
        fn $test() {
            replay(stringify!($target), $target::check);
        })*
    };
}

replayed! {
    bodies_are_what_was_written: bodies;
    every_csv_record_is_a_row_or_a_reject: csv;
    commits_of_others_are_read_alike_in_steps_and_at_once: delta_log;
    sets_of_intervals_are_the_sets_of_their_points: intervals;
    every_line_of_json_is_a_row_or_a_reject: json_lines;
    every_parquet_row_is_a_row_or_a_reject: parquet;
    records_survive: records;
    nothing_opens_but_what_was_signed: ticket;
    windows_tile_time_in_any_zone: windows;
    words_survive_being_written: words;
}
