//! The command line: pipeline files, output, and one module per verb. The binary only parses arguments and calls here.

pub mod client;
pub mod commands;
pub mod file;
pub mod local;
pub mod show;
pub mod telemetry;
mod worker;
