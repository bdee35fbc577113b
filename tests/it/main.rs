//! Integration tests, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod backfill;
mod bad_input;
mod bad_sink;
mod cluster;
mod columns;
mod corpora;
mod demo;
mod exits;
mod fault;
mod foreign;
mod guards;
mod hops;
mod http;
mod joining;
mod lake;
mod many;
mod metrics;
mod postgres;
mod postgres_sink;
mod recovery;
mod rollback;
mod s3;
mod s3_broken;
mod s3_faults;
mod schema;
mod store;
mod torn;
mod trace;
mod trouble;
mod unchanged;
mod visits;
mod zombie;
