//! A network of the caller's own between workers and to the coordinators, in place of TCP. Knows no messages.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::{
    codegen::Service,
    transport::{Uri, server::Connected},
};

/// How a worker is reached and reaches others.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Opens a connection to the host and port of an address.
    async fn connect(&self, address: Uri) -> io::Result<Connection>;

    /// The connections that come in at an address, and the address others reach it by.
    async fn listen(&self, at: SocketAddr) -> io::Result<(SocketAddr, Incoming)>;
}

pub type Incoming = BoxStream<'static, io::Result<Connection>>;

/// What a connection reads from and writes to.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Bytes for T {}

/// An open connection.
pub struct Connection(Box<dyn Bytes>);

impl Connection {
    pub fn new(bytes: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(bytes))
    }
}

/// What a gRPC channel connects by.
pub(crate) fn connector(
    network: Arc<dyn Network>,
) -> impl Service<Uri, Response = TokioIo<Connection>, Error = io::Error, Future = impl Send> + Send + 'static {
    tower::service_fn(move |address| {
        let network = network.clone();
        async move { network.connect(address).await.map(TokioIo::new) }
    })
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
