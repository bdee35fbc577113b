//! The table's records between their stored form and memory.

use std::time::Duration;

use prost::Message;
use windrow_common::{intent::IntentRef, pipeline::Pipeline, task::Task};
use windrow_proto::{
    convert::{Malformed, axis, digest, digest_bytes, instant, optional_digest, optional_text, required},
    record::decode as decode_message,
    v1,
};

use crate::core::{
    backfill::{Backfill, Choice, Order, Phase},
    closed::DeclaredWindow,
    compact::Spent,
    coverage::IntervalSet,
    pins::{self, Pin},
    revised::Revisions,
    rollback::{self, Rollback},
    table::{Coverage, Cursor, Head, Key, PipelineState, Record, Recovery},
    unchanged::Loaded,
};

/// A record's stored form.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, Malformed> {
    Ok(match record {
        Record::Pipeline(state) => pipeline_out(state)?.encode_to_vec(),
        Record::Cursor(_, cursor) => v1::CursorRecord { next: cursor.next, revision: cursor.revision }.encode_to_vec(),
        Record::Coverage(_, coverage) => coverage_out(coverage).encode_to_vec(),
        Record::Task(task) => v1::TaskRecord::from(task).encode_to_vec(),
        Record::Head(_, head) => {
            let digest = digest_bytes(head.digest.as_ref());
            v1::HeadRecord { seq: head.seq, digest, aborted: head.aborted }.encode_to_vec()
        }
        Record::Intent(_, intent) => v1::IntentRecord::from(intent).encode_to_vec(),
        Record::Committer(_, worker) => v1::CommitterRecord { worker: worker.to_string() }.encode_to_vec(),
        Record::Rollback(_, rollback) => rollback_out(rollback).encode_to_vec(),
        Record::Pin(_, pin) => pin_out(pin).encode_to_vec(),
        Record::Told(_, seq) => v1::ToldRecord { seq: *seq }.encode_to_vec(),
        Record::Spent(_, spent) => spent_out(spent).encode_to_vec(),
        Record::Backfill(backfill) => backfill_out(backfill).encode_to_vec(),
        Record::Recovery(recovery) => v1::RecoveryRecord { since_us: recovery.since.as_microsecond() }.encode_to_vec(),
    })
}

/// The record `key` names, from its stored form.
pub(super) fn decode(key: Key, bytes: &[u8]) -> Result<Record, Malformed> {
    Ok(match key {
        Key::Pipeline(_) => Record::Pipeline(pipeline_in(decode_message(bytes)?)?),
        Key::Cursor(name) => {
            let record: v1::CursorRecord = decode_message(bytes)?;
            Record::Cursor(name, Cursor { next: record.next, revision: record.revision })
        }
        Key::Coverage(name) => Record::Coverage(name, coverage_in(decode_message(bytes)?)?),
        Key::Task(..) | Key::Group(..) | Key::Comparison(..) => {
            Record::Task(Task::try_from(decode_message::<v1::TaskRecord>(bytes)?)?)
        }
        Key::Head(sink) => {
            let record: v1::HeadRecord = decode_message(bytes)?;
            Record::Head(
                sink,
                Head { seq: record.seq, digest: optional_digest(&record.digest)?, aborted: record.aborted },
            )
        }
        Key::Intent(sink) => Record::Intent(sink, IntentRef::try_from(decode_message::<v1::IntentRecord>(bytes)?)?),
        Key::Committer(sink) => {
            let record: v1::CommitterRecord = decode_message(bytes)?;
            Record::Committer(sink, record.worker.parse()?)
        }
        Key::Rollback(sink) => Record::Rollback(sink, rollback_in(decode_message(bytes)?)?),
        Key::Pin(sink, _) => Record::Pin(sink, pin_in(decode_message(bytes)?)?),
        Key::Told(sink) => Record::Told(sink, decode_message::<v1::ToldRecord>(bytes)?.seq),
        Key::Spent(sink) => Record::Spent(sink, spent_in(&decode_message(bytes)?)),
        Key::Backfill(_) => Record::Backfill(backfill_in(decode_message(bytes)?)?),
        Key::Recovery => {
            let record: v1::RecoveryRecord = decode_message(bytes)?;
            Record::Recovery(Recovery { since: instant(record.since_us)? })
        }
    })
}

fn pipeline_out(state: &PipelineState) -> Result<v1::PipelineRecord, Malformed> {
    Ok(v1::PipelineRecord {
        name: state.pipeline.name.to_string(),
        spec: serde_json::to_vec(&state.pipeline).map_err(|cause| Malformed::Record(cause.to_string()))?,
        paused: state.paused.is_some(),
        paused_note: state.paused.clone().unwrap_or_default(),
    })
}

fn pipeline_in(record: v1::PipelineRecord) -> Result<PipelineState, Malformed> {
    let pipeline: Pipeline =
        serde_json::from_slice(&record.spec).map_err(|cause| Malformed::Record(cause.to_string()))?;
    Ok(PipelineState { pipeline, paused: record.paused.then_some(record.paused_note) })
}

fn intervals_out(set: &IntervalSet) -> Vec<v1::Interval> {
    set.iter().map(|(start, end)| v1::Interval { start, end }).collect()
}

fn intervals_in(intervals: &[v1::Interval]) -> IntervalSet {
    intervals.iter().map(|interval| (interval.start, interval.end)).collect()
}

fn coverage_out(coverage: &Coverage) -> v1::CoverageRecord {
    v1::CoverageRecord {
        axis: v1::Axis::from(coverage.axis).into(),
        intervals: intervals_out(&coverage.published),
        published: Some(coverage.totals.into()),
        loaded: coverage.loaded.map(|loaded| v1::LoadedState {
            proof: loaded.proof.0.to_vec(),
            seq: loaded.seq,
            rows: loaded.rows,
        }),
        unchanged: intervals_out(&coverage.unchanged),
        revisions: coverage.revisions.as_ref().map(|noted| v1::Revisions {
            stretches: noted.iter().map(|(start, end, revision)| v1::RevisedStretch { start, end, revision }).collect(),
        }),
        declared: coverage.declared.iter().map(declared_out).collect(),
    }
}

/// A window that was declared complete, for the ledger and for whoever asks.
pub fn declared_out(found: &DeclaredWindow) -> v1::DeclaredWindow {
    v1::DeclaredWindow { window: Some(found.window.into()), declared: Some((&found.declared).into()) }
}

fn declared_in(found: v1::DeclaredWindow) -> Result<DeclaredWindow, Malformed> {
    Ok(DeclaredWindow {
        window: required(found.window, "window")?.try_into()?,
        declared: required(found.declared, "declared")?.try_into()?,
    })
}

fn revisions_in(noted: v1::Revisions) -> Revisions {
    noted.stretches.into_iter().map(|stretch| (stretch.start, stretch.end, stretch.revision)).collect()
}

fn loaded_in(loaded: v1::LoadedState) -> Result<Loaded, Malformed> {
    Ok(Loaded { proof: digest(&loaded.proof)?, seq: loaded.seq, rows: loaded.rows })
}

fn coverage_in(record: v1::CoverageRecord) -> Result<Coverage, Malformed> {
    Ok(Coverage {
        axis: axis(record.axis)?,
        published: intervals_in(&record.intervals),
        totals: record.published.unwrap_or_default().into(),
        loaded: record.loaded.map(loaded_in).transpose()?,
        unchanged: intervals_in(&record.unchanged),
        revisions: record.revisions.map(revisions_in),
        declared: record.declared.into_iter().map(declared_in).collect::<Result<_, _>>()?,
    })
}

fn backfill_out(backfill: &Backfill) -> v1::BackfillRecord {
    v1::BackfillRecord {
        id: backfill.id.to_string(),
        request_id: backfill.request_id.clone(),
        pipeline: backfill.pipeline.to_string(),
        range: Some(backfill.range.into()),
        choice: choice_out(backfill.choice).into(),
        order: order_out(backfill.order).into(),
        concurrency: backfill.concurrency,
        state: phase_out(backfill.phase).into(),
        revision: backfill.revision,
        todo: intervals_out(&backfill.todo),
        windows: backfill.windows,
        published: backfill.published,
        failed: backfill.failed,
        trace: backfill.trace.clone().unwrap_or_default(),
        created_us: backfill.created.as_microsecond(),
        settled_us: backfill.settled.map(|at| at.as_microsecond()).unwrap_or_default(),
        accept: backfill.accept,
    }
}

fn backfill_in(record: v1::BackfillRecord) -> Result<Backfill, Malformed> {
    Ok(Backfill {
        id: record.id.parse()?,
        request_id: record.request_id,
        pipeline: record.pipeline.parse()?,
        range: required(record.range, "range")?.try_into()?,
        choice: choice_in(record.choice)?,
        order: order_in(record.order)?,
        concurrency: record.concurrency,
        phase: phase_in(record.state)?,
        revision: record.revision,
        todo: intervals_in(&record.todo),
        windows: record.windows,
        published: record.published,
        failed: record.failed,
        trace: optional_text(record.trace),
        created: instant(record.created_us)?,
        settled: if record.settled_us == 0 { None } else { Some(instant(record.settled_us)?) },
        accept: record.accept,
    })
}

fn rollback_out(found: &Rollback) -> v1::RollbackRecord {
    use v1::rollback_record::State;
    v1::RollbackRecord {
        request_id: found.request_id.clone(),
        pipeline: found.pipeline.to_string(),
        to: found.to,
        shown: found.shown,
        created_us: found.created.as_microsecond(),
        trace: found.trace.clone().unwrap_or_default(),
        refused: found.refused,
        earlier: found.earlier.clone(),
        state: Some(match &found.phase {
            rollback::Phase::Asked => State::Asked(v1::RollbackAsked {}),
            rollback::Phase::Intended { seq } => State::Intended(v1::RollbackIntended { seq: *seq }),
            rollback::Phase::Done { seq } => State::Done(v1::RollbackDone { seq: *seq }),
            rollback::Phase::Failed { failure } => State::Failed(failure.into()),
        }),
    }
}

fn rollback_in(record: v1::RollbackRecord) -> Result<Rollback, Malformed> {
    use v1::rollback_record::State;
    Ok(Rollback {
        request_id: record.request_id,
        pipeline: record.pipeline.parse()?,
        to: record.to,
        shown: record.shown,
        created: instant(record.created_us)?,
        trace: optional_text(record.trace),
        refused: record.refused,
        earlier: record.earlier,
        phase: match required(record.state, "state")? {
            State::Asked(_) => rollback::Phase::Asked,
            State::Intended(intended) => rollback::Phase::Intended { seq: intended.seq },
            State::Done(done) => rollback::Phase::Done { seq: done.seq },
            State::Failed(failure) => rollback::Phase::Failed { failure: failure.try_into()? },
        },
    })
}

fn pin_out(pin: &Pin) -> v1::PinRecord {
    use v1::pin_record::State;
    v1::PinRecord {
        id: pin.id.to_string(),
        request_id: pin.request_id.clone(),
        pipeline: pin.pipeline.to_string(),
        wanted: Some(pin.wanted.into()),
        reason: pin.reason.clone(),
        until_us: pin.until.as_microsecond(),
        created_us: pin.created.as_microsecond(),
        state: Some(match pin.phase {
            pins::Phase::Asked => State::Asked(v1::PinAsked {}),
            pins::Phase::Held { version, files, bytes } => {
                State::Held(v1::PinHeld { version: Some(version.into()), files, bytes })
            }
        }),
    }
}

fn pin_in(record: v1::PinRecord) -> Result<Pin, Malformed> {
    use v1::pin_record::State;
    Ok(Pin {
        id: record.id.parse()?,
        request_id: record.request_id,
        pipeline: record.pipeline.parse()?,
        wanted: required(record.wanted, "wanted")?.try_into()?,
        reason: record.reason,
        until: instant(record.until_us)?,
        created: instant(record.created_us)?,
        phase: match required(record.state, "state")? {
            State::Asked(_) => pins::Phase::Asked,
            State::Held(held) => pins::Phase::Held {
                version: required(held.version, "version")?.try_into()?,
                files: held.files,
                bytes: held.bytes,
            },
        },
    })
}

fn spent_out(spent: &Spent) -> v1::SpentRecord {
    let time_ms = u64::try_from(spent.time.as_millis()).unwrap_or(u64::MAX);
    v1::SpentRecord { day: spent.day, bytes: spent.bytes, time_ms }
}

fn spent_in(record: &v1::SpentRecord) -> Spent {
    Spent { day: record.day, bytes: record.bytes, time: Duration::from_millis(record.time_ms) }
}

pub fn choice_out(choice: Choice) -> v1::BackfillChoice {
    match choice {
        Choice::Missing => v1::BackfillChoice::Missing,
        Choice::MissingAndFailed => v1::BackfillChoice::MissingFailed,
        Choice::All => v1::BackfillChoice::All,
    }
}

pub fn choice_in(choice: i32) -> Result<Choice, Malformed> {
    match v1::BackfillChoice::try_from(choice) {
        Ok(v1::BackfillChoice::Missing) => Ok(Choice::Missing),
        Ok(v1::BackfillChoice::MissingFailed) => Ok(Choice::MissingAndFailed),
        Ok(v1::BackfillChoice::All) => Ok(Choice::All),
        _ => Err(Malformed::Unknown("choice")),
    }
}

pub fn order_out(order: Order) -> v1::BackfillOrder {
    match order {
        Order::OldestFirst => v1::BackfillOrder::OldestFirst,
        Order::NewestFirst => v1::BackfillOrder::NewestFirst,
    }
}

pub fn order_in(order: i32) -> Result<Order, Malformed> {
    match v1::BackfillOrder::try_from(order) {
        Ok(v1::BackfillOrder::OldestFirst) => Ok(Order::OldestFirst),
        Ok(v1::BackfillOrder::NewestFirst) => Ok(Order::NewestFirst),
        _ => Err(Malformed::Unknown("order")),
    }
}

pub fn phase_out(phase: Phase) -> v1::BackfillState {
    match phase {
        Phase::Running => v1::BackfillState::Running,
        Phase::Paused => v1::BackfillState::Paused,
        Phase::Cancelled => v1::BackfillState::Cancelled,
        Phase::Succeeded => v1::BackfillState::Succeeded,
        Phase::Failed => v1::BackfillState::Failed,
    }
}

pub fn phase_in(state: i32) -> Result<Phase, Malformed> {
    match v1::BackfillState::try_from(state) {
        Ok(v1::BackfillState::Running) => Ok(Phase::Running),
        Ok(v1::BackfillState::Paused) => Ok(Phase::Paused),
        Ok(v1::BackfillState::Cancelled) => Ok(Phase::Cancelled),
        Ok(v1::BackfillState::Succeeded) => Ok(Phase::Succeeded),
        Ok(v1::BackfillState::Failed) => Ok(Phase::Failed),
        _ => Err(Malformed::Unknown("state")),
    }
}
