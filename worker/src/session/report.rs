//! What attempts and committers have to say to the coordinator, and their way into the session.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use windrow_common::{
    claim::Token,
    id::TaskId,
    intent::Seq,
    manifest::{ManifestRef, Proof},
    task::Failure,
};
use windrow_proto::{
    convert::proof_out,
    v1::{self, session_request::Message},
};

use crate::telemetry;

/// How long a finished attempt goes on trying to seal while no coordinator answers.
pub const OUTAGE_GRACE: Duration = Duration::from_secs(30 * 60);
/// Reports under way between attempts and the session; more of them wait.
const QUEUE: usize = 64;

/// The way to the coordinator. Clones share it.
#[derive(Clone)]
pub struct Reports {
    queue: mpsc::Sender<Report>,
}

/// The way back for the answer to one question of one session. When that session has ended the answer is dropped: its
/// number may mean something else to another leader, and whoever leads asks again.
pub struct Answerer {
    queue: mpsc::Sender<Report>,
    session: u64,
    /// Tells the session that a question is open.
    _open: Arc<()>,
}

/// What the coordinator said to a seal or a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// The claim has passed on: the attempt was a zombie's.
    Refused,
    /// No coordinator answered within [`OUTAGE_GRACE`], or the worker has stopped.
    Unanswered,
}

/// What the coordinator said, as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Accepted,
    Refused,
    /// Accepted after so long.
    After(Duration),
}

pub(super) enum Report {
    /// Sent again on every new session until it is answered.
    Result(Box<Outcome>, oneshot::Sender<Said>),
    /// Sent on its own session or never.
    Reply(u64, Box<Message>),
}

/// How an attempt ended, or what it asks on its way.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Sealed {
        task: TaskId,
        token: Token,
        manifest: ManifestRef,
        trace: Option<String>,
    },
    Failed {
        task: TaskId,
        token: Token,
        failure: Failure,
        not_ready: bool,
        trace: Option<String>,
    },
    /// It has read so many rows from a source that limits how many may be in a second.
    Rows {
        task: TaskId,
        token: Token,
        rows: u64,
    },
    /// It has proven what its source holds, and found the sink to show the commit `seq`.
    Proven {
        task: TaskId,
        token: Token,
        proof: Proof,
        seq: Seq,
        /// What a recount found beside what was loaded, in words.
        found: String,
    },
    /// It cut its input, and offers these parts to others.
    Cut {
        task: TaskId,
        token: Token,
        parts: Vec<String>,
    },
}

impl Reports {
    pub(super) fn new() -> (Self, mpsc::Receiver<Report>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue }, receiver)
    }

    /// Offers what an attempt staged, from within its span. Returns when the coordinator has decided, whichever session it takes.
    pub async fn seal(&self, task: TaskId, token: Token, manifest: ManifestRef) -> Answer {
        self.ask(Outcome::Sealed { task, token, manifest, trace: telemetry::here() }).await
    }

    /// Tells from within its span that an attempt failed, or with `not_ready` that its source is not complete yet.
    pub async fn fail(&self, task: TaskId, token: Token, failure: Failure, not_ready: bool) -> Answer {
        self.ask(Outcome::Failed { task, token, failure, not_ready, trace: telemetry::here() }).await
    }

    /// How long rows that an attempt has read have to wait before they go on; `None` if the claim has passed on or nobody
    /// answers.
    pub async fn turn(&self, task: TaskId, token: Token, rows: u64) -> Option<Duration> {
        match self.say(Outcome::Rows { task, token, rows }).await? {
            Said::Accepted => Some(Duration::ZERO),
            Said::After(wait) => Some(wait),
            Said::Refused => None,
        }
    }

    /// Offers parts of an attempt's input to others: whether they are theirs now. `None` if nobody answers.
    pub async fn cut(&self, task: TaskId, token: Token, parts: Vec<String>) -> Option<bool> {
        match self.ask(Outcome::Cut { task, token, parts }).await {
            Answer::Accepted => Some(true),
            Answer::Refused => Some(false),
            Answer::Unanswered => None,
        }
    }

    /// Tells what an attempt has proven its source to hold: whether its task is done with. `None` if nobody answers.
    pub async fn proven(&self, task: TaskId, token: Token, (proof, seq, found): (Proof, Seq, String)) -> Option<bool> {
        match self.ask(Outcome::Proven { task, token, proof, seq, found }).await {
            Answer::Accepted => Some(true),
            Answer::Refused => Some(false),
            Answer::Unanswered => None,
        }
    }

    pub(super) fn answerer(&self, session: u64, open: Arc<()>) -> Answerer {
        Answerer { queue: self.queue.clone(), session, _open: open }
    }

    async fn ask(&self, outcome: Outcome) -> Answer {
        match self.say(outcome).await {
            Some(Said::Accepted | Said::After(_)) => Answer::Accepted,
            Some(Said::Refused) => Answer::Refused,
            None => Answer::Unanswered,
        }
    }

    async fn say(&self, outcome: Outcome) -> Option<Said> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.queue.send(Report::Result(Box::new(outcome), reply)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(OUTAGE_GRACE, asked).await.ok().flatten()
    }
}

impl Answerer {
    pub async fn prepared(self, prepared: v1::Prepared) {
        self.send(Message::Prepared(prepared)).await;
    }

    pub async fn settled(self, settled: v1::Settled) {
        self.send(Message::Settled(settled)).await;
    }

    pub async fn listed(self, listed: v1::Listed) {
        self.send(Message::Listed(listed)).await;
    }

    pub async fn swept(self, swept: v1::Swept) {
        self.send(Message::Swept(swept)).await;
    }

    pub async fn recalled(self, recalled: v1::Recalled) {
        self.send(Message::Recalled(recalled)).await;
    }

    pub async fn versions(self, versions: v1::VersionsListed) {
        self.send(Message::Versions(versions)).await;
    }

    pub async fn pin_checked(self, checked: v1::PinChecked) {
        self.send(Message::PinChecked(checked)).await;
    }

    pub async fn compaction_planned(self, planned: v1::CompactionPlanned) {
        self.send(Message::CompactionPlanned(planned)).await;
    }

    pub async fn notified(self, notified: v1::Notified) {
        self.send(Message::Notified(notified)).await;
    }

    pub async fn looked(self, looked: v1::Looked) {
        self.send(Message::Looked(looked)).await;
    }

    async fn send(self, message: Message) {
        // A session that is gone needs no answer.
        let _ = self.queue.send(Report::Reply(self.session, Box::new(message))).await;
    }
}

impl Outcome {
    /// What stands for the answer of a coordinator too old to be asked.
    pub(super) fn unasked(&self) -> Said {
        match self {
            Self::Cut { .. } | Self::Proven { .. } => Said::Refused,
            Self::Sealed { .. } | Self::Failed { .. } | Self::Rows { .. } => Said::Accepted,
        }
    }

    /// The oldest version of the protocol in which it can be said.
    pub(super) fn since(&self) -> u32 {
        match self {
            Self::Sealed { .. } | Self::Failed { .. } => 1,
            Self::Rows { .. } | Self::Cut { .. } => 2,
            Self::Proven { .. } => 3,
        }
    }

    /// The message to the coordinator, under the number its answer will carry.
    pub(super) fn message(&self, request: u64) -> Message {
        match self {
            Self::Sealed { task, token, manifest, trace } => Message::Seal(v1::Seal {
                request,
                task: task.as_bytes().to_vec(),
                token: Some((*token).into()),
                manifest: Some(manifest.into()),
                trace: trace.clone().unwrap_or_default(),
            }),
            Self::Failed { task, token, failure, not_ready, trace } => Message::Fail(v1::Fail {
                request,
                task: task.as_bytes().to_vec(),
                token: Some((*token).into()),
                failure: Some(failure.into()),
                not_ready: *not_ready,
                trace: trace.clone().unwrap_or_default(),
            }),
            Self::Rows { task, token, rows } => Message::Turn(v1::Turn {
                request,
                task: task.as_bytes().to_vec(),
                token: Some((*token).into()),
                rows: *rows,
            }),
            Self::Proven { task, token, proof, seq, found } => {
                let (proof, window_proofs) = proof_out(Some(proof));
                Message::Proven(v1::Proven {
                    request,
                    task: task.as_bytes().to_vec(),
                    token: Some((*token).into()),
                    proof,
                    window_proofs,
                    seq: *seq,
                    found: found.clone(),
                })
            }
            Self::Cut { task, token, parts } => Message::Cut(v1::Cut {
                request,
                task: task.as_bytes().to_vec(),
                token: Some((*token).into()),
                parts: parts.clone(),
            }),
        }
    }
}
