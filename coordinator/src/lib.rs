//! The coordinator: plans windows, leases tasks to workers, records intents and publishes.
//!
//! It may not depend on the worker, on arrow or on any connector; it meets workers only through `windrow-proto`.

pub mod api;
pub mod controller;
pub mod core;
pub mod leader;
pub mod ledger;
mod metrics;
pub mod run;
pub mod store;
mod trace;
