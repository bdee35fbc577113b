//! A commit as the log holds it. Its form is a contract with readers and with older versions of windrow.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use windrow_common::{
    intent::{IntentBody, IntentTask, Seq},
    manifest::{Digest, StagedFile},
    window::Window,
};

use super::STAGE_FOLDER;
use crate::{sink::change::Standing, stage::StagedName};

/// The only form there is so far.
pub(super) const FORM: u32 = 1;

/// One commit: `_windrow/log/<seq>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) form: u32,
    pub(super) seq: Seq,
    /// The intent's digest.
    pub(super) digest: Digest,
    /// The digest of the intent before it.
    pub(super) previous: Option<Digest>,
    pub(super) effect: EntryEffect,
    /// The files' schema after the commit, in the JSON form of arrow-schema's serde.
    pub(super) schema: serde_json::Value,
    pub(super) tasks: Vec<IntentTask>,
    pub(super) add: Vec<File>,
    /// Published paths.
    pub(super) remove: Vec<String>,
    pub(super) dead_letters: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EntryEffect {
    Applied,
    Aborted,
}

/// A published file. It stands at `path`, and until all copies are made at `staged`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) staged: String,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    pub(super) rows: u64,
    pub(super) window: Window,
    #[serde(default)]
    pub(super) partition: BTreeMap<String, Option<String>>,
}

impl Entry {
    pub(super) fn applied(body: &IntentBody, digest: &Digest) -> Self {
        Self {
            schema: body.schema.clone(),
            add: published(&body.add),
            remove: body.remove.clone(),
            dead_letters: body.dead_letters.iter().map(|file| file.path.clone()).collect(),
            ..Self::aborted(body, digest, EntryEffect::Applied)
        }
    }

    pub(super) fn abort(body: &IntentBody, digest: &Digest) -> Self {
        Self::aborted(body, digest, EntryEffect::Aborted)
    }

    fn aborted(body: &IntentBody, digest: &Digest, effect: EntryEffect) -> Self {
        Self {
            form: FORM,
            seq: body.seq,
            digest: *digest,
            previous: body.previous,
            effect,
            schema: serde_json::Value::Null,
            tasks: body.tasks.clone(),
            add: Vec::new(),
            remove: Vec::new(),
            dead_letters: Vec::new(),
        }
    }
}

impl Standing for File {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn partition(&self) -> &BTreeMap<String, Option<String>> {
        &self.partition
    }

    fn window(&self) -> Option<Window> {
        Some(self.window)
    }
}

/// Where an intent's files are published: `part-<task16>-<n>`, counted per task in the intent's order, so that every
/// repeat of the intent finds the same names and no attempt's token is in them.
pub(super) fn published(files: &[StagedFile]) -> Vec<File> {
    let mut counts: HashMap<String, u32> = HashMap::new();
    let file = |staged: &StagedFile| {
        let (folder, name) = staged.path.rsplit_once('/').unwrap_or(("", &staged.path));
        let folder = folder.strip_prefix(STAGE_FOLDER).unwrap_or(folder).trim_start_matches('/');
        let parsed = StagedName::parse(name);
        let task = parsed.as_ref().map_or("unknown", |name| &name.task16).to_owned();
        let extension = parsed.as_ref().map_or("data", |name| &name.extension);
        let count = counts.entry(task.clone()).or_default();
        let name = format!("part-{task}-{count}.{extension}");
        *count += 1;
        File {
            path: if folder.is_empty() { name } else { format!("{folder}/{name}") },
            staged: staged.path.clone(),
            bytes: staged.bytes,
            sha256: staged.sha256,
            rows: staged.rows,
            window: staged.window,
            partition: staged.partition.clone(),
        }
    };
    files.iter().map(file).collect()
}
