//! What coordinator and worker both speak of. It does no I/O (the failpoints of tests do), knows no wire format, and may not depend on any other
//! crate of windrow, nor on tonic, etcd, arrow or object_store.

pub mod claim;
pub mod clock;
pub mod closed;
pub mod compaction;
pub mod count;
pub mod deletes;
pub mod error;
pub mod failpoint;
pub mod gather;
pub mod guard;
pub mod id;
pub mod intent;
pub mod invariant;
pub mod look;
pub mod manifest;
pub mod marker;
pub mod pin;
pub mod pipeline;
pub mod quantity;
pub mod readiness;
pub mod schema;
pub mod shutdown;
pub mod task;
pub mod ticket;
pub mod upsert;
pub mod window;
