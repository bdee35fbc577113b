//! The worker: reads sources, transforms, carries batches to sink workers, stages, and commits what the coordinator
//! recorded.
//!
//! It may not depend on the coordinator nor on etcd; it meets the coordinator only through `windrow-proto`.

mod ahead;
pub mod attempt;
pub mod clean;
pub mod commit;
pub mod compact;
pub mod connection;
mod delta;
pub mod error;
pub mod flight;
pub mod ingest;
mod look;
pub mod mapping;
pub mod marker;
pub mod network;
pub mod notify;
pub mod open;
pub mod postgres;
pub mod run;
pub mod session;
pub mod sink;
pub mod source;
pub mod stage;
pub mod storage;
pub mod sweep;
pub mod telemetry;
mod template;
pub mod transform;
pub mod verbatim;
