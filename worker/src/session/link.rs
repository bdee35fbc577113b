//! One stream to one coordinator: the handshake, what waits to be sent, and which heartbeats were answered.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};
use windrow_proto::{
    MAX_MESSAGE_BYTES,
    v1::{
        self, SessionRequest, SessionResponse, session_request::Message, session_response::Message as Heard,
        session_service_client::SessionServiceClient,
    },
};

/// Messages between the session and the transport; more of them wait in the link.
const TRANSPORT_QUEUE: usize = 16;
/// Unanswered heartbeats after which a stream is given up as dead.
const MAX_UNANSWERED: usize = 3;

/// Why a stream ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It broke, or never came about.
    Lost(String),
    /// The coordinator does not lead; the leader's address if it is known.
    NotLeader(Option<String>),
    /// The worker has stopped.
    Stopped,
}

pub(super) struct Link {
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

/// What the coordinator says.
pub(super) struct Incoming(Streaming<SessionResponse>);

/// What is said to it.
pub(super) struct Outgoing {
    transport: mpsc::Sender<SessionRequest>,
    /// Not yet taken by the transport. Bounded by what is under way: an outcome per claim, an answer per question, and
    /// [`MAX_UNANSWERED`] heartbeats.
    waiting: VecDeque<Message>,
    /// Numbers of heartbeats and when they were sent, on the monotonic clock.
    unanswered: VecDeque<(u64, Duration)>,
    beats: u64,
}

/// Speaks first, and waits for the coordinator's welcome.
pub(super) async fn greet(channel: Channel, hello: v1::Hello) -> Result<(Link, v1::Welcome), Ended> {
    let (outgoing, requests) = mpsc::channel(TRANSPORT_QUEUE);
    let hello = SessionRequest { message: Some(Message::Hello(hello)) };
    outgoing.send(hello).await.map_err(|_| Ended::Lost("the stream closed at once".to_owned()))?;
    let mut client = SessionServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = client.session(ReceiverStream::new(requests)).await.map_err(|status| lost(&status))?.into_inner();
    let mut incoming = Incoming(incoming);
    match incoming.hear().await? {
        Heard::Welcome(welcome) => Ok((Link { incoming, outgoing: Outgoing::new(outgoing) }, welcome)),
        Heard::NotLeader(hint) => Err(not_leader(hint)),
        _ => Err(Ended::Lost("the coordinator did not begin with a welcome".to_owned())),
    }
}

impl Incoming {
    /// The next message that makes sense. Dropping the future loses nothing.
    pub(super) async fn hear(&mut self) -> Result<Heard, Ended> {
        loop {
            match self.0.message().await {
                Ok(Some(SessionResponse { message: Some(message) })) => return Ok(message),
                // A kind of message of a newer coordinator.
                Ok(Some(SessionResponse { message: None })) => {}
                Ok(None) => return Err(Ended::Lost("the coordinator closed the stream".to_owned())),
                Err(status) => return Err(lost(&status)),
            }
        }
    }
}

impl Outgoing {
    fn new(transport: mpsc::Sender<SessionRequest>) -> Self {
        Self { transport, waiting: VecDeque::new(), unanswered: VecDeque::new(), beats: 0 }
    }

    pub(super) fn push(&mut self, message: Message) {
        self.waiting.push_back(message);
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A place in the transport; pending for ever while nothing waits.
    pub(super) async fn ready(&self) -> Result<mpsc::OwnedPermit<SessionRequest>, Ended> {
        if self.waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        self.transport.clone().reserve_owned().await.map_err(|_| Ended::Lost("the stream closed".to_owned()))
    }

    pub(super) fn send(&mut self, permit: mpsc::OwnedPermit<SessionRequest>) {
        if let Some(message) = self.waiting.pop_front() {
            permit.send(SessionRequest { message: Some(message) });
        }
    }

    /// The number of a heartbeat sent at `now`, or the end of a stream that answers none.
    pub(super) fn beat(&mut self, now: Duration) -> Result<u64, Ended> {
        if self.unanswered.len() >= MAX_UNANSWERED {
            return Err(Ended::Lost(format!("{MAX_UNANSWERED} heartbeats were not answered")));
        }
        self.beats += 1;
        self.unanswered.push_back((self.beats, now));
        Ok(self.beats)
    }

    /// When the answered heartbeat was sent; `None` for a number that is not open.
    pub(super) fn answered(&mut self, number: u64) -> Option<Duration> {
        let sent = self.unanswered.iter().find(|beat| beat.0 == number)?.1;
        self.unanswered.retain(|beat| beat.0 > number);
        Some(sent)
    }
}

impl Link {
    /// Says goodbye after everything that waits, and hears the coordinator out, for `patience` at most.
    pub(super) async fn close(mut self, patience: Duration) {
        self.outgoing.push(Message::Goodbye(v1::Goodbye {}));
        let heard_out = async {
            while self.outgoing.has_waiting() {
                let permit = self.outgoing.ready().await?;
                self.outgoing.send(permit);
            }
            drop(self.outgoing);
            loop {
                self.incoming.hear().await?;
            }
        };
        // Nothing depends on it: without a goodbye the lease runs out.
        let _ = tokio::time::timeout::<_>(patience, heard_out).await.map(|ended: Result<(), Ended>| ended);
    }
}

pub(super) fn not_leader(hint: v1::NotLeader) -> Ended {
    Ended::NotLeader(windrow_proto::convert::optional_text(hint.leader))
}

fn lost(status: &tonic::Status) -> Ended {
    Ended::Lost(format!("{}: {}", windrow_proto::status::remote_error(status).code, status.message()))
}
