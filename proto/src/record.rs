//! The ledger's records between their stored form and the words of `windrow-common`.

use std::collections::BTreeMap;

use prost::Message;
use windrow_common::{
    id::PipelineName,
    intent::IntentRef,
    task::{Lane, Outage, Part, Seams, Task, TaskState},
    window::Window,
};

use crate::{
    convert::{
        Malformed, digest, digest_bytes, instant, optional_digest, optional_text, proof_in, proof_out, required,
        task_id,
    },
    v1::{self, task_record::State},
};

/// Decodes a stored record.
pub fn decode<R: Message + Default>(bytes: &[u8]) -> Result<R, Malformed> {
    R::decode(bytes).map_err(|cause| Malformed::Record(cause.to_string()))
}

impl From<&Task> for v1::TaskRecord {
    fn from(task: &Task) -> Self {
        Self {
            id: task.id.as_bytes().to_vec(),
            pipeline: task.pipeline.to_string(),
            sink: task.sink.to_string(),
            shard: task.shard,
            window: (task.shard == 0).then(|| task.window.into()),
            part: part_out(task),
            seams: seams_out(&task.seams),
            revision: task.revision,
            backfill: task.lane.backfill().map(ToString::to_string).unwrap_or_default(),
            recount: (task.lane == Lane::Recount).then(|| recount_out(task)),
            compaction: task.lane == Lane::Compact,
            comparison: task.lane == Lane::Compare,
            loaded: digest_bytes(task.loaded.as_ref()),
            declared: task.declared.as_deref().map(Into::into),
            created_us: task.created.as_microsecond(),
            attempts: task.attempts,
            errors: task.errors,
            lost_leases: task.lost_leases,
            outage: task.outage.since.map(|since| v1::TaskOutage {
                since_us: since.as_microsecond(),
                lasted_ms: task.outage.lasted_ms,
                attempts: task.outage.attempts,
                broken_hops: task.outage.broken_hops,
            }),
            trace: task.trace.clone().unwrap_or_default(),
            state: Some(state_out(&task.state)),
        }
    }
}

fn recount_out(task: &Task) -> v1::TaskRecount {
    let (proof, window_proofs) = proof_out(task.proof.as_ref());
    v1::TaskRecount { proof, window_proofs }
}

impl TryFrom<v1::TaskRecord> for Task {
    type Error = Malformed;

    fn try_from(record: v1::TaskRecord) -> Result<Self, Malformed> {
        let id = task_id(&record.id)?;
        let (window, part) = part_in(record.shard, record.window, record.part)?;
        Ok(Self {
            id,
            pipeline: record.pipeline.parse::<PipelineName>()?,
            sink: record.sink.parse()?,
            shard: record.shard,
            part,
            window,
            seams: seams_in(record.seams, &window)?,
            revision: record.revision,
            lane: match (&record.recount, optional_text(record.backfill)) {
                (Some(_), _) => Lane::Recount,
                (None, None) if record.compaction => Lane::Compact,
                (None, None) if record.comparison => Lane::Compare,
                (None, None) => Lane::Live,
                (None, Some(id)) => Lane::Backfill(id.parse()?),
            },
            proof: record.recount.map_or(Ok(None), |recount| proof_in(&recount.proof, &recount.window_proofs))?,
            loaded: optional_digest(&record.loaded)?,
            declared: record.declared.map(TryInto::try_into).transpose()?.map(Box::new),
            created: instant(record.created_us)?,
            attempts: record.attempts,
            errors: record.errors,
            lost_leases: record.lost_leases,
            outage: record.outage.map(outage_in).transpose()?.unwrap_or_default(),
            trace: optional_text(record.trace),
            state: state_in(required(record.state, "state")?)?,
        })
    }
}

fn part_out(task: &Task) -> Option<v1::TaskPart> {
    let part = task.part.as_ref()?;
    Some(v1::TaskPart { of: part.of, what: part.what.clone(), window: (task.shard > 0).then(|| task.window.into()) })
}

fn part_in(
    shard: u32,
    window: Option<v1::Window>,
    part: Option<v1::TaskPart>,
) -> Result<(Window, Option<Part>), Malformed> {
    let within = part.as_ref().and_then(|part| part.window);
    let window = if shard == 0 { window } else { within };
    let part = part.map(|part| Part { of: part.of, what: part.what });
    match shard > 0 && part.as_ref().is_none_or(|part| part.of <= shard) {
        true => Err(Malformed::Unknown("shard")),
        false => Ok((required(window, "window")?.try_into()?, part)),
    }
}

fn outage_in(outage: v1::TaskOutage) -> Result<Outage, Malformed> {
    let v1::TaskOutage { since_us, attempts, broken_hops, lasted_ms } = outage;
    Ok(Outage { since: Some(instant(since_us)?), lasted_ms, attempts, broken_hops })
}

fn seams_out(seams: &Seams) -> Option<v1::Seams> {
    match seams {
        Seams::None => None,
        Seams::Every(every) => Some(v1::Seams { every: *every, at: Vec::new() }),
        Seams::At(at) => Some(v1::Seams { every: 0, at: at.clone() }),
    }
}

/// Seams that do not lie between the window's bounds, one behind the other, would make other windows than were planned.
fn seams_in(seams: Option<v1::Seams>, window: &Window) -> Result<Seams, Malformed> {
    let Some(seams) = seams else { return Ok(Seams::None) };
    if seams.every > 0 {
        return Ok(Seams::Every(seams.every));
    }
    let inside = seams.at.iter().all(|at| window.start() < *at && *at < window.end());
    let ascending = seams.at.windows(2).all(|pair| pair[0] < pair[1]);
    if inside && ascending { Ok(Seams::At(seams.at)) } else { Err(Malformed::Seams) }
}

fn state_out(state: &TaskState) -> State {
    match state {
        TaskState::Waiting { until, reason } => {
            State::Waiting(v1::TaskWaiting { until_us: until.as_microsecond(), reason: reason.clone() })
        }
        TaskState::Pending { not_before, last_failure } => State::Pending(v1::TaskPending {
            not_before_us: not_before.as_microsecond(),
            last_failure: last_failure.as_ref().map(Into::into),
        }),
        TaskState::Claimed { worker, since } => {
            State::Claimed(v1::TaskClaimed { worker: worker.to_string(), since_us: since.as_microsecond() })
        }
        TaskState::Sealed { worker, token, manifest, since } => State::Sealed(v1::TaskSealed {
            worker: worker.to_string(),
            token: Some((*token).into()),
            manifest: Some(manifest.into()),
            since_us: since.as_microsecond(),
        }),
        TaskState::Quarantined { failure } => State::Quarantined(v1::TaskQuarantined { failure: Some(failure.into()) }),
        TaskState::Cancelled => State::Cancelled(v1::TaskCancelled {}),
    }
}

fn state_in(state: State) -> Result<TaskState, Malformed> {
    Ok(match state {
        State::Waiting(waiting) => TaskState::Waiting { until: instant(waiting.until_us)?, reason: waiting.reason },
        State::Pending(pending) => TaskState::Pending {
            not_before: instant(pending.not_before_us)?,
            last_failure: pending.last_failure.map(TryInto::try_into).transpose()?,
        },
        State::Claimed(claimed) => {
            TaskState::Claimed { worker: claimed.worker.parse()?, since: instant(claimed.since_us)? }
        }
        State::Sealed(sealed) => TaskState::Sealed {
            worker: sealed.worker.parse()?,
            token: required(sealed.token, "token")?.into(),
            manifest: required(sealed.manifest, "manifest")?.try_into()?,
            since: instant(sealed.since_us)?,
        },
        State::Quarantined(quarantined) => {
            TaskState::Quarantined { failure: required(quarantined.failure, "failure")?.try_into()? }
        }
        State::Cancelled(_) => TaskState::Cancelled,
    })
}

impl From<&IntentRef> for v1::IntentRecord {
    fn from(intent: &IntentRef) -> Self {
        let tasks = intent.tasks.iter();
        Self {
            seq: intent.seq,
            previous: digest_bytes(intent.previous.as_ref()),
            path: intent.path.clone(),
            digest: intent.digest.0.to_vec(),
            tasks: tasks
                .map(|(task, sealed)| v1::IntentTaskRecord {
                    task: task.as_bytes().to_vec(),
                    sealed: *sealed,
                    files: intent.files.get(task).copied(),
                })
                .collect(),
            counts: Some(intent.counts.into()),
        }
    }
}

impl TryFrom<v1::IntentRecord> for IntentRef {
    type Error = Malformed;

    fn try_from(record: v1::IntentRecord) -> Result<Self, Malformed> {
        let (mut tasks, mut files) = (Vec::with_capacity(record.tasks.len()), BTreeMap::new());
        for entry in record.tasks {
            let task = task_id(&entry.task)?;
            tasks.push((task, entry.sealed));
            files.extend(entry.files.map(|count| (task, count)));
        }
        Ok(Self {
            seq: record.seq,
            previous: optional_digest(&record.previous)?,
            path: record.path,
            digest: digest(&record.digest)?,
            tasks,
            counts: record.counts.unwrap_or_default().into(),
            files,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use std::time::Duration;

    use windrow_common::{
        claim::Token,
        closed::Declared,
        id::TaskId,
        manifest::{Counts, Digest, ManifestRef, Proof},
        task::{Failure, Retry},
        window::Axis,
    };

    use super::*;

    fn task(state: TaskState, seams: Seams, lane: Lane) -> Task {
        let window = Window::new(Axis::Time, -5, 1 << 50).unwrap();
        let pipeline: PipelineName = "flights".parse().unwrap();
        Task {
            id: TaskId::of(&pipeline, 3, &window, 2),
            pipeline,
            sink: "lake".parse().unwrap(),
            shard: 3,
            part: Some(Part { of: 4, what: "the last quarter".to_owned() }),
            window,
            seams,
            revision: 2,
            lane,
            created: Timestamp::from_microsecond(1_234_567).unwrap(),
            attempts: 4,
            errors: 3,
            lost_leases: 1,
            proof: None,
            loaded: None,
            declared: None,
            outage: Outage {
                since: Some(Timestamp::from_microsecond(77).unwrap()),
                lasted_ms: 1_500,
                attempts: 9,
                broken_hops: 2,
            },
            trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            state,
        }
    }

    #[test]
    fn every_state_of_a_task_survives_its_record() {
        let at = Timestamp::from_microsecond(99).unwrap();
        let failure = Failure {
            code: "WR-S003".to_owned(),
            message: "truncated".to_owned(),
            retry: Retry::Never,
            at,
            took: Duration::from_millis(7),
            worker: Some("w1".parse().unwrap()),
        };
        let counts = Counts {
            rows_read: 1,
            rows_written: 2,
            rows_rejected: 3,
            bytes_written: 4,
            files: 5,
            values_discarded: 6,
            rows_deleted: 7,
        };
        let manifest = ManifestRef { path: "a/b".to_owned(), sha256: Digest([9; 32]), counts, proof: None };
        let states = [
            TaskState::Waiting { until: at, reason: "no marker".to_owned() },
            TaskState::Pending { not_before: at, last_failure: Some(failure.clone()) },
            TaskState::Pending { not_before: at, last_failure: None },
            TaskState::Claimed { worker: "w1".parse().unwrap(), since: at },
            TaskState::Sealed {
                worker: "w1".parse().unwrap(),
                token: Token { epoch: 1, revision: 7 },
                manifest,
                since: at,
            },
            TaskState::Quarantined { failure },
            TaskState::Cancelled,
        ];
        let seams = [Seams::None, Seams::Every(3_600_000_000), Seams::At(vec![1, 5])];
        for state in states {
            for seams in &seams {
                let before = task(state.clone(), seams.clone(), Lane::Backfill("bf-1".parse().unwrap()));
                let bytes = v1::TaskRecord::from(&before).encode_to_vec();
                let after: Task = decode::<v1::TaskRecord>(&bytes).unwrap().try_into().unwrap();
                assert_eq!(after, before);
            }
        }
    }

    #[test]
    fn an_intent_survives_its_record() {
        let task = |number| TaskId::from_bytes([number; 16]);
        let before = IntentRef {
            seq: 3,
            previous: Some(Digest([2; 32])),
            path: "intent".to_owned(),
            digest: Digest([3; 32]),
            tasks: vec![(task(2), 20), (task(1), 10)],
            counts: Counts { files: 4, ..Counts::default() },
            files: BTreeMap::from([(task(1), 0)]),
        };
        let bytes = v1::IntentRecord::from(&before).encode_to_vec();
        let after: IntentRef = decode::<v1::IntentRecord>(&bytes).unwrap().try_into().unwrap();
        assert_eq!(after, before);
    }

    #[test]
    fn a_recount_keeps_what_it_is_held_against() {
        let waiting = TaskState::Waiting { until: Timestamp::UNIX_EPOCH, reason: "six hours".to_owned() };
        let loaded = Some(Digest([9; 32]));
        for windows in [vec![], vec![Digest([1; 32]), Digest([2; 32])]] {
            let proof = Some(Proof { whole: Digest([8; 32]), windows });
            let before = Task { proof, loaded, ..task(waiting.clone(), Seams::None, Lane::Recount) };
            let bytes = v1::TaskRecord::from(&before).encode_to_vec();
            let after: Task = decode::<v1::TaskRecord>(&bytes).unwrap().try_into().unwrap();
            assert_eq!(after, before);
        }
    }

    #[test]
    fn whoever_declared_a_window_complete_is_kept() {
        let pending = TaskState::Pending { not_before: Timestamp::UNIX_EPOCH, last_failure: None };
        let declared = Declared { by: "ann".to_owned(), reason: "no visits".to_owned(), at: Timestamp::UNIX_EPOCH };
        let before = Task { declared: Some(Box::new(declared)), ..task(pending, Seams::None, Lane::Live) };
        let bytes = v1::TaskRecord::from(&before).encode_to_vec();
        assert_eq!(Task::try_from(decode::<v1::TaskRecord>(&bytes).unwrap()).unwrap(), before);
    }

    #[test]
    fn a_task_that_rewrites_files_survives_its_record_with_the_files() {
        let group = windrow_common::compaction::GroupRef {
            sha256: Digest([7; 32]),
            files: 120,
            bytes: 1 << 30,
            makes: 4,
            window: Some(Window::version(3)),
            place: "day=2013-01-01 and 3 more".to_owned(),
            major: Some(windrow_common::compaction::Clustering {
                columns: vec!["a".to_owned(), "b".to_owned()],
                order: windrow_common::compaction::Order::Zorder,
            }),
        };
        let pending = TaskState::Pending { not_before: Timestamp::UNIX_EPOCH, last_failure: None };
        let what = serde_json::to_string(&group).unwrap();
        let before = Task {
            id: TaskId::of_group(&"lake".parse().unwrap(), &group.sha256.0),
            shard: 0,
            part: Some(Part { of: 1, what }),
            lane: Lane::Compact,
            ..task(pending, Seams::None, Lane::Live)
        };
        let bytes = v1::TaskRecord::from(&before).encode_to_vec();
        let after: Task = decode::<v1::TaskRecord>(&bytes).unwrap().try_into().unwrap();
        assert_eq!((after.group(), &after), (Some(group.clone()), &before));
        assert_eq!(task(TaskState::Cancelled, Seams::None, Lane::Live).group(), None);
        let told: windrow_common::compaction::GroupRef = v1::FileGroup::from(&group).try_into().unwrap();
        assert_eq!(told, group);
    }

    #[test]
    fn a_comparison_survives_its_record_with_what_is_accepted() {
        let pending = TaskState::Pending { not_before: Timestamp::UNIX_EPOCH, last_failure: None };
        let part = Some(Part { of: 1, what: windrow_common::deletes::ACCEPTED.to_owned() });
        let before = Task { shard: 0, part, window: Window::version(0), ..task(pending, Seams::None, Lane::Compare) };
        let bytes = v1::TaskRecord::from(&before).encode_to_vec();
        let after: Task = decode::<v1::TaskRecord>(&bytes).unwrap().try_into().unwrap();
        assert_eq!(after, before);
    }

    #[test]
    fn damaged_records_are_refused() {
        assert!(decode::<v1::TaskRecord>(&[0xff, 0xff]).is_err());
        assert!(Task::try_from(v1::TaskRecord::default()).is_err());
        let record = v1::TaskRecord { id: vec![1, 2], ..v1::TaskRecord::default() };
        assert!(matches!(Task::try_from(record), Err(Malformed::Length { .. })));
    }

    #[test]
    fn seams_that_would_make_other_windows_are_refused() {
        for at in [vec![7, 2], vec![5, 5], vec![-5, 2], vec![2, 1 << 50]] {
            let pending = TaskState::Pending { not_before: Timestamp::UNIX_EPOCH, last_failure: None };
            let record = v1::TaskRecord::from(&task(pending, Seams::At(at.clone()), Lane::Live));
            assert!(matches!(Task::try_from(record), Err(Malformed::Seams)), "{at:?}");
        }
    }
}
