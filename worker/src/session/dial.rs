//! How a coordinator is reached: one of several addresses over TCP, or a pipe within the process.

use std::{error::Error, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::network::{Network, connector};

/// Why no channel came about.
pub type DialError = Box<dyn Error + Send + Sync>;

type Connect = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Channel, DialError>> + Send + Sync>;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it lives, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Opens channels to coordinators, one address after the other.
#[derive(Clone)]
pub struct Dialer {
    addresses: Vec<String>,
    connect: Connect,
    /// Which address is next.
    turn: usize,
}

impl Dialer {
    /// Coordinators at `addresses` (`http://host:port`), tried in turn.
    pub fn tcp(addresses: Vec<String>, tls: Option<ClientTlsConfig>) -> Self {
        let connect: Connect = Arc::new(move |address| Box::pin(connect_tcp(address, tls.clone())));
        Self { addresses, connect, turn: 0 }
    }

    /// Coordinators at `addresses` over a network of the caller's own, with the same limits as over TCP.
    pub fn over(addresses: Vec<String>, network: Arc<dyn Network>) -> Self {
        let connect: Connect = Arc::new(move |address| {
            let connector = connector(network.clone());
            Box::pin(async move { Ok(endpoint(address)?.connect_with_connector(connector).await?) })
        });
        Self { addresses, connect, turn: 0 }
    }

    /// A coordinator that needs no address, such as one in the same process.
    pub fn in_process<F>(connect: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Result<Channel, DialError>> + Send + Sync + 'static,
    {
        Self { addresses: vec!["in-process".to_owned()], connect: Arc::new(move |_| connect()), turn: 0 }
    }

    /// A channel to `leader` if that is known, else to the next address.
    pub(crate) async fn dial(&mut self, leader: Option<String>) -> Result<Channel, DialError> {
        let address = match leader {
            Some(leader) => leader,
            None => self.next().ok_or("no coordinator is configured")?,
        };
        (self.connect)(address).await
    }

    fn next(&mut self) -> Option<String> {
        let address = self.addresses.get(self.turn % self.addresses.len().max(1)).cloned();
        self.turn = self.turn.wrapping_add(1);
        address
    }
}

fn endpoint(address: String) -> Result<Endpoint, DialError> {
    Ok(Endpoint::from_shared(address)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

async fn connect_tcp(address: String, tls: Option<ClientTlsConfig>) -> Result<Channel, DialError> {
    let mut endpoint = endpoint(address)?;
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint.connect().await?)
}

#[cfg(test)]
impl Dialer {
    /// Writes down whom it is asked for and reaches nobody.
    pub(super) fn recording(addresses: Vec<String>, dialled: Arc<std::sync::Mutex<Vec<String>>>) -> Self {
        let connect: Connect = Arc::new(move |address| {
            dialled.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(address);
            Box::pin(async { Err("nobody is there".into()) })
        });
        Self { addresses, connect, turn: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_turns() {
        let mut dialer = Dialer::tcp(vec!["a".to_owned(), "b".to_owned()], None);
        let order: Vec<_> = (0..3).filter_map(|_| dialer.next()).collect();
        assert_eq!(order, ["a", "b", "a"]);
        assert_eq!(Dialer::tcp(Vec::new(), None).next(), None);
    }
}
