//! Integration tests, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod backfill;
mod bad_input;
mod bad_sink;
mod cluster;
mod demo;
mod metrics;
mod schema;
mod store;
mod trace;
mod visits;
mod zombie;
