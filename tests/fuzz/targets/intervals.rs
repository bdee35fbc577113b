//! See `src/intervals.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::intervals::check(data));
