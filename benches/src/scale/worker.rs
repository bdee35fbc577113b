//! One worker: a session with heartbeats, claims, seals and, for some, commits, as the protocol has them. What it does not
//! have is rows.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};
use windrow_common::id::TaskId;
use windrow_proto::{
    v1::{
        self, SessionRequest, SessionResponse, session_request::Message as Out, session_response::Message as In,
        session_service_client::SessionServiceClient,
    },
    version::Spoken,
};

use super::{COMMIT, site::PATIENCE, tally::Tally};

/// Messages between the worker and the transport, as real workers have them.
const TRANSPORT_QUEUE: usize = 16;

/// How fast workers work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// They keep their tasks.
    Hold,
    /// A task takes from half to one and a half of this.
    Work(Duration),
    /// A task takes no time.
    AtOnce,
    /// They keep their tasks, and say the next heartbeat when the one before was answered.
    Speak,
}

/// A worker that goes drops its task unsaid.
impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(claim) = &self.claim {
            self.tally.let_go(&claim.task);
        }
    }
}

/// How one introduces itself.
pub(super) struct Greeting {
    pub(super) number: usize,
    /// Where it is among those that begin together, from 0 to 1.
    pub(super) share: f64,
    /// Whether it commits, too.
    pub(super) stages: bool,
}

/// A worker that was welcomed.
pub(super) struct Worker {
    incoming: Streaming<SessionResponse>,
    outgoing: mpsc::Sender<SessionRequest>,
    tally: Arc<Tally>,
    pace: watch::Receiver<Pace>,
    beat_each: Duration,
    next_beat: Instant,
    beats: u64,
    /// The heartbeat that is not answered yet.
    unanswered: Option<(u64, Instant)>,
    claim: Option<Claim>,
    /// What it says as a committer, and when it has done that. At most two a sink.
    committing: VecDeque<(Instant, Out)>,
    /// Since when its slot is free.
    free: Instant,
    requests: u64,
}

struct Claim {
    task: TaskId,
    held: v1::HeldClaim,
    /// When the task is done, if it ever is.
    done: Option<Instant>,
}

impl Worker {
    /// Says hello and waits for the welcome.
    pub(super) async fn greet(
        channel: Channel,
        greeting: Greeting,
        tally: Arc<Tally>,
        pace: watch::Receiver<Pace>,
    ) -> Result<Self> {
        let (outgoing, requests) = mpsc::channel(TRANSPORT_QUEUE);
        let free = Instant::now();
        outgoing.send(SessionRequest { message: Some(Out::Hello(hello(&greeting))) }).await?;
        let session = async {
            let answers = SessionServiceClient::new(channel).session(ReceiverStream::new(requests)).await?;
            let mut incoming = answers.into_inner();
            let first = incoming.message().await?;
            anyhow::Ok((incoming, first))
        };
        let (incoming, first) = timeout(PATIENCE, session).await.context("no welcome")??;
        let Some(In::Welcome(welcome)) = first.and_then(|first| first.message) else {
            bail!("a session did not begin with a welcome")
        };
        let beat_each = Duration::from_millis(welcome.heartbeat_ms.into());
        // Real workers do not all start at the same moment.
        let next_beat = Instant::now() + beat_each.mul_f64(greeting.share);
        let (beats, unanswered, claim, committing, requests) = (0, None, None, VecDeque::new(), 0);
        Ok(Self {
            incoming,
            outgoing,
            tally,
            pace,
            beat_each,
            next_beat,
            beats,
            unanswered,
            claim,
            committing,
            free,
            requests,
        })
    }

    /// Goes on until the session ends; why it did is told.
    pub(super) async fn run(mut self) {
        let tally = self.tally.clone();
        if let Err(error) = self.talk().await {
            tally.lost(format!("{error:#}"));
        }
    }

    async fn talk(&mut self) -> Result<()> {
        loop {
            let wake = self.wake();
            tokio::select! {
                heard = self.incoming.message() => {
                    let heard = heard?.context("the coordinator closed a session")?;
                    self.hear(heard.message.context("an empty message")?).await?;
                }
                changed = self.pace.changed() => match changed {
                    Ok(()) => self.change_pace().await?,
                    Err(_) => return Ok(()),
                },
                () = sleep_until(wake) => self.due().await?,
            }
        }
    }

    fn wake(&self) -> Instant {
        let done = self.claim.as_ref().and_then(|claim| claim.done);
        let answer = self.committing.front().map(|(at, _)| *at);
        [done, answer].into_iter().flatten().fold(self.next_beat, Instant::min)
    }

    async fn hear(&mut self, message: In) -> Result<()> {
        match message {
            In::Assign(assign) => self.take(assign),
            In::Heartbeat(reply) => {
                let (_, said) =
                    self.unanswered.take_if(|beat| beat.0 == reply.number).context("an answer to nothing")?;
                self.tally.beat(said.elapsed());
                let pace = *self.pace.borrow();
                match pace == Pace::Speak {
                    true => self.beat().await,
                    false => Ok(()),
                }
            }
            In::Seal(reply) => {
                ensure!(reply.accepted, "a seal was refused");
                self.tally.sealed();
                Ok(())
            }
            In::Prepare(prepare) => {
                let digest = prepare.seq.to_be_bytes().repeat(4);
                let draft = v1::IntentDraft {
                    path: format!("_windrow/intents/{:020}.json", prepare.seq),
                    digest,
                    shows: None,
                    files: Vec::new(),
                };
                let outcome = Some(v1::prepared::Outcome::Draft(draft));
                let prepared = v1::Prepared { request: prepare.request, sink: prepare.sink, outcome };
                self.later(Out::Prepared(prepared));
                Ok(())
            }
            In::Commit(commit) => {
                let settled = v1::Settled {
                    request: commit.request,
                    sink: commit.sink,
                    seq: commit.seq,
                    settlement: v1::Settlement::Committed.into(),
                    version: commit.seq,
                    ..v1::Settled::default()
                };
                self.later(Out::Settled(settled));
                Ok(())
            }
            other => bail!("the coordinator said {other:?}"),
        }
    }

    fn take(&mut self, assign: v1::Assign) -> Result<()> {
        ensure!(self.claim.is_none(), "a second task for one slot");
        let task = TaskId::from_bytes(assign.task.as_slice().try_into()?);
        self.tally.claimed(task, self.free.elapsed());
        let held = v1::HeldClaim { task: assign.task, token: assign.token };
        let done = match *self.pace.borrow() {
            Pace::Hold | Pace::Speak => None,
            Pace::Work(mean) => Some(Instant::now() + mean.mul_f64(0.5 + fraction(&task))),
            Pace::AtOnce => Some(Instant::now()),
        };
        self.claim = Some(Claim { task, held, done });
        Ok(())
    }

    /// Tasks that were held are anywhere in their time when work begins.
    async fn change_pace(&mut self) -> Result<()> {
        let pace = *self.pace.borrow_and_update();
        if let Some(claim) = &mut self.claim {
            claim.done = match pace {
                Pace::Hold | Pace::Speak => None,
                Pace::Work(mean) => Some(Instant::now() + mean.mul_f64(fraction(&claim.task))),
                Pace::AtOnce => Some(Instant::now()),
            };
        }
        match pace == Pace::Speak && self.unanswered.is_none() {
            true => self.beat().await,
            false => Ok(()),
        }
    }

    async fn due(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.claim.as_ref().is_some_and(|claim| claim.done.is_some_and(|done| done <= now)) {
            self.seal().await?;
        }
        while self.committing.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, answer)) = self.committing.pop_front() else { break };
            self.say(answer).await?;
        }
        if self.next_beat <= now {
            self.next_beat += self.beat_each;
            // One at a time: a coordinator that is behind is not buried, and what it does not answer is not counted.
            if self.unanswered.is_none() {
                self.beat().await?;
            }
        }
        Ok(())
    }

    /// From here on the slot is free.
    async fn seal(&mut self) -> Result<()> {
        let Some(claim) = self.claim.take() else { return Ok(()) };
        self.requests += 1;
        self.tally.let_go(&claim.task);
        let counts = v1::Counts {
            rows_read: 1_000,
            rows_written: 1_000,
            bytes_written: 40_000,
            files: 1,
            ..v1::Counts::default()
        };
        let manifest = v1::ManifestRef {
            path: format!("_windrow/manifests/{}.json", claim.task.to_string().repeat(2)),
            sha256: claim.task.as_bytes().repeat(2),
            counts: Some(counts),
            proof: Vec::new(),
            window_proofs: Vec::new(),
        };
        let v1::HeldClaim { task, token } = claim.held;
        self.free = Instant::now();
        let seal = v1::Seal { request: self.requests, task, token, manifest: Some(manifest), trace: String::new() };
        self.say(Out::Seal(seal)).await
    }

    async fn beat(&mut self) -> Result<()> {
        self.beats += 1;
        self.unanswered = Some((self.beats, Instant::now()));
        let progress = |claim: &Claim| v1::Progress {
            task: claim.held.task.clone(),
            rows_read: self.beats,
            rows_written: self.beats,
            bytes_written: self.beats,
            trace: String::new(),
        };
        let beat = v1::Heartbeat {
            number: self.beats,
            free_slots: u32::from(self.claim.is_none()),
            held: self.claim.iter().map(|claim| claim.held.clone()).collect(),
            progress: self.claim.iter().map(progress).collect(),
            draining: false,
        };
        self.say(Out::Heartbeat(beat)).await
    }

    fn later(&mut self, answer: Out) {
        self.committing.push_back((Instant::now() + COMMIT / 2, answer));
    }

    async fn say(&self, message: Out) -> Result<()> {
        Ok(self.outgoing.send(SessionRequest { message: Some(message) }).await?)
    }
}

fn hello(greeting: &Greeting) -> v1::Hello {
    let spoken = Spoken::here();
    let (ingest, sink) = (v1::Role::Ingest.into(), v1::Role::Sink.into());
    v1::Hello {
        worker: format!("scale-{}-00000000-0000-7000-8000-000000000000", greeting.number),
        protocol: spoken.newest,
        oldest_protocol: spoken.oldest,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        roles: if greeting.stages { vec![ingest, sink] } else { vec![ingest] },
        slots: 1,
        // Nobody goes there, for no rows are moved.
        flight_endpoint: if greeting.stages { "http://127.0.0.1:1".to_owned() } else { String::new() },
        held: Vec::new(),
    }
}

/// From 0 to 1, the same for the same task.
fn fraction(task: &TaskId) -> f64 {
    let bytes = task.as_bytes();
    f64::from(u16::from_be_bytes([bytes[14], bytes[15]])) / f64::from(u16::MAX)
}
