//! The files there are: the fold of the log. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow_schema::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use windrow_common::{
    error,
    intent::{Committed, Effect, Fingerprint, Seq},
    manifest::Digest,
};

use super::entry::{Entry, EntryEffect, FORM, File};
use crate::error::{Result, WorkerError};

/// What all commits up to `seq` come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The newest commit's; 0 before the first.
    pub(super) seq: Seq,
    /// Its digest and what it did.
    pub(super) newest: Option<(Digest, EntryEffect)>,
    pub(super) schema: Option<SchemaRef>,
    /// By published path.
    pub(super) files: BTreeMap<String, File>,
    pub(super) dead_letters: BTreeSet<String>,
}

impl State {
    pub(super) fn committed(&self) -> Option<Committed> {
        self.newest.map(|(digest, effect)| {
            let fingerprint = Fingerprint::of(&digest);
            let effect = match effect {
                EntryEffect::Applied => Effect::Applied(fingerprint),
                EntryEffect::Aborted => Effect::Aborted(fingerprint),
            };
            Committed { seq: self.seq, effect }
        })
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        self.newest.map(|(digest, _)| digest)
    }

    /// Takes the next commit in. `SINK_BROKEN` when the log does not hang together.
    pub(super) fn apply(&mut self, entry: Entry) -> Result<()> {
        let broken = |message: &str| {
            WorkerError::never(error::SINK_BROKEN, message)
                .at(format!("commit {} of the log", entry.seq))
                .fix("somebody changed the log of commits; restore it, or write to another folder")
        };
        if entry.form != FORM {
            return Err(broken("a commit is written in a form this version does not know"));
        }
        if entry.seq != self.seq + 1 || entry.previous != self.digest() {
            return Err(broken("a commit does not follow the one before it"));
        }
        if entry.effect == EntryEffect::Applied {
            let schema: Schema = serde_json::from_value(entry.schema.clone())
                .map_err(|cause| broken("a commit's schema is not readable").because(cause))?;
            self.schema = Some(Arc::new(schema));
        }
        for path in &entry.remove {
            self.files.remove(path);
        }
        self.files.extend(entry.add.into_iter().map(|file| (file.path.clone(), file)));
        self.dead_letters.extend(entry.dead_letters);
        self.seq = entry.seq;
        self.newest = Some((entry.digest, entry.effect));
        Ok(())
    }
}
