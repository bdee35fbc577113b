//! What the sinks hold, read from their objects alone: the logs of commits while the run goes on, and in the end every
//! row, compared with what the source was made of.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use serde::Deserialize;
use windrow_common::{
    claim::Token,
    id::TaskId,
    invariant::{self, Difference, Link, Violation, multiset},
    manifest::{Digest, Manifest},
};

use crate::{bucket::Place, pipelines, world::World};

/// A commit as readers see it.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    seq: u64,
    digest: Digest,
    previous: Option<Digest>,
    effect: String,
    tasks: Vec<Task>,
    add: Vec<File>,
    remove: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Task {
    task: TaskId,
    token: Token,
}

#[derive(Clone, Debug, Deserialize)]
struct File {
    path: String,
    staged: String,
}

/// The commits of a folder, as far as they were read.
#[derive(Default)]
pub(crate) struct Log {
    links: Vec<Link>,
    tasks: Vec<TaskId>,
    /// Every attempt a commit has published.
    pub(crate) listed: BTreeSet<(TaskId, Token)>,
    /// Published paths and where they are copied from.
    active: BTreeMap<String, String>,
}

impl Log {
    pub(crate) fn seq(&self) -> u64 {
        self.links.len() as u64
    }

    /// Reads the next commit, if there is one; how many tasks it publishes.
    pub(crate) fn advance(&mut self, place: &Place) -> Result<Option<usize>, Violation> {
        let Some(entry) = read::<Entry>(place, &format!("_windrow/log/{:020}.json", self.seq() + 1)) else {
            return Ok(None);
        };
        let applied = entry.effect == "applied";
        self.links.push(Link { seq: entry.seq, digest: entry.digest, previous: entry.previous });
        invariant::commits_chain(&self.links)?;
        if applied {
            for path in &entry.remove {
                if self.active.remove(path).is_none() {
                    return Err(Violation { id: "INV-4", message: format!("{path} is removed and was not there") });
                }
            }
            for file in entry.add {
                self.active.insert(file.path, file.staged);
            }
            self.tasks.extend(entry.tasks.iter().map(|task| task.task));
            self.listed.extend(entry.tasks.iter().map(|task| (task.task, task.token)));
            invariant::committed_once(&self.tasks)?;
        }
        Ok(Some(if applied { entry.tasks.len() } else { 0 }))
    }

    /// INV-9: every file of the newest commit is there, in its place or still where it was staged.
    pub(crate) fn check_files(&self, place: &Place) -> Result<(), Violation> {
        let lost = self.active.iter().find(|(path, staged)| !exists(place, path) && !exists(place, staged));
        match lost {
            None => Ok(()),
            Some((path, _)) => Err(Violation { id: "INV-9", message: format!("{path} is committed and not there") }),
        }
    }
}

/// The files a manifest names; nothing if it is not there.
pub(crate) fn files_of(place: &Place, path: &str) -> Option<Vec<String>> {
    let manifest: Manifest = read(place, path)?;
    Some(manifest.files.into_iter().map(|file| file.path).collect())
}

pub(crate) fn exists(place: &Place, path: &str) -> bool {
    place.objects.head(&Path::from(path)).now_or_never().is_some_and(|found| found.is_ok())
}

fn bytes(place: &Place, path: &str) -> Option<bytes::Bytes> {
    let found = place.objects.get(&Path::from(path)).now_or_never()?.ok()?;
    found.bytes().now_or_never()?.ok()
}

fn read<T: serde::de::DeserializeOwned>(place: &Place, path: &str) -> Option<T> {
    serde_json::from_slice(&bytes(place, path)?).ok()
}

/// Compares every row of every place, if the run came to its end.
pub(crate) fn compare(world: &World, complete: bool) -> Difference {
    let mut found = Difference { lost: 0, doubled: 0 };
    if !complete {
        return found;
    }
    for (root, place) in world.objects.places() {
        let mut log = Log::default();
        while let Ok(Some(_)) = log.advance(&place) {}
        let mut rows = Vec::new();
        for path in log.active.keys() {
            match rows_in(&place, path) {
                Some(read) => rows.extend(read),
                None => world.violated(format!("INV-1: {root}/{path} cannot be read")),
            }
        }
        check_folder(world, &root, &place, &log);
        let (expected, rows) = (multiset(pipelines::expected(&world.plan, &root)), multiset(rows));
        let Difference { lost, doubled } = Difference::between(&expected, &rows);
        world.note(format!("{root}: {} different rows, {lost} lost, {doubled} doubled", rows.len()));
        world.require(invariant::rows_arrive_once(&root, &expected, &rows));
        found.lost += lost;
        found.doubled += doubled;
    }
    found
}

/// Readers of the folder alone must see the same files as readers of the log.
fn check_folder(world: &World, root: &str, place: &Place, log: &Log) {
    use futures::TryStreamExt;
    let listed = place.objects.list(None).map_ok(|meta| meta.location.to_string()).try_collect::<Vec<_>>();
    let listed = listed.now_or_never().and_then(Result::ok).unwrap_or_default();
    let shown: BTreeSet<String> = listed.into_iter().filter(|path| !path.starts_with("_windrow/")).collect();
    let active: BTreeSet<String> = log.active.keys().cloned().collect();
    if shown != active {
        let more: Vec<_> = shown.difference(&active).collect();
        let fewer: Vec<_> = active.difference(&shown).collect();
        world.violated(format!("INV-9: {root} shows {more:?} too many and lacks {fewer:?}"));
    }
}

fn rows_in(place: &Place, path: &str) -> Option<Vec<(i64, String)>> {
    #[derive(Deserialize)]
    struct Row {
        id: i64,
        hash: String,
    }
    let bytes = bytes(place, path)?;
    let lines = std::str::from_utf8(&bytes).ok()?.lines();
    lines.map(|line| serde_json::from_str::<Row>(line).ok().map(|row| (row.id, row.hash))).collect()
}
