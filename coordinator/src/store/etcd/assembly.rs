//! Puts revisions together again: etcd merges several into one response and cuts a large one into fragments. Pure.

use super::super::{Event, Revision, WatchBatch};

/// The part of a revision that is still being received.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    partial: Option<WatchBatch>,
}

impl Assembly {
    /// Takes in the events of one response and returns the revisions that are complete now. If more fragments follow,
    /// the last revision may go on in the next one.
    pub(super) fn add(&mut self, events: Vec<Event>, more_follows: bool) -> Vec<WatchBatch> {
        let mut complete = Vec::new();
        for event in events {
            let revision = revision_of(&event);
            match &mut self.partial {
                Some(partial) if partial.revision == revision => partial.events.push(event),
                partial => complete.extend(partial.replace(WatchBatch { revision, events: vec![event] })),
            }
        }
        if !more_follows {
            complete.extend(self.partial.take());
        }
        for batch in &mut complete {
            // etcd keeps the order of the operations.
            batch.events.sort_by(|a, b| key_of(a).cmp(key_of(b)));
        }
        complete
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_none()
    }
}

pub(super) fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put(entry) => entry.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

fn key_of(event: &Event) -> &[u8] {
    match event {
        Event::Put(entry) => &entry.key,
        Event::Delete { key, .. } => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(of: &[(i64, &str)]) -> Vec<Event> {
        of.iter()
            .map(|(revision, key)| Event::Delete { key: key.as_bytes().to_vec(), revision: Revision(*revision) })
            .collect()
    }

    fn shape(batches: &[WatchBatch]) -> Vec<(i64, String)> {
        let keys = |batch: &WatchBatch| batch.events.iter().map(|e| String::from_utf8_lossy(key_of(e))).collect();
        batches.iter().map(|batch| (batch.revision.0, keys(batch))).collect()
    }

    #[test]
    fn a_response_with_several_revisions_becomes_one_batch_each_in_key_order() {
        let batches = Assembly::default().add(events(&[(5, "b"), (5, "a"), (7, "c")]), false);
        assert_eq!(shape(&batches), [(5, "ab".into()), (7, "c".into())]);
    }

    #[test]
    fn fragments_of_one_revision_become_one_batch() {
        let mut assembly = Assembly::default();
        assert_eq!(shape(&assembly.add(events(&[(4, "x"), (5, "c")]), true)), [(4, "x".into())]);
        assert!(assembly.add(events(&[(5, "a")]), true).is_empty());
        assert!(!assembly.is_empty());
        assert_eq!(shape(&assembly.add(events(&[(5, "b"), (6, "y")]), false)), [(5, "abc".into()), (6, "y".into())]);
        assert!(assembly.is_empty());
    }

    #[test]
    fn a_revision_that_ends_with_its_fragment_is_not_held_back_for_long() {
        let mut assembly = Assembly::default();
        assert!(assembly.add(events(&[(5, "a")]), true).is_empty());
        assert_eq!(shape(&assembly.add(events(&[(6, "b")]), false)), [(5, "a".into()), (6, "b".into())]);
    }
}
