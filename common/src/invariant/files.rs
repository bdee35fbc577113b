//! Files: those that must be there, those that may go, and what readers see of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, holds};
use crate::{intent::Seq, manifest::Digest, window::Window};

/// A file that something names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredFile {
    pub path: String,
    pub sha256: Digest,
}

/// The signal that a window is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marker {
    pub window: Window,
    /// How often the window had been moved before.
    pub revision: u32,
    /// The commit the window became readable with.
    pub seq: Seq,
}

/// INV-9: every file that a sink, a sealed task or an intent names is stored as it was named.
pub fn named_files_exist<'a>(
    named: impl IntoIterator<Item = &'a StoredFile>,
    stored: &BTreeMap<String, Digest>,
) -> Result<(), Violation> {
    named.into_iter().try_for_each(|file| {
        let found = stored.get(&file.path);
        holds("INV-9", found == Some(&file.sha256), || match found {
            None => format!("{} does not exist", file.path),
            Some(digest) => format!("{} is {digest}, it was {}", file.path, file.sha256),
        })
    })
}

/// INV-10: a sweep deletes nothing that is live or part of a sink.
pub fn only_orphans_are_deleted<'a>(
    deleted: impl IntoIterator<Item = &'a str>,
    needed: &BTreeSet<&str>,
) -> Result<(), Violation> {
    deleted
        .into_iter()
        .try_for_each(|path| holds("INV-10", !needed.contains(path), || format!("{path} was deleted and is needed")))
}

/// INV-10: after quiet time and the grace of a sweep, nothing is left that nobody needs.
pub fn no_orphans<'a>(stored: impl IntoIterator<Item = &'a str>, needed: &BTreeSet<&str>) -> Result<(), Violation> {
    stored.into_iter().try_for_each(|path| holds("INV-10", needed.contains(path), || format!("{path} is left over")))
}

/// INV-17: each marker stands for a commit that is readable (`readable` is the newest), and no window has two.
pub fn markers_follow_data(markers: &[Marker], readable: Seq) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for marker in markers {
        let Marker { window, revision, seq } = *marker;
        holds("INV-17", seq <= readable, || format!("window {window} is marked before commit {seq} is readable"))?;
        holds("INV-17", seen.insert((window, revision)), || format!("window {window} is marked twice"))?;
    }
    Ok(())
}

/// INV-18: of each commit's files a reader sees all or none. `commits` holds the files each commit added that no later one
/// removed.
pub fn reads_are_whole(commits: &[(Seq, BTreeSet<&str>)], seen: &BTreeSet<&str>) -> Result<(), Violation> {
    commits.iter().try_for_each(|(seq, files)| {
        let visible = files.intersection(seen).count();
        holds("INV-18", visible == 0 || visible == files.len(), || {
            format!("a reader sees {visible} of the {} files of commit {seq}", files.len())
        })
    })
}
