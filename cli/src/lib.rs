//! The command line: pipeline files, output, and one module per verb. The binary only parses arguments and calls here.

pub mod client;
pub mod commands;
pub mod file;
pub mod local;
mod logs;
pub mod show;
pub mod telemetry;
pub mod trace;
mod worker;

/// The fuzzer's checks call this crate by its name, here as there.
#[cfg(test)]
extern crate self as windrow_cli;
