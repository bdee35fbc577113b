//! See `src/csv.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::csv::check(data));
