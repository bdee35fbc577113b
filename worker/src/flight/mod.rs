//! The hop from the worker that reads a source to the worker that stages for its sink: batches over Arrow Flight, or
//! by hand where both are one process. It carries rows and manifests; it knows no source and no ledger.
//!
//! A hop belongs to one claim. Its [`Pass`] is a ticket signed by the coordinator, passed on as it is, and the pipeline the
//! ticket was signed for: no path, address or query is ever taken from a caller.

mod chunk;
mod client;
mod hop;
mod server;
mod service;
mod trace;
mod wire;

#[cfg(test)]
mod tests;

pub use client::{FlightHop, endpoint_limits};
pub use hop::Hop;
pub use server::{flight_server, server_limits};
pub(crate) use service::without_dictionaries;
pub use service::{Claim, Part, Pass, Rest, SinkResolver, StageService, Staged};

/// Largest message a Flight server takes.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
