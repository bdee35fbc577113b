//! placeholder
pub struct EtcdOptions;
pub struct EtcdStore;
