//! gRPC without a network: the same services and clients over pipes inside one process.

use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Bytes a pipe holds in each direction.
const PIPE_BYTES: usize = 1 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 16;

/// Makes connections to the [`incoming`](local) end.
#[derive(Clone, Debug)]
pub struct LocalDoor {
    connections: mpsc::Sender<DuplexStream>,
}

/// A door for clients, and the connections a server accepts through it.
pub fn local() -> (LocalDoor, ReceiverStream<DuplexStream>) {
    let (connections, incoming) = mpsc::channel(BACKLOG);
    (LocalDoor { connections }, ReceiverStream::new(incoming))
}

impl LocalDoor {
    /// A channel that connects when it is first used, and again when its connection has broken.
    pub fn channel(&self) -> Channel {
        let connections = self.connections.clone();
        let connect = service_fn(move |_: Uri| {
            let connections = connections.clone();
            async move {
                let (client, server) = tokio::io::duplex(PIPE_BYTES);
                match connections.send(server).await {
                    Ok(()) => Ok(TokioIo::new(client)),
                    Err(_) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
                }
            }
        });
        Endpoint::from_static("http://in-process").connect_with_connector_lazy(connect)
    }
}
