//! A commit as the log holds it. Its form is a contract with readers and with older versions of windrow.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use windrow_common::{
    intent::{IntentBody, IntentTask, Seq},
    manifest::{Digest, StagedFile},
    window::Window,
};

use super::{ASIDE_FOLDER, STAGE_FOLDER};
use crate::{
    sink::{
        change::Standing,
        regroup::{Retiring, Rewrites, everywhere},
    },
    stage::{StagedName, told_apart},
};

/// What a windrow that knows no rewrites reads.
const PLAIN: u32 = 1;
/// With files that stay although others stand for them.
const REWRITING: u32 = 2;

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
    /// Milliseconds since 1970, by the committer's clock; 0 in what older versions wrote.
    #[serde(default)]
    pub(super) at: i64,
    /// Files that stay where they are although others stand for them now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) retire: Vec<Retiring>,
    /// Files of which that was said before, and which are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) forget: Vec<String>,
}

/// What a committer knows beside the intent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committer<'a> {
    /// The column that tells a row's window.
    pub(super) cursor: Option<&'a str>,
    pub(super) now: i64,
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
    /// Every row says by its cursor which window it is of.
    #[serde(default)]
    pub(super) told_apart: bool,
    /// When it was committed; of no meaning in an entry, which says it itself.
    #[serde(default)]
    pub(super) since: i64,
}

impl Entry {
    pub(super) fn applied(body: &IntentBody, digest: &Digest, by: Committer<'_>) -> Self {
        let mut add = published(&body.add);
        for (file, staged) in add.iter_mut().zip(&body.add) {
            file.told_apart = told_apart(staged, by.cursor);
        }
        let entry = Self {
            schema: body.schema.clone(),
            add,
            dead_letters: body.dead_letters.iter().map(|file| file.path.clone()).collect(),
            ..Self::empty(body, digest, EntryEffect::Applied, by)
        };
        match Rewrites::of(body) {
            Some(Rewrites { retire, forget, .. }) => Self { form: REWRITING, retire, forget, ..entry },
            None => Self { remove: body.remove.clone(), ..entry },
        }
    }

    pub(super) fn abort(body: &IntentBody, digest: &Digest, by: Committer<'_>) -> Self {
        Self::empty(body, digest, EntryEffect::Aborted, by)
    }

    fn empty(body: &IntentBody, digest: &Digest, effect: EntryEffect, by: Committer<'_>) -> Self {
        Self {
            form: PLAIN,
            seq: body.seq,
            digest: *digest,
            previous: body.previous,
            effect,
            schema: serde_json::Value::Null,
            tasks: body.tasks.clone(),
            add: Vec::new(),
            remove: Vec::new(),
            dead_letters: Vec::new(),
            at: by.now,
            retire: Vec::new(),
            forget: Vec::new(),
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        matches!(self.form, PLAIN | REWRITING)
    }
}

impl File {
    /// Whether it stays where it was staged: readers find it by a list alone.
    pub(super) fn is_aside(&self) -> bool {
        self.path == self.staged
    }

    /// The stretch of its rows, if anything is known of it.
    pub(super) fn known_window(&self) -> Option<Window> {
        Some(self.window).filter(|window| *window != everywhere())
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
        self.known_window()
    }
}

/// Where an intent's files are published: `part-<task16>-<n>`, counted per task in the intent's order, so that every
/// repeat of the intent finds the same names and no attempt's token is in them. What was rewritten stays where it is.
pub(super) fn published(files: &[StagedFile]) -> Vec<File> {
    let mut counts: HashMap<String, u32> = HashMap::new();
    let file = |staged: &StagedFile| {
        let (folder, name) = staged.path.rsplit_once('/').unwrap_or(("", &staged.path));
        let aside = folder.starts_with(ASIDE_FOLDER);
        let folder = folder.strip_prefix(STAGE_FOLDER).unwrap_or(folder).trim_start_matches('/');
        let parsed = StagedName::parse(name);
        let task = parsed.as_ref().map_or("unknown", |name| &name.task16).to_owned();
        let extension = parsed.as_ref().map_or("data", |name| &name.extension);
        let count = counts.entry(task.clone()).or_default();
        let name = format!("part-{task}-{count}.{extension}");
        *count += 1;
        File {
            path: match aside {
                true => staged.path.clone(),
                false if folder.is_empty() => name,
                false => format!("{folder}/{name}"),
            },
            staged: staged.path.clone(),
            bytes: staged.bytes,
            sha256: staged.sha256,
            rows: staged.rows,
            window: staged.window,
            partition: staged.partition.clone(),
            told_apart: false,
            since: 0,
        }
    };
    files.iter().map(file).collect()
}
