//! The session: the only client of the coordinator. Claims and questions come in as [`Order`]s, results and answers go
//! out by [`Reports`]; heartbeats keep the claims alive. When the stream breaks, attempts go on and what they have to
//! say is said on the next one. It may not know sources, sinks, staging or Flight.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use windrow_common::{
    clock::Clock,
    error,
    id::WorkerId,
    task::{Failure, Retry},
};
use windrow_proto::{
    v1::{self, session_request::Message, session_response::Message as Heard},
    version::Spoken,
};

mod claims;
mod dial;
mod leader_time;
mod link;
mod order;
mod report;
#[cfg(test)]
pub(crate) mod tests;

pub use claims::{ClaimGuard, Ended, Progress};
pub use dial::{DialError, Dialer};
pub use leader_time::LeaderTime;
pub use order::{Assignment, Order, Published};
pub use report::{Answer, Answerer, OUTAGE_GRACE, Reports};

use claims::{Claims, Taken};
use link::{Ended as LinkEnded, Link, Outgoing};
use report::{Outcome, Report, Said};

/// How this worker introduces itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Unique per start of the process.
    pub id: WorkerId,
    pub roles: Vec<Role>,
    /// Most tasks at a time.
    pub slots: u32,
    /// Where other workers reach its Flight service.
    pub flight_endpoint: Option<String>,
}

/// What a worker may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads sources.
    Ingest,
    /// Rewrites small files.
    Compact,
    /// Stages files, holds the sinks' credentials and commits.
    Sink,
}

/// The two ends of a session beside the session itself.
pub struct Ends {
    pub orders: mpsc::Receiver<Order>,
    pub reports: Reports,
    /// The keys tickets are signed with, as the newest welcome gave them.
    pub ticket_keys: watch::Receiver<Vec<v1::TicketKey>>,
}

/// Orders handed over but not begun.
const ORDER_QUEUE: usize = 256;
/// Longest pause between two attempts to reach a coordinator.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often a stopping worker looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(100);
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(5);

/// A worker's side of the protocol, ready to run.
pub struct Session {
    identity: Identity,
    dialer: Dialer,
    clock: Arc<dyn Clock>,
    claims: Claims,
    /// Results no coordinator has answered yet, by request.
    unanswered: BTreeMap<u64, (Box<Outcome>, oneshot::Sender<Said>)>,
    requests: u64,
    /// The version of the protocol that was agreed on last.
    protocol: u32,
    /// Counts the streams, so that no answer goes to another stream than its question came by.
    streams: u64,
    /// One more owner per question that is not answered yet.
    questions: Arc<()>,
    reports: Reports,
    inbox: mpsc::Receiver<Report>,
    orders: mpsc::Sender<Order>,
    ticket_keys: watch::Sender<Vec<v1::TicketKey>>,
    leader_time: Arc<LeaderTime>,
}

/// Builds a session; nothing is connected before [`Session::run`].
pub fn open(identity: Identity, dialer: Dialer, clock: Arc<dyn Clock>) -> (Session, Ends) {
    let leader_time = LeaderTime::new(clock.clone());
    open_telling(leader_time, identity, dialer, clock)
}

/// The same, telling `leader_time` what time it is at the leader.
pub fn open_telling(
    leader_time: Arc<LeaderTime>,
    identity: Identity,
    dialer: Dialer,
    clock: Arc<dyn Clock>,
) -> (Session, Ends) {
    let (reports, inbox) = Reports::new();
    let (orders, orders_out) = mpsc::channel(ORDER_QUEUE);
    let (ticket_keys, keys_out) = watch::channel(Vec::new());
    let session = Session {
        identity,
        dialer,
        claims: Claims::new(clock.clone()),
        clock,
        unanswered: BTreeMap::new(),
        requests: 0,
        protocol: 1,
        streams: 0,
        questions: Arc::default(),
        reports: reports.clone(),
        inbox,
        orders,
        ticket_keys,
        leader_time,
    };
    (session, Ends { orders: orders_out, reports, ticket_keys: keys_out })
}

impl Session {
    /// Keeps a session open until `stop`; then takes no more work, lets what runs finish for `drain`, hands the rest
    /// back and says goodbye.
    pub async fn run(mut self, stop: CancellationToken, drain: Duration) {
        let claims = self.claims.clone();
        tokio::select! {
            () = self.stay_connected(&stop, drain) => {}
            () = async { stop.cancelled().await; tokio::time::sleep(drain + GOODBYE * 2).await } => {}
        }
        claims.revoke_all();
    }

    async fn stay_connected(&mut self, stop: &CancellationToken, drain: Duration) {
        let (mut leader, mut failures) = (None, 0);
        while !(stop.is_cancelled() && self.claims.count() == 0) {
            let streams = self.streams;
            match self.one_stream(leader.take(), stop, drain).await {
                LinkEnded::Stopped => return,
                LinkEnded::NotLeader(hint) => leader = hint,
                LinkEnded::Lost(reason) => tracing::warn!(reason, "no session with a coordinator"),
            }
            failures = if self.streams > streams { 0 } else { failures + 1 };
            self.pause(failures, stop).await;
        }
    }

    /// Full jitter, so that the workers of a lost leader do not come back all at once.
    async fn pause(&self, failures: u32, stop: &CancellationToken) {
        let most = Duration::from_millis(500).saturating_mul(1 << failures.min(4)).min(MAX_PAUSE);
        let pause = most.mul_f64(rand::random::<f64>());
        match stop.is_cancelled() {
            true => tokio::time::sleep(pause.min(DRAIN_LOOK)).await,
            false => {
                let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        }
    }

    async fn one_stream(&mut self, leader: Option<String>, stop: &CancellationToken, drain: Duration) -> LinkEnded {
        let said = self.clock.elapsed();
        let greeted = async {
            let channel = self.dialer.dial(leader).await.map_err(|cause| LinkEnded::Lost(cause.to_string()))?;
            link::greet(channel, hello(&self.identity, &self.claims)).await
        };
        let (mut link, welcome) = match tokio::time::timeout(HANDSHAKE, greeted).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(ended)) => return ended,
            Err(_) => return LinkEnded::Lost("no coordinator answered in time".to_owned()),
        };
        self.welcomed(&welcome, said, &mut link.outgoing);
        match self.talk(&mut link, heartbeat_of(&welcome), stop, drain).await {
            LinkEnded::Stopped => {
                self.claims.revoke_all();
                link.close(GOODBYE).await;
                LinkEnded::Stopped
            }
            ended => ended,
        }
    }

    /// A welcome answers the hello as a reply answers a heartbeat; then everything unanswered is said again.
    fn welcomed(&mut self, welcome: &v1::Welcome, said: Duration, link: &mut Outgoing) {
        self.streams += 1;
        self.claims.extend(said + usable(welcome.lease_ms));
        self.leader_time.tell(welcome.now_unix_ms, self.clock.elapsed());
        self.ticket_keys.send_replace(welcome.ticket_keys.clone());
        self.protocol = welcome.protocol.max(1);
        self.unanswered.retain(|_, (_, reply)| !reply.is_closed());
        for (request, (outcome, reply)) in std::mem::take(&mut self.unanswered) {
            self.put(request, (outcome, reply), link);
        }
        let held = self.claims.count();
        tracing::info!(epoch = welcome.epoch, held, unanswered = self.unanswered.len(), "session opened");
    }

    async fn talk(&mut self, link: &mut Link, beat: Duration, stop: &CancellationToken, drain: Duration) -> LinkEnded {
        let mut beats = tokio::time::interval(beat);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(DRAIN_LOOK);
        let mut drained_by = None;
        loop {
            let draining = drained_by.is_some();
            let step = tokio::select! {
                () = stop.cancelled(), if !draining => {
                    drained_by = Some(self.clock.elapsed() + drain);
                    // At once, so that nothing more is given to it that it would only hand back.
                    self.heartbeat(&mut link.outgoing, true)
                }
                permit = link.outgoing.ready() => permit.map(|permit| link.outgoing.send(permit)),
                heard = link.incoming.hear() => {
                    heard.and_then(|message| self.hear(message, &mut link.outgoing, draining))
                }
                Some(report) = self.inbox.recv() => {
                    self.pass_on(report, &mut link.outgoing);
                    Ok(())
                }
                _ = beats.tick() => self.heartbeat(&mut link.outgoing, draining),
                _ = looks.tick(), if draining => self.drained(drained_by, &link.outgoing),
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// Ends the stream when nothing runs any more, or when the time for it is over.
    fn drained(&self, by: Option<Duration>, link: &Outgoing) -> Result<(), LinkEnded> {
        let quiet = self.claims.count() == 0 && Arc::strong_count(&self.questions) == 1;
        let idle = quiet && self.inbox.is_empty() && !link.has_waiting();
        let late = by.is_some_and(|by| self.clock.elapsed() >= by);
        if idle || late { Err(LinkEnded::Stopped) } else { Ok(()) }
    }

    fn hear(&mut self, message: Heard, link: &mut Outgoing, draining: bool) -> Result<(), LinkEnded> {
        match message {
            Heard::Heartbeat(reply) => {
                if let Some(sent) = link.answered(reply.number) {
                    self.claims.extend(sent + usable(reply.lease_ms));
                }
            }
            // What is not begun is handed back with the goodbye.
            Heard::Assign(_) if draining => {}
            Heard::Assign(assign) => return self.assigned(assign, link),
            Heard::Revoke(revoke) => self.revoked(&revoke),
            Heard::Seal(reply) => self.answered(reply.request, said(reply.accepted)),
            Heard::Fail(reply) => self.answered(reply.request, said(reply.accepted)),
            Heard::Turn(reply) if reply.accepted => {
                self.answered(reply.request, Said::After(Duration::from_millis(reply.wait_ms)));
            }
            Heard::Turn(reply) => self.answered(reply.request, Said::Refused),
            Heard::Cut(reply) => self.answered(reply.request, said(reply.accepted)),
            Heard::Proven(reply) => self.answered(reply.request, said(reply.done)),
            Heard::Prepare(prepare) => return self.order(Order::Prepare(prepare, self.answerer())),
            Heard::Commit(commit) => return self.order(Order::Commit(commit, self.answerer())),
            Heard::SweepList(sweep) => return self.order(Order::SweepList(sweep, self.answerer())),
            Heard::SweepDelete(sweep) => return self.order(Order::SweepDelete(sweep, self.answerer())),
            Heard::Recall(recall) => return self.order(Order::Recall(recall, self.answerer())),
            Heard::CheckPin(check) => return self.order(Order::CheckPin(check, self.answerer())),
            Heard::ListVersions(list) => return self.order(Order::ListVersions(list, self.answerer())),
            Heard::PlanCompaction(plan) => return self.order(Order::PlanCompaction(plan, self.answerer())),
            Heard::Notify(notify) => return self.order(Order::Notify(notify, self.answerer())),
            Heard::Look(look) => return self.order(Order::Look(look, self.answerer())),
            Heard::NotLeader(hint) => return Err(link::not_leader(hint)),
            Heard::Welcome(_) => {}
        }
        Ok(())
    }

    fn assigned(&mut self, assign: v1::Assign, link: &mut Outgoing) -> Result<(), LinkEnded> {
        let (task, token) = match order::claim_of(&assign) {
            Ok(claim) => claim,
            Err(cause) => return Err(LinkEnded::Lost(format!("an assignment makes no sense: {cause}"))),
        };
        let assignment = match Assignment::try_from(assign) {
            Ok(assignment) => assignment,
            Err(cause) => {
                let failure = Failure {
                    code: error::VERSION_SKEW.code.to_owned(),
                    message: format!("an assignment makes no sense: {cause}"),
                    retry: Retry::Later,
                    at: self.clock.now(),
                    took: Duration::ZERO,
                    worker: Some(self.identity.id.clone()),
                };
                self.requests += 1;
                link.push(
                    Outcome::Failed { task, token, failure, not_ready: false, trace: None }.message(self.requests),
                );
                return Ok(());
            }
        };
        if self.claims.count() > self.most_claims() {
            return Err(LinkEnded::Lost("more was asked than can be done".to_owned()));
        }
        match self.claims.take(task, token) {
            Taken::New(guard) => self.order(Order::Attempt(Box::new(assignment), guard)),
            Taken::Already => Ok(()),
        }
    }

    /// Slots, and some more for seals that wait for their answer.
    fn most_claims(&self) -> usize {
        2 * usize::try_from(self.identity.slots).unwrap_or(0) + 16
    }

    fn revoked(&self, revoke: &v1::Revoke) {
        let claim = windrow_proto::convert::task_id(&revoke.task).ok().zip(revoke.token);
        if let Some((task, token)) = claim {
            tracing::info!(%task, reason = revoke.reason, "claim revoked");
            self.claims.revoke(&task, token.into());
        }
    }

    /// Orders that find no room end the stream: on the next one the coordinator asks again for what still matters.
    fn order(&self, order: Order) -> Result<(), LinkEnded> {
        self.orders.try_send(order).map_err(|cause| match cause {
            mpsc::error::TrySendError::Full(_) => LinkEnded::Lost("more was asked than can be done".to_owned()),
            mpsc::error::TrySendError::Closed(_) => LinkEnded::Stopped,
        })
    }

    fn answerer(&self) -> Answerer {
        self.reports.answerer(self.streams, self.questions.clone())
    }

    fn answered(&mut self, request: u64, said: Said) {
        if let Some((_, reply)) = self.unanswered.remove(&request) {
            // An attempt that was revoked meanwhile listens no more.
            let _ = reply.send(said);
        }
    }

    /// Says what an attempt has to say and waits for the answer, if the coordinator is not too old to be asked.
    fn put(&mut self, request: u64, (outcome, reply): (Box<Outcome>, oneshot::Sender<Said>), link: &mut Outgoing) {
        if outcome.since() > self.protocol {
            let _ = reply.send(outcome.unasked());
            return;
        }
        link.push(outcome.message(request));
        self.unanswered.insert(request, (outcome, reply));
    }

    fn pass_on(&mut self, report: Report, link: &mut Outgoing) {
        match report {
            Report::Result(_, reply) if reply.is_closed() => {}
            Report::Result(outcome, reply) => {
                self.requests += 1;
                self.put(self.requests, (outcome, reply), link);
            }
            Report::Reply(stream, message) if stream == self.streams => link.push(*message),
            Report::Reply(..) => {}
        }
    }

    fn heartbeat(&mut self, link: &mut Outgoing, draining: bool) -> Result<(), LinkEnded> {
        self.unanswered.retain(|_, (_, reply)| !reply.is_closed());
        let number = link.beat(self.clock.elapsed())?;
        let held = self.claims.held();
        let free = self.identity.slots.saturating_sub(u32::try_from(held.len()).unwrap_or(u32::MAX));
        let progress = held.iter().map(|(task, _, progress)| v1::Progress {
            task: task.as_bytes().to_vec(),
            rows_read: progress.rows_read(),
            rows_written: progress.rows_written(),
            bytes_written: progress.bytes_written(),
            trace: progress.trace().unwrap_or_default().to_owned(),
        });
        link.push(Message::Heartbeat(v1::Heartbeat {
            number,
            free_slots: if draining { 0 } else { free },
            draining,
            progress: progress.collect(),
            held: held_claims(&self.claims),
        }));
        Ok(())
    }
}

fn hello(identity: &Identity, claims: &Claims) -> v1::Hello {
    let spoken = Spoken::here();
    v1::Hello {
        worker: identity.id.to_string(),
        protocol: spoken.newest,
        oldest_protocol: spoken.oldest,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        roles: identity.roles.iter().map(|role| v1::Role::from(*role).into()).collect(),
        slots: identity.slots,
        flight_endpoint: identity.flight_endpoint.clone().unwrap_or_default(),
        held: held_claims(claims),
    }
}

fn held_claims(claims: &Claims) -> Vec<v1::HeldClaim> {
    let claim = |(task, token, _): (windrow_common::id::TaskId, windrow_common::claim::Token, _)| v1::HeldClaim {
        task: task.as_bytes().to_vec(),
        token: Some(token.into()),
    };
    claims.held().into_iter().map(claim).collect()
}

fn said(accepted: bool) -> Said {
    if accepted { Said::Accepted } else { Said::Refused }
}

/// A worker lets go well before the coordinator gives its work to another.
fn usable(lease_ms: u32) -> Duration {
    Duration::from_millis(lease_ms.into()) * 2 / 3
}

fn heartbeat_of(welcome: &v1::Welcome) -> Duration {
    match welcome.heartbeat_ms {
        0 => DEFAULT_HEARTBEAT,
        ms => Duration::from_millis(ms.into()),
    }
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Compact => "compact",
            Self::Sink => "sink",
        }
    }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Ingest => Self::Ingest,
            Role::Compact => Self::Compact,
            Role::Sink => Self::Sink,
        }
    }
}
