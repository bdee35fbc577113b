//! Integration tests, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_input;
mod cluster;
mod demo;
mod store;
