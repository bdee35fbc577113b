//! What the sinks hold, read from their objects alone: the logs of commits while the run goes on, and in the end every
//! row, compared with what the source was made of.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use windrow_common::{
    claim::Token,
    id::TaskId,
    invariant::{self, Difference, Link, Violation, multiset},
    manifest::{Digest, Manifest},
    window::Window,
};

use crate::{
    bucket::Place,
    others, pipelines,
    rows::{Row, rows_in},
    world::World,
};

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
    #[serde(default)]
    retire: Vec<Retired>,
    #[serde(default)]
    forget: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Task {
    task: TaskId,
    token: Token,
    window: Window,
}

#[derive(Clone, Debug, Deserialize)]
struct File {
    path: String,
    staged: String,
}

/// A file that stays although another holds its rows.
#[derive(Clone, Debug, Deserialize)]
struct Retired {
    path: String,
    /// Of files that others wrote.
    version: Option<String>,
    within: String,
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
    /// Whose rows another file holds.
    retired: BTreeSet<String>,
    /// All paths there ever were.
    ever: BTreeSet<String>,
    /// By the starts of windows, the newest commit of each.
    newest: BTreeMap<i64, u64>,
}

/// A commit that was read.
pub(crate) struct Advanced {
    /// How many tasks it publishes.
    pub(crate) tasks: usize,
    /// The files it rewrites, and what becomes of them.
    pub(crate) rewrites: (Vec<String>, Vec<String>),
}

impl Log {
    pub(crate) fn seq(&self) -> u64 {
        self.links.len() as u64
    }

    /// Reads the next commit, if there is one.
    pub(crate) fn advance(&mut self, (root, place): (&str, &Place)) -> Result<Option<Advanced>, Violation> {
        let ending = if root == others::ROOT { "record" } else { "json" };
        let Some(entry) = read::<Entry>(place, &format!("_windrow/log/{:020}.{ending}", self.seq() + 1)) else {
            return Ok(None);
        };
        self.links.push(Link { seq: entry.seq, digest: entry.digest, previous: entry.previous });
        invariant::commits_chain(&self.links)?;
        if entry.effect != "applied" {
            return Ok(Some(Advanced { tasks: 0, rewrites: (Vec::new(), Vec::new()) }));
        }
        let (gone, made) = entry.rewrites();
        if gone.is_empty() && entry.add.iter().any(|file| file.path.starts_with("_windrow/aside/")) {
            let message = format!("commit {} has files that stand for none", entry.seq);
            return Err(Violation { id: "INV-15", message });
        }
        self.apply(&entry)?;
        for task in &entry.tasks {
            let before = self.newest.insert(task.window.start(), entry.seq);
            if before.is_some() && root == pipelines::CLOSED {
                let message = format!("{} is closed, and loaded again", task.window);
                return Err(Violation { id: "INV-3", message });
            }
        }
        self.tasks.extend(entry.tasks.iter().map(|task| task.task));
        self.listed.extend(entry.tasks.iter().map(|task| (task.task, task.token)));
        invariant::committed_once(&self.tasks)?;
        Ok(Some(Advanced { tasks: entry.tasks.len(), rewrites: (gone, made) }))
    }

    /// INV-4: what goes was there, and nothing comes back.
    fn apply(&mut self, entry: &Entry) -> Result<(), Violation> {
        let wrong = |message: String| Violation { id: "INV-4", message: format!("commit {}: {message}", entry.seq) };
        for path in &entry.remove {
            if self.active.remove(path).is_none() && !self.retired.remove(path) {
                return Err(wrong(format!("{path} is removed and was not there")));
            }
        }
        for Retired { path, version, within } in &entry.retire {
            let was_there = version.is_some() || self.active.remove(path).is_some();
            if !was_there || !self.retired.insert(path.clone()) {
                return Err(wrong(format!("{path} is rewritten and was not there, or is rewritten twice")));
            }
            if !entry.add.iter().any(|file| file.path == *within) {
                return Err(wrong(format!("{path} is in {within}, which is not added")));
            }
        }
        entry.forget.iter().for_each(|path| {
            self.retired.remove(path);
        });
        for File { path, staged } in &entry.add {
            if !self.ever.insert(path.clone()) {
                return Err(wrong(format!("{path} was there before")));
            }
            self.active.insert(path.clone(), staged.clone());
        }
        Ok(())
    }

    /// The newest commit of the window that begins there.
    pub(crate) fn newest_of(&self, start: i64) -> Option<u64> {
        self.newest.get(&start).copied()
    }

    /// INV-9: every file of the newest commit is there, in its place or still where it was staged.
    pub(crate) fn check_files(&self, place: &Place) -> Result<(), Violation> {
        let lost = self.active.iter().find(|(path, staged)| !place.has(path) && !place.has(staged));
        match lost {
            None => Ok(()),
            Some((path, _)) => Err(Violation { id: "INV-9", message: format!("{path} is committed and not there") }),
        }
    }

    /// The rows a reader of the log finds. In a folder of others those are its files that no other stands for, too.
    fn rows(&self, (root, place): (&str, &Place)) -> Result<Vec<Row>, String> {
        let unlisted = place.shown().into_iter().filter(|path| root == others::ROOT && !self.retired.contains(path));
        rows_of(place, self.active.keys().cloned().chain(unlisted))
    }
}

impl Entry {
    fn rewrites(&self) -> (Vec<String>, Vec<String>) {
        if self.retire.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let gone = self.retire.iter().map(|file| file.path.clone()).collect();
        (gone, self.add.iter().map(|file| file.path.clone()).collect())
    }
}

/// INV-15: what was rewritten has the rows of what it was made of. Files that others deleted meanwhile are known by their names.
pub(crate) fn check_rewrite(place: &Place, (gone, made): &(Vec<String>, Vec<String>)) -> Result<(), Violation> {
    let wrong = |message: String| Violation { id: "INV-15", message };
    let mut before = Vec::new();
    for path in gone {
        let rows = others::rows_at(path).or_else(|| rows_in(place, path));
        before.extend(rows.ok_or_else(|| wrong(format!("{path} was rewritten and cannot be read")))?);
    }
    let after = rows_of(place, made.iter().cloned()).map_err(wrong)?;
    let (before, after) = (multiset(before), multiset(after));
    let Difference { lost, doubled } = Difference::between(&before, &after);
    match (lost, doubled) {
        (0, 0) => Ok(()),
        _ => Err(wrong(format!("{gone:?} became {made:?}: {lost} rows lost, {doubled} doubled"))),
    }
}

fn rows_of(place: &Place, paths: impl Iterator<Item = String>) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for path in paths {
        rows.extend(rows_in(place, &path).ok_or_else(|| format!("{path} cannot be read"))?);
    }
    Ok(rows)
}

/// The files a manifest names; nothing if it is not there.
pub(crate) fn files_of(place: &Place, path: &str) -> Option<Vec<String>> {
    let manifest: Manifest = read(place, path)?;
    Some(manifest.files.into_iter().map(|file| file.path).collect())
}

fn read<T: serde::de::DeserializeOwned>(place: &Place, path: &str) -> Option<T> {
    serde_json::from_slice(&place.bytes(path)?).ok()
}

/// Compares every row of every place, if the run came to its end.
pub(crate) fn compare(world: &World, complete: bool) -> Difference {
    let mut found = Difference { lost: 0, doubled: 0 };
    if !complete {
        return found;
    }
    for (root, place) in world.objects.places() {
        let mut log = Log::default();
        while let Ok(Some(_)) = log.advance((&root, &place)) {}
        let expected = expected(world, &root, (&log, &place));
        let Difference { lost, doubled } = hold(world, &root, &expected, log.rows((&root, &place)));
        found.lost += lost;
        found.doubled += doubled;
        if root != others::ROOT {
            check_folder(world, &root, &place, &log);
            // Who reads the folder by its names finds the same rows, in the files that were rewritten.
            hold(world, &root, &expected, rows_of(&place, place.shown().into_iter()));
        }
    }
    found
}

fn hold(world: &World, root: &str, expected: &[Row], rows: Result<Vec<Row>, String>) -> Difference {
    let rows = rows.unwrap_or_else(|message| {
        world.violated(format!("INV-1: {root}/{message}"));
        Vec::new()
    });
    let (expected, rows) = (multiset(expected.to_vec()), multiset(rows));
    let difference = Difference::between(&expected, &rows);
    let Difference { lost, doubled } = &difference;
    world.note(format!("{root}: {} different rows, {lost} lost, {doubled} doubled", rows.len()));
    world.require(invariant::rows_arrive_once(root, &expected, &rows));
    difference
}

/// What others deleted counts if it was rewritten before, and not otherwise.
fn expected(world: &World, root: &str, (log, place): (&Log, &Place)) -> Vec<Row> {
    if root != others::ROOT {
        return pipelines::expected(&world.plan, root);
    }
    let counts = |path: &String| place.has(path) || log.retired.contains(path);
    others::all().filter(counts).filter_map(|path| others::rows_at(&path)).flatten().collect()
}

/// Readers of the folder alone see the files of the log, and in place of those that lie aside the ones they were made of.
fn check_folder(world: &World, root: &str, place: &Place, log: &Log) {
    let shown: BTreeSet<String> = place.shown().into_iter().collect();
    let all = log.active.keys().chain(&log.retired);
    let expected: BTreeSet<String> = all.filter(|path| !path.starts_with("_windrow/")).cloned().collect();
    if shown != expected {
        let more: Vec<_> = shown.difference(&expected).collect();
        let fewer: Vec<_> = expected.difference(&shown).collect();
        world.violated(format!("INV-9: {root} shows {more:?} too many and lacks {fewer:?}"));
    }
}
