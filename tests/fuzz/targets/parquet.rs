//! See `src/parquet.rs`.
#![no_main]

use std::panic;

libfuzzer_sys::fuzz_target!(
    // The source catches what the decoder panics with, so a panic ends the run only where nobody catches it.
    init: panic::set_hook(Box::new(|said| if !is_of_library(said) { eprintln!("{said}") })),
    |data: &[u8]| windrow_fuzz::parquet::check(data)
);

fn is_of_library(said: &panic::PanicHookInfo<'_>) -> bool {
    said.location().is_some_and(|place| ["/registry/", "/rustc/"].iter().any(|part| place.file().contains(part)))
}
