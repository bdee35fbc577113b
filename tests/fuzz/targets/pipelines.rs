//! See `src/pipelines.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::pipelines::check(data));
