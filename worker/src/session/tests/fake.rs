//! A coordinator for tests: it speaks the real protocol through a pipe in memory and says what the test tells it to.

use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};
use tower::service_fn;
use windrow_common::{claim::Token, id::TaskId, window::Window};
use windrow_proto::v1::{
    self, SessionRequest, SessionResponse,
    session_request::Message,
    session_response::Message as Heard,
    session_service_server::{SessionService, SessionServiceServer},
};

use crate::session::Dialer;

pub(crate) const LEASE_MS: u32 = 30_000;
pub(crate) const HEARTBEAT_MS: u32 = 5_000;

/// Coordinators that can be dialled; every stream that is opened is handed to the test.
pub(crate) struct Fake {
    streams: mpsc::Receiver<Peer>,
}

/// The coordinator's end of one stream.
pub(crate) struct Peer {
    heard: Streaming<SessionRequest>,
    say: mpsc::Sender<Result<SessionResponse, Status>>,
}

struct Service(mpsc::Sender<Peer>);

impl Fake {
    pub(crate) fn start() -> (Self, Dialer) {
        let (peers, streams) = mpsc::channel(8);
        let (pipes, incoming) = mpsc::channel::<Result<DuplexStream, std::io::Error>>(8);
        let server = Server::builder().add_service(SessionServiceServer::new(Service(peers)));
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        let dialer = Dialer::in_process(move || {
            let pipes = pipes.clone();
            Box::pin(async move {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                pipes.send(Ok(theirs)).await?;
                let ours = Arc::new(Mutex::new(Some(ours)));
                let connector = service_fn(move |_| {
                    let pipe = ours.lock().unwrap_or_else(PoisonError::into_inner).take();
                    async move { pipe.map(TokioIo::new).ok_or_else(|| std::io::Error::other("used")) }
                });
                Ok(Endpoint::from_static("http://in-process").connect_with_connector(connector).await?)
            })
        });
        (Self { streams }, dialer)
    }

    /// The next stream a worker opens, with its hello.
    pub(crate) async fn next(&mut self) -> (Peer, v1::Hello) {
        let mut peer = self.streams.recv().await.unwrap();
        match peer.hear().await {
            Some(Message::Hello(hello)) => (peer, hello),
            other => panic!("the worker begins with {other:?}"),
        }
    }

    /// The next stream, welcomed.
    pub(crate) async fn welcomed(&mut self) -> (Peer, v1::Hello) {
        let (peer, hello) = self.next().await;
        peer.welcome(Vec::new()).await;
        (peer, hello)
    }
}

impl Peer {
    pub(crate) async fn welcome(&self, ticket_keys: Vec<v1::TicketKey>) {
        self.welcome_in(1, ticket_keys).await;
    }

    /// The same in a version of the protocol.
    pub(crate) async fn welcome_in(&self, protocol: u32, ticket_keys: Vec<v1::TicketKey>) {
        let welcome = v1::Welcome {
            epoch: 1,
            lease_ms: LEASE_MS,
            heartbeat_ms: HEARTBEAT_MS,
            ticket_keys,
            protocol,
            now_unix_ms: 0,
        };
        self.say(Heard::Welcome(welcome)).await;
    }

    pub(crate) async fn say(&self, message: Heard) {
        let _ = self.say.send(Ok(SessionResponse { message: Some(message) })).await;
    }

    /// Whatever the worker says next; `None` when it ends the stream.
    pub(crate) async fn hear(&mut self) -> Option<Message> {
        self.heard.message().await.ok().flatten().and_then(|request| request.message)
    }

    /// What the worker says next beside heartbeats, which are answered meanwhile.
    pub(crate) async fn hear_news(&mut self) -> Option<Message> {
        loop {
            match self.hear().await? {
                Message::Heartbeat(beat) => self.answer(&beat).await,
                other => return Some(other),
            }
        }
    }

    pub(crate) async fn hear_heartbeat(&mut self) -> v1::Heartbeat {
        loop {
            if let Message::Heartbeat(beat) = self.hear().await.unwrap() {
                return beat;
            }
        }
    }

    pub(crate) async fn answer(&self, beat: &v1::Heartbeat) {
        self.say(Heard::Heartbeat(v1::HeartbeatReply { number: beat.number, lease_ms: LEASE_MS })).await;
    }
}

#[tonic::async_trait]
impl SessionService for Service {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, said) = mpsc::channel(64);
        let peer = Peer { heard: request.into_inner(), say };
        self.0.send(peer).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(said)))
    }
}

pub(crate) fn task(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

pub(crate) fn token(revision: i64) -> Token {
    Token { epoch: 1, revision }
}

/// A claim on `task(number)` over window `[0, 10)` with the token `revision`.
pub(crate) fn assign(number: u8, revision: i64) -> v1::Assign {
    v1::Assign {
        task: task(number).as_bytes().to_vec(),
        token: Some(token(revision).into()),
        attempt: 1,
        pipeline: b"{}".to_vec(),
        window: Window::new(windrow_common::window::Axis::Time, 0, 10).ok().map(Into::into),
        windows: 1,
        ..v1::Assign::default()
    }
}
