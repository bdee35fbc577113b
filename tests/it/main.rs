//! Integration tests, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod backfill;
mod bad_input;
mod bad_sink;
mod cluster;
mod demo;
mod exits;
mod hops;
mod joining;
mod many;
mod metrics;
mod schema;
mod store;
mod torn;
mod trace;
mod trouble;
mod visits;
mod zombie;
