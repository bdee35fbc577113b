//! One version of one key. Plain data; depends on nothing but the store's own types.

use super::super::{Event, KeyValue, LeaseId, Revision};

/// What one transaction made of one key. Never changed after it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) mod_revision: Revision,
    pub(super) body: Body,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Live(Live),
    Deleted,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) value: Vec<u8>,
    pub(super) create_revision: Revision,
    pub(super) version: i64,
    pub(super) lease: Option<LeaseId>,
}

impl Record {
    pub(super) fn live(&self) -> Option<&Live> {
        match &self.body {
            Body::Live(live) => Some(live),
            Body::Deleted => None,
        }
    }

    pub(super) fn lease(&self) -> Option<LeaseId> {
        self.live().and_then(|live| live.lease)
    }

    /// The record as a reader sees it; a deletion is seen as absence.
    pub(super) fn to_key_value(&self) -> Option<KeyValue> {
        self.live().map(|live| KeyValue {
            key: self.key.clone(),
            value: live.value.clone(),
            create_revision: live.create_revision,
            mod_revision: self.mod_revision,
            version: live.version,
            lease: live.lease,
        })
    }

    /// The record as a watcher sees it.
    pub(super) fn to_event(&self) -> Event {
        match self.to_key_value() {
            Some(entry) => Event::Put(entry),
            None => Event::Delete { key: self.key.clone(), revision: self.mod_revision },
        }
    }

    /// What the record costs in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.live().map_or(0, |live| live.value.len())
    }
}
