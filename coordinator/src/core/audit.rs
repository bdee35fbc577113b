//! What a change must not break, looked at before it is written. It costs a few comparisons, so the leader does it always:
//! a violation is a mistake of ours, and whoever runs windrow is to hear of it where it happened.

use windrow_common::{
    claim::Token,
    invariant::{self, Link, Violation},
    task::{Task, TaskState},
};

use super::{
    rollback::Phase,
    table::{Change, Coverage, Key, PipelineEntry, Record, SinkEntry, Table, Versioned},
};

/// The first invariant the change breaks on this table, if it breaks one.
pub fn audit(table: &Table, epoch: i64, change: &Change) -> Result<(), Violation> {
    let nothing = SinkEntry::default();
    change.put.iter().try_for_each(|record| match record {
        Record::Task(task) => audit_task(table, epoch, task),
        Record::Intent(sink, intent) => {
            let entry = table.sink(sink).unwrap_or(&nothing);
            if let Some(before) = &entry.intent {
                invariant::intent_is_immutable(&before.value, intent)?;
            }
            follows_head(entry, &Link { seq: intent.seq, digest: intent.digest, previous: intent.previous })
        }
        // A ledger that is made good follows the sink, one commit after the other.
        Record::Head(sink, head) if table.recovery().is_some() => {
            let entry = table.sink(sink).unwrap_or(&nothing);
            let before = entry.head.as_ref().map_or(0, |head| head.value.seq);
            match head.seq == before + 1 {
                true => Ok(()),
                false => {
                    let message = format!("commit {} of {sink} is taken over after commit {before}", head.seq);
                    Err(Violation { id: "INV-4", message })
                }
            }
        }
        // What is published is the intent, all of it and nothing else.
        Record::Head(sink, head) => {
            let entry = table.sink(sink).unwrap_or(&nothing);
            let intent = entry.intent.as_ref().map(|intent| &intent.value);
            match intent.filter(|intent| (intent.seq, Some(intent.digest)) == (head.seq, head.digest)) {
                Some(intent) => {
                    follows_head(entry, &Link { seq: intent.seq, digest: intent.digest, previous: intent.previous })
                }
                None => {
                    let message = format!("seq {} of {sink} is published and is not the recorded intent", head.seq);
                    Err(Violation { id: "INV-7", message })
                }
            }
        }
        // A rollback is of the intent that is recorded with it, and done with the head that moves onto that.
        Record::Rollback(sink, found) => {
            let seq = match found.phase {
                Phase::Intended { seq } | Phase::Done { seq } => seq,
                Phase::Asked | Phase::Failed { .. } => return Ok(()),
            };
            let of_intent =
                |record: &Record| matches!(record, Record::Intent(of, intent) if of == sink && intent.seq == seq);
            let of_head = |record: &Record| matches!(record, Record::Head(of, head) if of == sink && head.seq == seq);
            let fits = match found.phase {
                Phase::Intended { .. } => change.put.iter().any(of_intent),
                _ => change.put.iter().any(of_head),
            };
            let message = || format!("a rollback of {sink} is said to be commit {seq}, which is another change");
            if fits { Ok(()) } else { Err(Violation { id: "INV-6", message: message() }) }
        }
        Record::Coverage(name, coverage) => match table.pipeline(name) {
            Some(entry) => unchanged_is_held(entry, change, coverage),
            None => Ok(()),
        },
        _ => Ok(()),
    })
}

/// A version is unchanged beside the head that readers see, and while no other intent is about to move it.
fn unchanged_is_held(entry: &PipelineEntry, change: &Change, coverage: &Coverage) -> Result<(), Violation> {
    let known = &entry.coverage.value.unchanged;
    let grows = coverage.unchanged.iter().any(|(start, end)| !known.covers(start, end));
    let head = Key::Head(entry.sink.clone());
    let held = change.expect.contains(&(Key::Intent(entry.sink.clone()), None))
        && change.expect.iter().any(|(key, revision)| *key == head && revision.is_some());
    match grows && !held {
        true => {
            let message = format!("a version of {} is unchanged whatever {} shows", entry.spec().name, entry.sink);
            Err(Violation { id: "INV-6", message })
        }
        false => Ok(()),
    }
}

fn follows_head(entry: &SinkEntry, commit: &Link) -> Result<(), Violation> {
    let head = entry.head.as_ref().and_then(|head| Some((head.value.seq, head.value.digest?)));
    let before = head.map(|(seq, digest)| Link { seq, digest, previous: None });
    invariant::commit_follows(before.as_ref(), commit)
}

fn audit_task(table: &Table, epoch: i64, task: &Task) -> Result<(), Violation> {
    if let Some(entry) = table.pipeline(&task.pipeline) {
        invariant::attempts_are_capped(task, &entry.spec().retries)?;
    }
    let TaskState::Sealed { token, .. } = &task.state else { return Ok(()) };
    match table.task(&task.id).and_then(|before| acted(before, epoch)) {
        Some(before) => invariant::tokens_never_go_back(&[before, *token]),
        None => Ok(()),
    }
}

/// The newest token that changed a task.
fn acted(entry: &Versioned<Task>, epoch: i64) -> Option<Token> {
    match &entry.value.state {
        TaskState::Claimed { .. } => Some(Token { epoch, revision: entry.revision }),
        TaskState::Sealed { token, .. } => Some(*token),
        _ => None,
    }
}
