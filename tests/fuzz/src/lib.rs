//! What the fuzzer asks of everything that reads bytes of others: a module per target, each with one `check` that takes
//! an input and panics if anything that must hold does not. `targets/` hands these to libFuzzer, and an ordinary test
//! replays their corpora, so nothing here knows of either.

pub mod bodies;
pub mod csv;
pub mod delta_log;
mod draw;
pub mod intervals;
pub mod json_lines;
pub mod parquet;
mod parts;
pub mod pipelines;
pub mod records;
mod rows;
pub mod ticket;
pub mod windows;
pub mod words;
