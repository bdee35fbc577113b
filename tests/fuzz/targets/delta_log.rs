//! See `src/delta_log.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::delta_log::check(data));
