//! The coordinator: plans windows, leases tasks to workers, records intents and publishes.
//!
//! It may not depend on the worker, on arrow or on any connector; it meets workers only through `windrow-proto`.

pub mod core;
