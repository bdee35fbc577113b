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

use super::entry::{Entry, EntryEffect, File};
use crate::{
    error::{Result, WorkerError},
    sink::regroup::Retiring,
};

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
    /// Files that others stand for, by path: they stay for those who read them, until they are cleaned away.
    #[serde(default)]
    pub(super) retired: BTreeMap<String, Retired>,
    /// Whether files were ever rewritten: from then on readers are told which there are.
    #[serde(default)]
    pub(super) rewritten: bool,
}

/// A file whose rows another holds too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Retired {
    pub(super) bytes: u64,
    /// Of a file of others: what it was when its rows were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// The path of the file that holds its rows now.
    pub(super) within: String,
    /// When it was retired, and by which commit.
    pub(super) since: i64,
    pub(super) seq: Seq,
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
        if !entry.is_readable() {
            return Err(broken("a commit is written in a form this version does not know"));
        }
        if entry.seq != self.seq + 1 || entry.previous != self.digest() {
            return Err(broken("a commit does not follow the one before it"));
        }
        if entry.effect == EntryEffect::Applied && !entry.schema.is_null() {
            let schema: Schema = serde_json::from_value(entry.schema.clone())
                .map_err(|cause| broken("a commit's schema is not readable").because(cause))?;
            self.schema = Some(Arc::new(schema));
        }
        for path in &entry.remove {
            self.files.remove(path);
            self.retired.remove(path);
        }
        for path in &entry.forget {
            self.retired.remove(path);
        }
        self.rewritten |= !entry.retire.is_empty();
        self.retire(entry.retire, (entry.at, entry.seq));
        let since = entry.at;
        self.files.extend(entry.add.into_iter().map(|file| (file.path.clone(), File { since, ..file })));
        self.dead_letters.extend(entry.dead_letters);
        self.seq = entry.seq;
        self.newest = Some((entry.digest, entry.effect));
        Ok(())
    }

    /// Whatever stood for others is stood for itself now.
    fn retire(&mut self, retiring: Vec<Retiring>, (since, seq): (i64, Seq)) {
        let into: BTreeMap<&str, &str> =
            retiring.iter().map(|file| (file.path.as_str(), file.within.as_str())).collect();
        for retired in self.retired.values_mut() {
            if let Some(within) = into.get(retired.within.as_str()) {
                retired.within = (*within).to_owned();
            }
        }
        for Retiring { path, bytes, version, within } in retiring {
            self.files.remove(&path);
            self.retired.insert(path, Retired { bytes, version, within, since, seq });
        }
    }

    /// These files, and with each the retired ones it stands for: without it they would be seen again.
    pub(super) fn with_retired(&self, paths: BTreeSet<String>) -> Vec<String> {
        let of = |(path, retired): (&String, &Retired)| paths.contains(&retired.within).then(|| path.clone());
        let retired: Vec<String> = self.retired.iter().filter_map(of).collect();
        paths.into_iter().chain(retired).collect()
    }
}
