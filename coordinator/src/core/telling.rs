//! Who is still to be told that windows are published. The ledger keeps one number for a sink: the last of its commits that
//! receivers have heard of. Everything else is in the commits.

use std::collections::BTreeSet;

use windrow_common::{id::SinkId, intent::Seq};

use super::table::{Change, Key, PipelineEntry, Record, SinkEntry, Table};

/// What is to be done for a sink.
#[derive(Clone, Debug, PartialEq)]
pub enum Todo {
    /// Somebody wants to be told from now on, or nobody any more.
    Note(Change),
    /// Have its committer tell of the commits after `after`.
    Tell { after: Seq, up_to: Seq },
}

/// The sinks that receivers are told of, or were.
pub fn sinks(table: &Table) -> BTreeSet<SinkId> {
    let wanted = table.pipelines().filter(|(_, entry)| wants(entry)).map(|(_, entry)| entry.sink.clone());
    let noted = table.sinks().filter(|(_, entry)| entry.told.is_some()).map(|(sink, _)| sink.clone());
    wanted.chain(noted).collect()
}

/// What is to be done for a sink, if anything.
pub fn next(table: &Table, sink: &SinkId) -> Option<Todo> {
    let nothing = SinkEntry::default();
    let entry = table.sink(sink).unwrap_or(&nothing);
    let head = entry.head.as_ref().map_or(0, |head| head.value.seq);
    match (receivers(table, sink).next().is_some(), &entry.told) {
        (false, None) => None,
        // What was published before anybody asked is nobody's news.
        (true, None) => Some(Todo::Note(Change::create(Record::Told(sink.clone(), head)))),
        (false, Some(told)) => {
            let key = Key::Told(sink.clone());
            let expect = vec![(key.clone(), Some(told.revision))];
            Some(Todo::Note(Change { expect, put: Vec::new(), delete: vec![key] }))
        }
        (true, Some(told)) => (told.value < head).then_some(Todo::Tell { after: told.value, up_to: head }),
    }
}

/// Receivers have heard of all commits up to this one.
pub fn told(table: &Table, sink: &SinkId, up_to: Seq) -> Option<Change> {
    let entry = table.sink(sink)?;
    let known = entry.told.as_ref()?;
    let head = entry.head.as_ref().map_or(0, |head| head.value.seq);
    let further = known.value < up_to && up_to <= head;
    further.then(|| Change::replace(Record::Told(sink.clone(), up_to), known.revision))
}

/// How many commits receivers have not heard of.
pub fn untold(table: &Table, entry: &PipelineEntry) -> Option<u64> {
    let sink = table.sink(&entry.sink).filter(|_| wants(entry))?;
    let head = sink.head.as_ref().map_or(0, |head| head.value.seq);
    Some(head.saturating_sub(sink.told.as_ref().map_or(head, |told| told.value)))
}

/// The pipelines of a sink that somebody is told of.
pub fn receivers<'a>(table: &'a Table, sink: &'a SinkId) -> impl Iterator<Item = &'a PipelineEntry> {
    table.pipelines().map(|(_, entry)| entry).filter(move |entry| entry.sink == *sink && wants(entry))
}

fn wants(entry: &PipelineEntry) -> bool {
    entry.spec().readiness.notify.is_some()
}
