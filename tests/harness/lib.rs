//! The test harness: real processes around windrow, and what tests share.

pub mod etcd;
pub mod skip;
