//! Integration tests, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod backfill;
mod bad_input;
mod bad_sink;
mod cluster;
mod demo;
mod recovery;
mod schema;
mod store;
mod visits;
mod zombie;
