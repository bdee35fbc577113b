//! The test harness: real processes around windrow, and what tests share.

pub mod api;
pub mod cluster;
pub mod declared;
pub mod etcd;
pub mod example;
pub mod fault;
pub mod http;
pub mod jaeger;
pub mod network;
pub mod oracle;
pub mod otlp;
pub mod peer;
pub mod postgres;
pub mod process;
pub mod proof;
pub mod reader;
pub mod s3;
pub mod schema;
pub mod skip;
