//! Files and folders that stay after a power cut. Blocking: callers run it off the async threads. It knows paths and
//! bytes, nothing of object stores.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

/// Most folders remembered as durable; past it the memory starts afresh, which costs a few syncs.
const MAX_REMEMBERED: usize = 10_000;

/// What to do when the target exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Keep,
    Replace,
}

/// Folders under a root whose own entries are known to be on the disk.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    durable: Mutex<HashSet<PathBuf>>,
}

/// Writes a file completely or not at all: the bytes are on the disk before the name appears, and the name is on the
/// disk when this returns. With [`Existing::Keep`] and a target that exists: `AlreadyExists`, nothing is changed.
pub(super) fn write(folders: &Folders, target: &Path, parts: &[Bytes], existing: Existing) -> io::Result<()> {
    let parent = folder_of(target)?;
    let staged = staged_name(target);
    let mut file = match create_new(&staged) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(parent)?;
            create_new(&staged)?
        }
        other => other?,
    };
    let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| place(&staged, target, existing));
    if placed.is_err() || existing == Existing::Keep {
        // A leftover is hidden from listings and harmless; the outcome is decided already.
        let _ = fs::remove_file(&staged);
    }
    placed?;
    folders.settle(parent)
}

/// Brings a file that something else wrote, and its name, to the disk.
pub(super) fn settle_file(folders: &Folders, target: &Path) -> io::Result<()> {
    File::open(target)?.sync_all()?;
    folders.settle(folder_of(target)?)
}

/// Makes a folder with all its parents; each new name is on the disk when this returns.
pub(super) fn create_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).collect();
    fs::create_dir_all(folder)?;
    missing.iter().rev().filter_map(|made| made.parent()).try_for_each(|parent| {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        sync_folder(parent)
    })
}

impl Folders {
    pub(super) fn under(root: PathBuf) -> Self {
        Self { root, durable: Mutex::default() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Brings the entries of `folder` to the disk, and the folder's own name and those of its parents unless they are
    /// known to be there.
    pub(super) fn settle(&self, folder: &Path) -> io::Result<()> {
        sync_folder(folder)?;
        let unknown: Vec<&Path> = {
            let durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            folder.ancestors().take_while(|at| *at != self.root && !durable.contains(*at)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.iter().rev().filter_map(|at| at.parent()).try_for_each(sync_folder)?;
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() > MAX_REMEMBERED {
            durable.clear();
        }
        durable.extend(unknown.into_iter().map(Path::to_owned));
        Ok(())
    }
}

fn place(staged: &Path, target: &Path, existing: Existing) -> io::Result<()> {
    match existing {
        Existing::Keep => fs::hard_link(staged, target),
        Existing::Replace => fs::rename(staged, target),
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn folder_of(target: &Path) -> io::Result<&Path> {
    target.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a folder"))
}

/// A name in the same folder that `object_store`'s listings leave out: `#` and digits at the end.
fn staged_name(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(format!("#{}", rand::random::<u64>()));
    PathBuf::from(name)
}
