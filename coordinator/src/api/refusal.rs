//! Errors of the API, as statuses a program can read: the catalogue's code, every variable of the text, the fields of the
//! request that are wrong, and when to ask again.

use std::time::Duration;

use tonic::{Code, Status};
use windrow_common::{
    error::{self, ErrorCode},
    id::PipelineName,
    pipeline::Pipeline,
};
use windrow_proto::status::{About, status_about};

use crate::{
    controller::CommandError,
    core::{
        apply::BadPipeline,
        backfill::{BadCommand, BadRequest},
        compare::BadComparison,
        declare::BadDeclaration,
        late::BadRelease,
        pins::BadPin,
        ready::NeverReady,
        rollback::BadRollback,
    },
};

/// An election takes about as long as the lease of the leader before; asking more often does no harm.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A field of the request makes no sense.
pub(super) fn bad(field: &str, what: String) -> Status {
    let violations = vec![(field.to_owned(), what.clone())];
    let about = About { violations, facts: vec![("field", field.to_owned())], ..About::default() };
    status_about(Code::InvalidArgument, error::USAGE, format!("{field}: {what}"), about)
}

/// A pipeline's JSON makes no sense; `path` leads to the value within it.
pub(super) fn bad_pipeline(index: usize, path: &str, what: String) -> Status {
    let inside = if path == "." { String::new() } else { format!(".{path}") };
    bad(&format!("pipelines[{index}]{inside}"), what)
}

pub(super) fn missing(kind: &'static str, name: &str) -> Status {
    let facts = vec![("kind", kind.to_owned()), ("name", name.to_owned())];
    let text = format!("no {kind} is called {name}");
    status_about(Code::NotFound, error::NOT_FOUND, text, About { facts, ..About::default() })
}

pub(super) fn refused(error: CommandError) -> Status {
    refused_of(error, &[])
}

/// Why `pipelines` were not applied.
pub(super) fn refused_of(error: CommandError, pipelines: &[Pipeline]) -> Status {
    let place = |name: &windrow_common::id::PipelineName, key: &str| {
        let index = pipelines.iter().position(|pipeline| pipeline.name == *name);
        index.map_or_else(|| key.to_owned(), |index| format!("pipelines[{index}].{key}"))
    };
    let field = |path: &str| vec![(path.to_owned(), error.to_string())];
    let (grpc, facts, violations) = match &error {
        CommandError::NotFound { kind, name } => return missing(kind, name),
        CommandError::Backfill(BadRequest::UnknownPipeline(name)) => return missing("pipeline", name.as_str()),
        CommandError::Steering(BadCommand::Unknown(id)) => return missing("backfill", id.as_str()),
        CommandError::Steering(BadCommand::WrongPhase { id, phase }) => {
            let facts = vec![("backfill", id.to_string()), ("state", format!("{phase:?}").to_lowercase())];
            (Code::FailedPrecondition, facts, Vec::new())
        }
        CommandError::Backfill(BadRequest::EmptyRange) => (Code::InvalidArgument, Vec::new(), field("spec.range")),
        CommandError::Backfill(BadRequest::Closed(windows)) => {
            (Code::FailedPrecondition, vec![("windows", windows.to_string())], Vec::new())
        }
        CommandError::Backfill(BadRequest::Beside(name)) => {
            (Code::FailedPrecondition, vec![("pipeline", name.to_string())], Vec::new())
        }
        CommandError::Declaration(BadDeclaration::UnknownPipeline(name))
        | CommandError::Release(BadRelease::UnknownPipeline(name)) => return missing("pipeline", name.as_str()),
        CommandError::Declaration(BadDeclaration::Text(key)) => (Code::InvalidArgument, Vec::new(), field(key)),
        CommandError::Declaration(BadDeclaration::NoWindow(_)) => (Code::InvalidArgument, Vec::new(), field("window")),
        CommandError::Declaration(_) => (Code::FailedPrecondition, Vec::new(), Vec::new()),
        CommandError::Release(BadRelease::NothingHeld(_)) => {
            let fix = Some("see what is held: windrow get windows PIPELINE");
            let about = About { fix, ..About::default() };
            return status_about(Code::NotFound, error.code(), error.to_string(), about);
        }
        CommandError::Backfill(BadRequest::TooLarge { windows, limit }) => {
            let facts = vec![("windows", windows.to_string()), ("limit", limit.to_string())];
            (Code::InvalidArgument, facts, field("spec.range"))
        }
        CommandError::Backfill(BadRequest::TooScattered(stretches)) => {
            (Code::InvalidArgument, vec![("stretches", stretches.to_string())], field("spec.range"))
        }
        CommandError::Pipeline(BadPipeline::TooMany(count)) => {
            (Code::InvalidArgument, vec![("count", count.to_string())], field("pipelines"))
        }
        CommandError::Pipeline(BadPipeline::Window { name, .. }) => {
            (Code::InvalidArgument, vec![("pipeline", name.to_string())], field(&place(name, "window")))
        }
        CommandError::Pipeline(BadPipeline::Frozen { name, what }) => {
            let facts = vec![("pipeline", name.to_string()), ("setting", (*what).to_owned())];
            let key = what.split_whitespace().next().unwrap_or_default();
            (Code::InvalidArgument, facts, field(&place(name, key)))
        }
        CommandError::Pipeline(BadPipeline::Shared { name, other }) => {
            let facts = vec![("pipeline", name.to_string()), ("other", other.to_string())];
            (Code::InvalidArgument, facts, field(&place(name, "deletes")))
        }
        CommandError::Rollback(BadRollback::UnknownPipeline(name)) => return missing("pipeline", name.as_str()),
        CommandError::Rollback(refused) => return no_way_back(refused, error.code(), error.to_string()),
        CommandError::Pin(BadPin::UnknownPipeline(name)) => return missing("pipeline", name.as_str()),
        CommandError::Pin(refused) if refused.is_of_the_request() => {
            let key = if matches!(refused, BadPin::Length) { "for" } else { "reason" };
            (Code::InvalidArgument, Vec::new(), field(key))
        }
        CommandError::Pin(_) => {
            let fix = Some("let go of one that nobody needs: windrow get pins, windrow unpin ID");
            let about = About { fix, ..About::default() };
            return status_about(Code::FailedPrecondition, error.code(), error.to_string(), about);
        }
        CommandError::Worker(failure) => {
            let facts = failure.worker.iter().map(|worker| ("worker", worker.to_string())).collect();
            (Code::FailedPrecondition, facts, Vec::new())
        }
        CommandError::NoCommitter => {
            let fix = Some("start a worker with the role `sink`, or look why those there are do not answer");
            let about = About { fix, ..About::default() };
            return status_about(Code::FailedPrecondition, error.code(), error.to_string(), about);
        }
        CommandError::NotCompacted(_) => {
            let fix = Some("add `compaction: {}` to the pipeline and apply it");
            let about = About { fix, ..About::default() };
            return status_about(Code::FailedPrecondition, error.code(), error.to_string(), about);
        }
        CommandError::Comparison(BadComparison::UnknownPipeline(name)) => return missing("pipeline", name.as_str()),
        CommandError::Comparison(refused) => {
            let fix = Some(match refused {
                BadComparison::UnderWay(_) => "wait until it is done: windrow get tasks PIPELINE",
                _ => "add `deletes: { every: 1d }` to the pipeline and apply it",
            });
            let about = About { fix, ..About::default() };
            return status_about(Code::FailedPrecondition, error.code(), error.to_string(), about);
        }
        CommandError::Paused(_) => {
            let about = About { fix: Some("resume it: windrow resume PIPELINE"), ..About::default() };
            return status_about(Code::FailedPrecondition, error.code(), error.to_string(), about);
        }
        CommandError::Recovering => (Code::FailedPrecondition, Vec::new(), Vec::new()),
        CommandError::Stopped | CommandError::Ledger(_) => {
            let about = About { retry_after: Some(ASK_AGAIN), ..About::default() };
            return status_about(Code::Unavailable, error.code(), error.to_string(), about);
        }
    };
    status_about(grpc, error.code(), error.to_string(), About { facts, violations, ..About::default() })
}

/// A range that is not the pipeline's, or nothing to wait for.
pub(super) fn never_ready(why: &NeverReady) -> Status {
    let (grpc, fix) = match why {
        NeverReady::NothingDue => (Code::FailedPrecondition, "name the range to wait for"),
        NeverReady::Outside { .. } | NeverReady::OtherAxis(_) => {
            (Code::InvalidArgument, "see what windows there are: windrow get windows PIPELINE")
        }
    };
    let violations = vec![("range".to_owned(), why.to_string())];
    let about = About { fix: Some(fix), violations, ..About::default() };
    status_about(grpc, error::BAD_RANGE, why.to_string(), about)
}

fn no_way_back(refused: &BadRollback, code: ErrorCode, text: String) -> Status {
    let version = |version: &u32| ("version", format!("v{version}"));
    let pipeline = |name: &PipelineName| ("pipeline", name.to_string());
    let (fix, facts) = match refused {
        BadRollback::UnknownPipeline(name) => (None, vec![pipeline(name)]),
        BadRollback::Windows(name) => (
            Some(
                "load the windows that are wrong again: windrow backfill create PIPELINE --from .. --to .. --reprocess all",
            ),
            vec![pipeline(name)],
        ),
        BadRollback::AddsUp(name) => (
            Some("`write: replace_all` makes each load a version; take rows out of this table by hand"),
            vec![pipeline(name)],
        ),
        BadRollback::Shared { name, other } => {
            (Some("let each pipeline write a table of its own"), vec![pipeline(name), ("other", other.to_string())])
        }
        BadRollback::UnderWay { pipeline: name, to } => {
            (Some("wait until it is settled: windrow rollback says so"), vec![pipeline(name), version(to)])
        }
        BadRollback::Earlier(request) => (Some("give a new request id"), vec![("request", request.clone())]),
        BadRollback::NothingShown(name) => (Some("load it: windrow backfill create PIPELINE"), vec![pipeline(name)]),
        BadRollback::IsShown { pipeline: name, version: to } => {
            (Some("nothing is to be done; see: windrow get versions PIPELINE"), vec![pipeline(name), version(to)])
        }
        BadRollback::NoneBefore { pipeline: name, shown } => {
            (Some("see what there is: windrow get versions PIPELINE"), vec![pipeline(name), version(shown)])
        }
        BadRollback::Gone { pipeline: name, version: to, .. } => (
            Some(
                "see what there is: windrow get versions PIPELINE; keep more of it with `expose: { keep_versions: N }` in the sink",
            ),
            vec![pipeline(name), version(to)],
        ),
    };
    status_about(Code::FailedPrecondition, code, text, About { fix, facts, ..About::default() })
}
