//! What readers get to see, in the words of the API.

use std::collections::BTreeSet;

use windrow_common::{
    id::SinkId,
    pipeline::Pipeline,
    task::{Lane, Task, TaskPhase, TaskState},
};
use windrow_proto::v1;

use crate::{
    controller::View,
    core::{
        assign,
        backfill::{Backfill, Preview},
        commit::Trouble,
        compare,
        gather::Gathering,
        pins::{self, Pin},
        report::{self, WindowReport},
        rollback::{Phase, Rollback},
        table::{PipelineEntry, Versioned},
        timeline::Standing,
        upstream,
        workers::WorkerState,
    },
    ledger::{choice_out, order_out, phase_out},
};

pub(super) fn pipeline(view: &View<'_>, entry: &PipelineEntry) -> v1::Pipeline {
    let found = report::pipeline(view.table, entry, view.when.now);
    let spec: &Pipeline = entry.spec();
    let tasks = view.table.tasks_of(&spec.name);
    let sink = view.table.sink(&entry.sink);
    v1::Pipeline {
        name: spec.name.to_string(),
        spec: serde_json::to_vec(spec).unwrap_or_default(),
        paused: entry.state.value.paused.is_some(),
        sink: entry.sink.to_string(),
        published: found.published,
        waiting: found.waiting,
        pending: found.pending,
        claimed: found.claimed,
        sealed: found.sealed,
        quarantined: found.quarantined,
        unplanned: found.unplanned,
        untold: found.untold.unwrap_or_default(),
        totals: Some(entry.coverage.value.totals.into()),
        rows_running: tasks.filter_map(|task| view.progress.get(&task.value.id)).map(|done| done.rows_read).sum(),
        last_failure: found.last_failure.as_ref().map(Into::into),
        next_due_us: found.next_due.map(|at| at.as_microsecond()).unwrap_or_default(),
        complete_to: found.complete_to.unwrap_or_default(),
        seq: sink.and_then(|sink| sink.head.as_ref()).map(|head| head.value.seq).unwrap_or_default(),
        held_up: found.held_up,
        working: found.working,
        trouble: trouble(view, &entry.sink).as_ref().map(trouble_out),
        unchanged: found.unchanged,
        recounts: found.recounts,
        recounts_due: found.recounts_due,
        comparison: found.comparison.as_ref().map(comparison),
        held: found.held,
    }
}

fn comparison(found: &compare::Standing) -> v1::Comparison {
    v1::Comparison {
        next_us: found.next.map(|at| at.as_microsecond()).unwrap_or_default(),
        due: found.due,
        working: found.working,
        given_up: found.given_up.as_ref().map(Into::into),
    }
}

/// Why nothing is committed to a sink that has something to commit.
fn trouble(view: &View<'_>, sink: &SinkId) -> Option<Trouble> {
    let comparison = || view.table.sealed_comparisons(sink).next();
    let waits = view.table.sealed(sink).next().or_else(comparison).is_some();
    view.sinks.get(sink).filter(|_| waits)?.trouble(view.when.elapsed)
}

/// What of its pipeline a sealed task waits with, if it waits for more.
fn gathering(view: &View<'_>, task: &Task) -> Option<Gathering> {
    view.table.pipeline(&task.pipeline)?.spec().sink.gather?;
    let intent = view.table.sink(&task.sink).and_then(|sink| sink.intent.as_ref());
    let goes = intent.is_some_and(|intent| intent.value.tasks.iter().any(|(named, _)| *named == task.id));
    if goes || matches!(task.lane, Lane::Compact | Lane::Compare) {
        return None;
    }
    view.gathering(&task.sink).get(&task.pipeline).copied()
}

fn trouble_out(trouble: &Trouble) -> v1::SinkTrouble {
    v1::SinkTrouble {
        failure: Some((&trouble.failure).into()),
        halted: trouble.halted,
        failures: trouble.failures,
        retry_in_ms: i64::try_from(trouble.retry_in.as_millis()).unwrap_or(i64::MAX),
    }
}

pub(super) fn recovery(view: &View<'_>) -> v1::GetRecoveryResponse {
    let under_way = view.table.recovery().map(|recovery| recovery.value);
    let sinks: BTreeSet<&SinkId> = match under_way {
        Some(_) => view.table.pipelines().map(|(_, entry)| &entry.sink).collect(),
        None => BTreeSet::new(),
    };
    let sinks = sinks.into_iter().map(|sink| {
        let head = view.table.sink(sink).and_then(|entry| entry.head.as_ref());
        v1::RecoveringSink {
            sink: sink.to_string(),
            seq: head.map(|head| head.value.seq).unwrap_or_default(),
            done: view.recovering.is_done(sink),
            stuck: view.recovering.stuck(sink).unwrap_or_default().to_owned(),
        }
    });
    v1::GetRecoveryResponse {
        active: under_way.is_some(),
        since_us: under_way.map(|recovery| recovery.since.as_microsecond()).unwrap_or_default(),
        epoch: view.epoch,
        sinks: sinks.collect(),
    }
}

pub(super) fn task(view: &View<'_>, entry: &Versioned<Task>) -> v1::Task {
    let task = &entry.value;
    let mut out = v1::Task {
        id: task.id.as_bytes().to_vec(),
        pipeline: task.pipeline.to_string(),
        window: Some(task.window.into()),
        windows: u32::try_from(task.windows()).unwrap_or(u32::MAX),
        state: task.state.phase().to_string(),
        attempts: task.attempts,
        errors: task.errors,
        lost_leases: task.lost_leases,
        backfill: task.lane.backfill().map(ToString::to_string).unwrap_or_default(),
        revision: task.revision,
        shard: task.shard,
        recount: task.lane == Lane::Recount,
        comparison: task.lane == Lane::Compare,
        group: task.group().as_ref().map(Into::into),
        sink: task.sink.to_string(),
        failure: report::failure(task).map(Into::into),
        outage_attempts: task.outage.attempts,
        outage_since_us: task.outage.since.map(|since| since.as_microsecond()).unwrap_or_default(),
        ..v1::Task::default()
    };
    match &task.state {
        TaskState::Waiting { until, reason } => {
            out.not_before_us = until.as_microsecond();
            out.waiting_for = reason.clone();
            out.obstacles = assign::obstacles(view.table, view.workers, task, view.when.now);
        }
        TaskState::Pending { not_before, .. } => {
            if let Some(reason) = upstream::lacks(view.table, task, view.when.now) {
                (out.state, out.waiting_for) = (TaskPhase::Waiting.to_string(), reason);
            }
            out.not_before_us = not_before.as_microsecond();
            out.obstacles = assign::obstacles(view.table, view.workers, task, view.when.now);
        }
        TaskState::Claimed { worker, since } => {
            out.worker = worker.to_string();
            out.since_us = since.as_microsecond();
            out.token = Some(v1::Token { epoch: view.epoch, revision: entry.revision });
        }
        TaskState::Sealed { worker, token, since, .. } => {
            out.worker = worker.to_string();
            out.token = Some((*token).into());
            out.since_us = since.as_microsecond();
            let trouble = trouble(view, &task.sink).as_ref().map(Trouble::in_words);
            let gathers = || gathering(view, task).as_ref().map(Gathering::in_words);
            out.obstacles = trouble.or_else(gathers).into_iter().collect();
        }
        TaskState::Quarantined { .. } | TaskState::Cancelled => {}
    }
    out
}

pub(super) fn window(view: &View<'_>, found: &WindowReport<'_>) -> v1::WindowStatus {
    // What waits for another pipeline waits, although nobody has to ask for it.
    let standing = match (found.standing, found.task) {
        (Standing::Open(id, TaskPhase::Pending), Some(task))
            if upstream::lacks(view.table, &task.value, view.when.now).is_some() =>
        {
            Standing::Open(id, TaskPhase::Waiting)
        }
        (standing, _) => standing,
    };
    v1::WindowStatus {
        window: Some(found.window.into()),
        state: window_state(standing).into(),
        task: found.task.map(|entry| task(view, entry)),
        due_us: found.due.map(|at| at.as_microsecond()).unwrap_or_default(),
        unchanged: found.unchanged,
        recount_us: found.recount.map(|at| at.as_microsecond()).unwrap_or_default(),
        revision: found.revision,
        held: found.held.map(Into::into),
        declared: found.declared.map(Into::into),
    }
}

fn window_state(standing: Standing) -> v1::WindowState {
    match standing {
        Standing::NotClosed => v1::WindowState::Open,
        Standing::Published => v1::WindowState::Published,
        Standing::Unplanned => v1::WindowState::Due,
        Standing::Missing => v1::WindowState::Missing,
        Standing::Queued => v1::WindowState::Pending,
        Standing::Quarantined(_) => v1::WindowState::Quarantined,
        Standing::Open(_, phase) => match phase {
            TaskPhase::Waiting => v1::WindowState::Waiting,
            TaskPhase::Pending | TaskPhase::Cancelled => v1::WindowState::Pending,
            TaskPhase::Claimed => v1::WindowState::Claimed,
            TaskPhase::Sealed => v1::WindowState::Sealed,
            TaskPhase::Quarantined => v1::WindowState::Quarantined,
        },
    }
}

pub(super) fn preview(found: &Preview) -> v1::PlannedWindow {
    let why = match (found.standing, found.will_run) {
        (Standing::Missing, _) => "never published".to_owned(),
        (Standing::Quarantined(_), true) => "failed before".to_owned(),
        (Standing::Quarantined(_), false) => "failed before; choose missing+failed to run it".to_owned(),
        (Standing::Published, true) => "published; will be replaced".to_owned(),
        (Standing::Published, false) => "published".to_owned(),
        (Standing::Open(_, phase), _) => format!("{phase} already"),
        (Standing::Queued, _) => "another backfill is about to run it".to_owned(),
        (Standing::Unplanned, true) => "the next version".to_owned(),
        (Standing::Unplanned, false) => "due; runs by itself".to_owned(),
        (Standing::NotClosed, _) => "not closed yet".to_owned(),
    };
    v1::PlannedWindow {
        window: Some(found.window.into()),
        state: window_state(found.standing).into(),
        will_run: found.will_run,
        why,
    }
}

pub(super) fn backfill(view: &View<'_>, found: &Backfill) -> v1::Backfill {
    let (running, retrying) = report::running(view.table, found);
    let (_, failed) = crate::core::backfill::open_and_failed(view.table, found);
    v1::Backfill {
        id: found.id.to_string(),
        spec: Some(v1::BackfillSpec {
            pipeline: found.pipeline.to_string(),
            range: Some(found.range.into()),
            choice: choice_out(found.choice).into(),
            order: order_out(found.order).into(),
            concurrency: found.concurrency,
            force: false,
            accept: found.accept,
        }),
        state: phase_out(found.phase).into(),
        windows: found.windows,
        published: found.published,
        failed: if found.settled.is_some() { found.failed } else { failed },
        running,
        retrying,
        created_us: found.created.as_microsecond(),
        settled_us: found.settled.map(|at| at.as_microsecond()).unwrap_or_default(),
        trace: found.trace.clone().unwrap_or_default(),
        last_failure: report::backfill_failure(view.table, found).as_ref().map(Into::into),
    }
}

/// Why it failed, or what keeps it.
pub(super) fn rollback(view: &View<'_>, found: &Rollback) -> v1::Rollback {
    let trouble = || {
        let sink = &view.table.pipeline(&found.pipeline)?.sink;
        view.sinks.get(sink)?.trouble(view.when.elapsed).map(|trouble| trouble.failure)
    };
    let (state, seq, failure) = match &found.phase {
        Phase::Asked => (v1::RollbackState::Asked, 0, trouble()),
        Phase::Intended { seq } => (v1::RollbackState::Committing, *seq, trouble()),
        Phase::Done { seq } => (v1::RollbackState::Done, *seq, None),
        Phase::Failed { failure } => (v1::RollbackState::Failed, 0, Some(failure.clone())),
    };
    v1::Rollback {
        request_id: found.request_id.clone(),
        pipeline: found.pipeline.to_string(),
        to: found.to,
        shown: found.shown,
        state: state.into(),
        seq,
        failure: failure.as_ref().map(Into::into),
        created_us: found.created.as_microsecond(),
        trace: found.trace.clone().unwrap_or_default(),
    }
}

pub(super) fn pin(sink: &SinkId, pin: &Pin) -> v1::Pin {
    let (version, files, bytes) = match pin.phase {
        pins::Phase::Asked => (None, 0, 0),
        pins::Phase::Held { version, files, bytes } => (Some(version.into()), files, bytes),
    };
    v1::Pin {
        id: pin.id.to_string(),
        pipeline: pin.pipeline.to_string(),
        sink: sink.to_string(),
        held: version.is_some(),
        version,
        reason: pin.reason.clone(),
        until_us: pin.until.as_microsecond(),
        created_us: pin.created.as_microsecond(),
        files,
        bytes,
    }
}

pub(super) fn worker(view: &View<'_>, state: &WorkerState) -> v1::Worker {
    let commits = view
        .table
        .sinks()
        .filter(|(_, entry)| entry.committer.as_ref().is_some_and(|committer| committer.value == state.info.id));
    let ago = view.when.elapsed.saturating_sub(state.heard).as_millis();
    v1::Worker {
        id: state.info.id.to_string(),
        roles: state.info.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        slots: state.info.slots,
        claims: u32::try_from(state.claims.len()).unwrap_or(u32::MAX),
        heard_ms_ago: i64::try_from(ago).unwrap_or(i64::MAX),
        version: state.info.version.clone(),
        flight_endpoint: state.info.flight_endpoint.clone(),
        sinks: commits.map(|(sink, _)| sink.to_string()).collect(),
    }
}
