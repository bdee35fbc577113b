//! The wire: services and records of `windrow/v1/*.proto`, and how they turn into the words of `windrow-common`.
//!
//! It may depend on `windrow-common` alone.

/// Generated from `windrow/v1/*.proto`.
#[allow(clippy::all, unreachable_pub, missing_docs)]
pub mod v1 {
    tonic::include_proto!("windrow.v1");

    /// The descriptors of all services, for reflection.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptor");
}

pub mod codec;
pub mod convert;
pub mod local;
pub mod record;
pub mod status;
pub mod version;

/// Most bytes of a message between coordinator, worker and client.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
