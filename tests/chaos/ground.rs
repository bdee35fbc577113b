//! What all cells stand on: three etcd members, a network that can be cut where that is allowed, and the oracle's Python.

use std::path::PathBuf;

use windrow_tests::{etcd::Etcd, network::Network, reader, skip::skip};

pub(crate) struct Ground {
    pub(crate) etcd: Etcd,
    /// Absent where network namespaces cannot be had; cells that cut are skipped then.
    pub(crate) network: Option<Network>,
    pub(crate) python: PathBuf,
}

impl Ground {
    /// `None` after saying what is missing.
    pub(crate) async fn prepare(test: &str) -> Option<Self> {
        let python = match reader::python() {
            Ok(python) => python,
            Err(reason) => {
                skip(test, &reason);
                return None;
            }
        };
        let network = Network::create().map_err(|reason| println!("{test}: {reason}")).ok();
        let host = network.as_ref().map_or("127.0.0.1".to_owned(), Network::address);
        let Some(etcd) = Etcd::start_on(&host, 3, &[]).await.unwrap() else {
            skip(test, "there is no etcd");
            return None;
        };
        Some(Self { etcd, network, python })
    }

    /// The address at which processes outside of namespaces are reached by those inside.
    pub(crate) fn host(&self) -> String {
        self.network.as_ref().map_or("127.0.0.1".to_owned(), Network::address)
    }
}
