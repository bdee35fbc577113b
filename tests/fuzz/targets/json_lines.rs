//! See `src/json_lines.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::json_lines::check(data));
