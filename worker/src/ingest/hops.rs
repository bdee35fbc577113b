//! Which way rows take to the worker that stages them: by hand within this process, else over a connection that is
//! opened once per peer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tonic::transport::{ClientTlsConfig, Endpoint};
use windrow_common::error;

use crate::{
    error::{Result, WorkerError},
    flight::{FlightHop, Hop, StageService, endpoint_limits},
    network::{Network, connector},
};

/// Most peers a connection is kept to.
const MOST_PEERS: usize = 64;

/// The ways to sink workers.
pub struct Hops {
    /// Present if this worker has the sink role.
    local: Option<Arc<StageService>>,
    /// Where others reach that.
    own_endpoint: Option<String>,
    tls: Option<ClientTlsConfig>,
    /// TCP if `None`.
    network: Option<Arc<dyn Network>>,
    peers: Mutex<BTreeMap<String, FlightHop>>,
}

impl Hops {
    pub fn new(local: Option<Arc<StageService>>, own_endpoint: Option<String>, tls: Option<ClientTlsConfig>) -> Self {
        Self { local, own_endpoint, tls, network: None, peers: Mutex::default() }
    }

    /// The same over a network of the caller's own.
    pub fn over(mut self, network: Option<Arc<dyn Network>>) -> Self {
        self.network = network;
        self
    }

    /// The way to the Flight service at `endpoint`, or to this very worker if that is `None`.
    pub fn to(&self, endpoint: Option<&str>) -> Result<Hop> {
        match endpoint {
            Some(endpoint) if self.own_endpoint.as_deref() != Some(endpoint) => self.remote(endpoint).map(Hop::Remote),
            _ => self.local.clone().map(Hop::Local).ok_or_else(|| {
                WorkerError::later(
                    error::FLIGHT_BROKEN,
                    "rows were to be staged here, but this worker has no sink role",
                )
            }),
        }
    }

    fn remote(&self, endpoint: &str) -> Result<FlightHop> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hop) = peers.get(endpoint) {
            return Ok(hop.clone());
        }
        let hop = FlightHop::new(self.channel(endpoint)?);
        if peers.len() >= MOST_PEERS {
            // Streams under way keep their connection; only the next one connects anew.
            peers.pop_first();
        }
        peers.insert(endpoint.to_owned(), hop.clone());
        Ok(hop)
    }

    /// Connects at the first use and again whenever the connection broke.
    fn channel(&self, address: &str) -> Result<tonic::transport::Channel> {
        let broken = |cause: tonic::transport::Error| {
            WorkerError::later(error::FLIGHT_BROKEN, "the sink worker's address is not usable")
                .at(address)
                .because(cause)
        };
        let mut endpoint = endpoint_limits(Endpoint::from_shared(address.to_owned()).map_err(broken)?);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(broken)?;
        }
        Ok(match &self.network {
            None => endpoint.connect_lazy(),
            Some(network) => endpoint.connect_with_connector_lazy(connector(network.clone())),
        })
    }
}
