//! The workers' side of the API: one stream per worker, turned into messages for the controller.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::warn;
use windrow_common::{error, id::WorkerId, shutdown::Shutdown, task::Failure};
use windrow_proto::{
    convert::{Malformed, digest, optional_digest, proof_in, required, task_id},
    status::status,
    v1::{
        self, Hello, NotLeader, SessionRequest, SessionResponse, session_request::Message as In,
        session_response::Message as Out, session_service_server::SessionService,
    },
    version::Spoken,
};

use crate::{
    controller::{Draft, Found, Handle, Outbox, PrepareFailed, Progress, Recalled, SessionEvent, Whole},
    core::{
        commit::Answer,
        lifecycle::HeldClaim,
        recovery::{PastCommit, PastTask},
        workers::{Role, WorkerInfo},
    },
    run::Standing,
    trace,
};

/// Messages that may wait for a worker; past that it counts as not listening.
const OUTBOX: usize = 1_024;

pub(super) struct Sessions {
    standing: Arc<Standing>,
    shutdown: Shutdown,
    /// Numbers sessions, so that a replaced one is told from its successor.
    count: AtomicU64,
}

impl Sessions {
    pub(super) fn new(standing: Arc<Standing>, shutdown: Shutdown) -> Self {
        Self { standing, shutdown, count: AtomicU64::new(1) }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl SessionService for Sessions {
    type SessionStream = Responses;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Result<Response<Responses>, Status> {
        let mut requests = request.into_inner();
        let hello = match requests.message().await?.and_then(|request| request.message) {
            Some(In::Hello(hello)) => hello,
            _ => return Err(status(Code::InvalidArgument, error::VERSION_SKEW, "a session begins with Hello")),
        };
        let (theirs, ours) = (Spoken::announced(hello.protocol, hello.oldest_protocol), Spoken::here());
        let Some(protocol) = ours.agree(theirs) else {
            let text = format!("the worker speaks protocol {theirs}, this coordinator {ours}");
            return Err(status(Code::FailedPrecondition, error::VERSION_SKEW, text));
        };
        let Some(controller) = self.standing.controller() else {
            let leader = self.standing.leader();
            let message = Some(Out::NotLeader(NotLeader { leader }));
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(SessionResponse { message })))));
        };
        let (out, outbox) = mpsc::channel(OUTBOX);
        let (worker, event) = hello_in(hello, protocol, out).map_err(malformed)?;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        controller.session(worker.clone(), number, event).await.map_err(|_| stopped())?;
        self.shutdown.spawn(listen(controller, (worker, number), requests, self.shutdown.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(outbox).map(|response| Ok(*response)))))
    }
}

/// Passes on what the worker says until its stream ends.
async fn listen(
    controller: Handle,
    (worker, number): (WorkerId, u64),
    mut requests: Streaming<SessionRequest>,
    shutdown: Shutdown,
) {
    loop {
        let request = tokio::select! {
            () = shutdown.begun() => break,
            request = requests.next() => request,
        };
        let Some(Ok(SessionRequest { message: Some(message) })) = request else { break };
        match event_in(message) {
            Ok(event) => {
                if controller.session(worker.clone(), number, event).await.is_err() {
                    return;
                }
            }
            Err(error) => warn!(%worker, %error, "says what makes no sense"),
        }
    }
    let _ = controller.session(worker, number, SessionEvent::Closed).await;
}

fn malformed(error: Malformed) -> Status {
    status(Code::InvalidArgument, error::VERSION_SKEW, error.to_string())
}

fn stopped() -> Status {
    status(Code::Unavailable, error::NOT_LEADER, "this coordinator does not lead any more")
}

fn hello_in(hello: Hello, protocol: u32, out: Outbox) -> Result<(WorkerId, SessionEvent), Malformed> {
    let id: WorkerId = hello.worker.parse()?;
    let roles = hello.roles.iter().filter_map(|role| match v1::Role::try_from(*role) {
        Ok(v1::Role::Ingest) => Some(Role::Ingest),
        Ok(v1::Role::Compact) => Some(Role::Compact),
        Ok(v1::Role::Sink) => Some(Role::Sink),
        _ => None,
    });
    let info = WorkerInfo {
        id: id.clone(),
        roles: roles.collect(),
        slots: hello.slots,
        version: hello.version,
        protocol,
        flight_endpoint: hello.flight_endpoint,
    };
    let held = hello.held.into_iter().map(held_in).collect::<Result<_, _>>()?;
    Ok((id, SessionEvent::Hello { info, protocol, held, out }))
}

fn held_in(held: v1::HeldClaim) -> Result<HeldClaim, Malformed> {
    claim_in(&held.task, held.token)
}

fn claim_in(task: &[u8], token: Option<v1::Token>) -> Result<HeldClaim, Malformed> {
    Ok(HeldClaim { task: task_id(task)?, token: required(token, "token")?.into() })
}

fn event_in(message: In) -> Result<SessionEvent, Malformed> {
    Ok(match message {
        In::Hello(_) => return Err(Malformed::Unknown("message: Hello within a session")),
        In::Goodbye(_) => SessionEvent::Goodbye,
        In::Heartbeat(heartbeat) => SessionEvent::Heartbeat {
            number: heartbeat.number,
            draining: heartbeat.draining,
            traces: heartbeat.progress.iter().map(trace_in).collect::<Result<_, _>>()?,
            progress: heartbeat.progress.iter().map(progress_in).collect::<Result<_, _>>()?,
        },
        In::Seal(seal) => SessionEvent::Seal {
            request: seal.request,
            claim: claim_in(&seal.task, seal.token)?,
            manifest: required(seal.manifest, "manifest")?.try_into()?,
            trace: trace::short(seal.trace),
        },
        In::Fail(fail) => SessionEvent::Fail {
            request: fail.request,
            claim: claim_in(&fail.task, fail.token)?,
            failure: required(fail.failure, "failure")?.try_into()?,
            not_ready: fail.not_ready,
            trace: trace::short(fail.trace),
        },
        In::Turn(turn) => {
            SessionEvent::Turn { request: turn.request, claim: claim_in(&turn.task, turn.token)?, rows: turn.rows }
        }
        In::Cut(cut) => {
            SessionEvent::Cut { request: cut.request, claim: claim_in(&cut.task, cut.token)?, parts: cut.parts }
        }
        In::Proven(proven) => SessionEvent::Proven {
            request: proven.request,
            claim: claim_in(&proven.task, proven.token)?,
            proof: required(proof_in(&proven.proof, &proven.window_proofs)?, "proof")?,
            seq: proven.seq,
            found: proven.found,
        },
        In::Prepared(prepared) => SessionEvent::Prepared {
            request: prepared.request,
            sink: prepared.sink.parse()?,
            draft: draft_in(required(prepared.outcome, "outcome")?)?,
        },
        In::Listed(listed) => {
            tell_failure(&listed.sink, listed.failure.as_ref());
            let (request, sink) = (listed.request, listed.sink.parse()?);
            let failure = listed.failure.map(Failure::try_from).transpose()?;
            SessionEvent::Listed { request, sink, listed: failure.map_or(Ok((listed.files, listed.tables)), Err) }
        }
        In::Swept(swept) => {
            tell_failure(&swept.sink, swept.failure.as_ref());
            let (request, sink) = (swept.request, swept.sink.parse()?);
            let failure = swept.failure.map(Failure::try_from).transpose()?;
            let done = (swept.files, swept.bytes, swept.report);
            SessionEvent::Swept { request, sink, swept: failure.map_or(Ok(done), Err) }
        }
        In::PinChecked(checked) => SessionEvent::PinChecked {
            request: checked.request,
            found: match checked.failure {
                Some(failure) => Err(failure.try_into()?),
                None => Ok(Whole {
                    version: required(checked.version, "version")?.try_into()?,
                    files: checked.files,
                    bytes: checked.bytes,
                }),
            },
        },
        In::Recalled(recalled) => SessionEvent::Recalled {
            request: recalled.request,
            sink: recalled.sink.parse()?,
            recalled: recalled_in(recalled)?,
        },
        In::Versions(listed) => {
            let versions = match listed.failure {
                Some(failure) => Err(failure.try_into()?),
                None => Ok(listed.versions),
            };
            SessionEvent::Versions { request: listed.request, versions }
        }
        In::CompactionPlanned(planned) => SessionEvent::CompactionPlanned {
            request: planned.request,
            sink: planned.sink.parse()?,
            found: compaction_in(planned)?,
        },
        In::Notified(notified) => SessionEvent::Notified {
            request: notified.request,
            sink: notified.sink.parse()?,
            up_to: notified.up_to,
            failure: notified.failure.map(TryInto::try_into).transpose()?,
        },
        In::Looked(looked) => SessionEvent::Looked { request: looked.request, seen: looked.seen },
        In::Settled(settled) => {
            let (request, sink) = (settled.request, settled.sink.parse()?);
            let trace = trace::short(settled.trace.clone());
            SessionEvent::Settled { request, sink, answer: answer_in(settled)?, trace }
        }
    })
}

/// A sweep that failed is tried again when the next one is due; whoever reads the log should know why.
fn tell_failure(sink: &str, failure: Option<&v1::Failure>) {
    if let Some(failure) = failure {
        warn!(sink, code = failure.code, message = failure.message, "a sweep failed");
    }
}

fn progress_in(progress: &v1::Progress) -> Result<(windrow_common::id::TaskId, Progress), Malformed> {
    let v1::Progress { rows_read, rows_written, bytes_written, .. } = *progress;
    Ok((task_id(&progress.task)?, Progress { rows_read, rows_written, bytes_written }))
}

fn trace_in(progress: &v1::Progress) -> Result<(windrow_common::id::TaskId, Option<String>), Malformed> {
    Ok((task_id(&progress.task)?, trace::short(progress.trace.clone())))
}

fn draft_in(outcome: v1::prepared::Outcome) -> Result<Result<Draft, PrepareFailed>, Malformed> {
    Ok(match outcome {
        v1::prepared::Outcome::Draft(draft) => {
            Ok(Draft { path: draft.path, digest: digest(&draft.digest)?, shows: draft.shows, files: draft.files })
        }
        v1::prepared::Outcome::Failure(failed) => Err(PrepareFailed {
            failure: required(failed.failure, "failure")?.try_into()?,
            task: if failed.task.is_empty() { None } else { Some(task_id(&failed.task)?) },
            staged_files_bad: failed.staged_files_bad,
        }),
    })
}

fn recalled_in(recalled: v1::Recalled) -> Result<Result<Recalled, Failure>, Malformed> {
    if let Some(failure) = recalled.failure {
        return Ok(Err(failure.try_into()?));
    }
    let commits = recalled.commits.into_iter().map(past_commit_in).collect::<Result<_, _>>()?;
    Ok(Ok(Recalled { newest: recalled.newest, commits }))
}

fn compaction_in(planned: v1::CompactionPlanned) -> Result<Found, Malformed> {
    if let Some(failure) = planned.failure {
        return Ok(Err(failure.try_into()?));
    }
    let groups = planned.groups.into_iter().map(TryInto::try_into).collect::<Result<_, Malformed>>()?;
    Ok(Ok((planned.layout.unwrap_or_default().into(), groups)))
}

fn past_commit_in(commit: v1::PastCommit) -> Result<PastCommit, Malformed> {
    Ok(PastCommit {
        seq: commit.seq,
        digest: digest(&commit.digest)?,
        previous: optional_digest(&commit.previous)?,
        aborted: commit.aborted,
        tasks: commit.tasks.into_iter().map(past_task_in).collect::<Result<_, _>>()?,
    })
}

fn past_task_in(task: v1::PastTask) -> Result<PastTask, Malformed> {
    Ok(PastTask {
        task: task_id(&task.task)?,
        pipeline: task.pipeline.parse()?,
        window: required(task.window, "window")?.try_into()?,
        revision: task.revision,
        epoch: required(task.token, "token")?.epoch,
        counts: required(task.counts, "counts")?.into(),
    })
}

fn answer_in(settled: v1::Settled) -> Result<Answer, Malformed> {
    let failure = || required(settled.failure.clone(), "failure")?.try_into();
    Ok(match v1::Settlement::try_from(settled.settlement) {
        Ok(v1::Settlement::Committed) => Answer::Committed,
        Ok(v1::Settlement::Aborted) => Answer::Aborted,
        Ok(v1::Settlement::Stale) => Answer::Stale,
        Ok(v1::Settlement::Conflict | v1::Settlement::Schema) => Answer::Refused(failure()?),
        Ok(v1::Settlement::Halt) => Answer::Halt(failure()?),
        Ok(v1::Settlement::Unknown) => Answer::Unknown(settled.failure.map(TryInto::try_into).transpose()?),
        _ => return Err(Malformed::Unknown("settlement")),
    })
}
