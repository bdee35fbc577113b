//! What the controller is told and asked.

use tokio::sync::{mpsc, oneshot};
use windrow_common::{
    error::{self, ErrorCode},
    id::{BackfillId, PinId, PipelineName, TaskId, WorkerId},
    intent::Seq,
    manifest::{Digest, ManifestRef, Proof},
    pipeline::Pipeline,
    task::Failure,
};
use windrow_proto::v1;

use super::{Found, Plan, View, Whole};
use crate::{
    core::{
        apply::{Applied, BadPipeline},
        backfill::{self, Backfill, BadCommand, BadRequest},
        commit::Answer,
        compare::BadComparison,
        declare::{self, BadDeclaration},
        late::{self, BadRelease},
        lifecycle::HeldClaim,
        pins::{self, BadPin, Pin},
        recovery::PastCommit,
        rollback::{self, BadRollback, Rollback},
        workers::WorkerInfo,
    },
    ledger::LedgerError,
};

/// What is said to a worker. A channel keeps room for some dozens of messages however few there are, and there are
/// thousands of channels: so it is boxes that wait in them.
pub type Outbox = mpsc::Sender<Box<v1::SessionResponse>>;

/// One message of the inbox.
pub enum Message {
    Session {
        worker: WorkerId,
        session: u64,
        event: SessionEvent,
    },
    Command(Command),
    /// Looks at the table between two changes.
    Read(Box<dyn FnOnce(&View<'_>) + Send>),
}

impl Message {
    /// Whether nothing is to be done because of it, but perhaps to answer.
    pub(super) fn only_tells(&self) -> bool {
        match self {
            Self::Session { event, .. } => {
                matches!(event, SessionEvent::Heartbeat { draining: false, .. } | SessionEvent::Turn { .. })
            }
            Self::Command(_) => false,
            Self::Read(_) => true,
        }
    }

    /// Whether what was decided before it may be [written after it](super::together): it rests on none of that, or sees to it
    /// itself.
    pub(super) fn goes_together(&self) -> bool {
        let Self::Session { event, .. } = self else { return false };
        match event {
            SessionEvent::Heartbeat { .. } | SessionEvent::Turn { .. } | SessionEvent::Seal { .. } => true,
            SessionEvent::Prepared { draft, .. } => draft.is_ok(),
            SessionEvent::Settled { answer, .. } => *answer == Answer::Committed,
            _ => false,
        }
    }
}

/// What a worker says.
pub enum SessionEvent {
    Hello {
        info: WorkerInfo,
        /// The version of the session protocol that was agreed on.
        protocol: u32,
        held: Vec<HeldClaim>,
        out: Outbox,
    },
    Heartbeat {
        number: u64,
        /// It stops.
        draining: bool,
        progress: Vec<(TaskId, Progress)>,
        /// The spans the attempts run in.
        traces: Vec<(TaskId, Option<String>)>,
    },
    Seal {
        request: u64,
        claim: HeldClaim,
        manifest: ManifestRef,
        /// The span of the attempt; here and below a W3C `traceparent`.
        trace: Option<String>,
    },
    Fail {
        request: u64,
        claim: HeldClaim,
        failure: Failure,
        not_ready: bool,
        /// The span of the attempt.
        trace: Option<String>,
    },
    /// Rows wait for their turn at a source.
    Turn {
        request: u64,
        claim: HeldClaim,
        rows: u64,
    },
    /// A task's input is cut; these are the parts of it that others may read.
    Cut {
        request: u64,
        claim: HeldClaim,
        parts: Vec<String>,
    },
    /// What a task's source holds was proven, and the sink found to show the commit `seq`.
    Proven {
        request: u64,
        claim: HeldClaim,
        proof: Proof,
        seq: u64,
        /// What a recount found beside what was loaded, in words.
        found: String,
    },
    Prepared {
        request: u64,
        sink: windrow_common::id::SinkId,
        draft: Result<Draft, PrepareFailed>,
    },
    Settled {
        request: u64,
        sink: windrow_common::id::SinkId,
        answer: Answer,
        /// The span of the commit.
        trace: Option<String>,
    },
    /// The committer has listed what was staged long ago.
    Listed {
        request: u64,
        sink: windrow_common::id::SinkId,
        /// How many, and what was vacuumed meanwhile.
        listed: Result<(u64, Vec<v1::VacuumedTable>), Failure>,
    },
    Swept {
        request: u64,
        sink: windrow_common::id::SinkId,
        /// Files and bytes of attempts, and what else.
        swept: Result<(u64, u64, Option<v1::CleanReport>), Failure>,
    },
    /// Whether a version is whole and certain to stay so.
    PinChecked {
        request: u64,
        found: Result<Whole, Failure>,
    },
    /// What a sink knows of windrow's commits.
    Recalled {
        request: u64,
        sink: windrow_common::id::SinkId,
        recalled: Result<Recalled, Failure>,
    },
    /// The versions of a full load there are.
    Versions {
        request: u64,
        versions: Result<Vec<v1::Version>, Failure>,
    },
    /// Which files of a table are worth rewriting.
    CompactionPlanned {
        request: u64,
        sink: windrow_common::id::SinkId,
        found: Found,
    },
    /// Receivers were told of a sink's commits up to one.
    Notified {
        request: u64,
        sink: windrow_common::id::SinkId,
        up_to: Seq,
        failure: Option<Failure>,
    },
    /// What windows wait for was looked at.
    Looked {
        request: u64,
        seen: Vec<v1::Seen>,
    },
    Goodbye,
    Closed,
}

/// What a running attempt has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub rows_read: u64,
    pub rows_written: u64,
    pub bytes_written: u64,
}

/// A commit the committer has worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub path: String,
    pub digest: Digest,
    /// The version a rollback's commit shows.
    pub shows: Option<u32>,
    /// How many files it adds in the name of each task it was made of, in their order; empty where the worker does not say.
    pub files: Vec<u64>,
}

/// A sink's commits as its storage has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// The seq of the newest one.
    pub newest: Seq,
    /// The next ones, oldest first.
    pub commits: Vec<PastCommit>,
}

/// Why it could not.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareFailed {
    pub failure: Failure,
    pub task: Option<TaskId>,
    pub staged_files_bad: bool,
}

/// A change a user asks for.
pub enum Command {
    Apply {
        pipelines: Vec<Pipeline>,
        validate_only: bool,
        reply: Reply<Vec<(PipelineName, Applied)>>,
    },
    /// Pauses with a note, or resumes.
    Pause {
        name: PipelineName,
        note: Option<String>,
        reply: Reply<()>,
    },
    CreateBackfill {
        request: backfill::Request,
        origin: backfill::Origin,
        validate_only: bool,
        reply: Reply<Backfill>,
    },
    /// Makes the ledger good from what the sinks know, with these pipelines besides those it has.
    Recover {
        pipelines: Vec<Pipeline>,
        reply: Reply<()>,
    },
    Steer {
        id: BackfillId,
        command: backfill::Command,
        reply: Reply<()>,
    },
    /// Which versions of a full load there are.
    Versions {
        pipeline: PipelineName,
        reply: Reply<Vec<v1::Version>>,
    },
    /// Which files would be rewritten now; unless it is a dry run, they are.
    Compact {
        pipeline: PipelineName,
        dry_run: bool,
        /// However few and however large they are.
        major: bool,
        reply: Reply<Plan>,
    },
    /// Has the keys of a pipeline's table compared with those of its source; answers with the task that does so.
    Compare {
        pipeline: PipelineName,
        accept: bool,
        reply: Reply<TaskId>,
    },
    RollBack {
        request: rollback::Request,
        validate_only: bool,
        reply: Reply<Rollback>,
    },
    Pin {
        request: pins::Request,
        reply: Reply<Pin>,
    },
    /// Declares a window complete; answers whether it was not so already.
    Declare {
        request: declare::Request,
        reply: Reply<bool>,
    },
    /// Releases what is held of a window whose source has changed since it was closed.
    Release {
        request: late::Release,
        reply: Reply<()>,
    },
    Unpin {
        id: PinId,
        reply: Reply<()>,
    },
    /// Takes away what a sink needs no more, or says what would be.
    Clean {
        pipeline: PipelineName,
        only_look: bool,
        reply: Reply<v1::CleanReport>,
    },
}

pub type Reply<T> = oneshot::Sender<Result<T, CommandError>>;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("no {kind} is called {name}")]
    NotFound { kind: &'static str, name: String },
    #[error(transparent)]
    Pipeline(#[from] BadPipeline),
    #[error(transparent)]
    Backfill(#[from] BadRequest),
    #[error(transparent)]
    Steering(#[from] BadCommand),
    #[error(transparent)]
    Rollback(#[from] BadRollback),
    #[error(transparent)]
    Pin(#[from] BadPin),
    #[error(transparent)]
    Comparison(#[from] BadComparison),
    #[error(transparent)]
    Declaration(#[from] BadDeclaration),
    #[error(transparent)]
    Release(#[from] BadRelease),
    /// What a worker said to a question.
    #[error("{}", .0.message)]
    Worker(Failure),
    #[error("no worker with the role `sink` answers")]
    NoCommitter,
    #[error("pipeline {0} does not say that its files are to be compacted")]
    NotCompacted(PipelineName),
    #[error("pipeline {0} is paused")]
    Paused(PipelineName),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the ledger is being made good; try again when that is done")]
    Recovering,
    #[error("this coordinator does not lead any more")]
    Stopped,
}

impl CommandError {
    /// The code of the catalogue.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. }
            | Self::Backfill(BadRequest::UnknownPipeline(_))
            | Self::Rollback(BadRollback::UnknownPipeline(_))
            | Self::Pin(BadPin::UnknownPipeline(_))
            | Self::Comparison(BadComparison::UnknownPipeline(_))
            | Self::Declaration(BadDeclaration::UnknownPipeline(_))
            | Self::Release(_)
            | Self::Steering(BadCommand::Unknown(_)) => error::NOT_FOUND,
            Self::Rollback(BadRollback::Windows(_) | BadRollback::AddsUp(_) | BadRollback::Shared { .. }) => {
                error::NO_VERSIONS
            }
            Self::Rollback(BadRollback::UnderWay { .. } | BadRollback::Earlier(_) | BadRollback::IsShown { .. }) => {
                error::CONFLICT
            }
            Self::Rollback(_) => error::VERSION_GONE,
            Self::Pin(BadPin::TooMany { .. }) => error::TOO_MANY_PINS,
            Self::Pin(_) => error::USAGE,
            Self::Worker(failure) => error::find(&failure.code).copied().unwrap_or(error::INTERNAL),
            Self::NoCommitter => error::SINK_UNREACHABLE,
            Self::NotCompacted(_) => error::COMPACTION_UNSUPPORTED,
            Self::Comparison(BadComparison::NotCompared(_)) => error::KEYS_UNKNOWN,
            Self::Comparison(BadComparison::UnderWay(_)) | Self::Paused(_) => error::CONFLICT,
            Self::Steering(_) | Self::Pipeline(BadPipeline::Frozen { .. }) | Self::Recovering => error::CONFLICT,
            Self::Pipeline(BadPipeline::Window { .. }) => error::BAD_WINDOW,
            Self::Pipeline(BadPipeline::Shared { .. }) => error::CONTRADICTION,
            Self::Pipeline(BadPipeline::TooMany(_)) => error::USAGE,
            Self::Backfill(BadRequest::EmptyRange) => error::BAD_RANGE,
            Self::Backfill(BadRequest::Closed(_) | BadRequest::Beside(_)) => error::CONFLICT,
            Self::Declaration(BadDeclaration::NoWindow(_)) => error::BAD_RANGE,
            Self::Declaration(BadDeclaration::Text(_)) => error::USAGE,
            Self::Declaration(_) => error::CONFLICT,
            Self::Backfill(_) => error::RANGE_TOO_LARGE,
            Self::Ledger(LedgerError::TooLarge { .. }) => error::SPEC_TOO_LARGE,
            Self::Ledger(LedgerError::Malformed { .. }) => error::STORE_BROKEN,
            Self::Ledger(LedgerError::Store(cause)) => cause.code(),
            Self::Ledger(_) | Self::Stopped => error::NOT_LEADER,
        }
    }
}
