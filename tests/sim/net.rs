//! gRPC over the simulated network.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use turmoil::net::{TcpListener, TcpStream};
use windrow_worker::network::{Connection, Incoming, Network};

/// The simulated network, as workers use it.
pub(crate) struct Simulated {
    pub(crate) host: String,
}

#[async_trait::async_trait]
impl Network for Simulated {
    async fn connect(&self, address: Uri) -> io::Result<Connection> {
        open(address).await.map(Connection::new)
    }

    async fn listen(&self, at: SocketAddr) -> io::Result<(SocketAddr, Incoming)> {
        let incoming = listen(at.port()).await?;
        Ok((SocketAddr::new(turmoil::lookup(self.host.as_str()), at.port()), incoming))
    }
}

/// Opens a connection to the host and port of an address.
pub(crate) async fn open(address: Uri) -> io::Result<TcpStream> {
    let host = address.host().unwrap_or_default().to_owned();
    let port = address.port_u16().unwrap_or_default();
    TcpStream::connect((host, port)).await
}

/// A channel to etcd: it connects when it is first used and again when its connection broke. The limits are those the
/// coordinator connects with.
pub(crate) fn etcd_channel() -> Channel {
    let connector = tower::service_fn(|address: Uri| async { open(address).await.map(TokioIo::new) });
    Endpoint::from_static("http://etcd:2379")
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(6))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(false)
        .connect_with_connector_lazy(connector)
}

/// A channel to a coordinator, for users.
pub(crate) fn admin_channel(address: &'static str) -> Channel {
    let connector = tower::service_fn(|address: Uri| async { open(address).await.map(TokioIo::new) });
    Endpoint::from_static(address)
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

/// The connections that come in on a port of this host.
pub(crate) async fn listen(port: u16) -> io::Result<Incoming> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Connection::new(stream));
        Some((accepted, listener))
    });
    Ok(incoming.boxed())
}
