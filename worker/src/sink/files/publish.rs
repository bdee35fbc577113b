//! From the log to the folder: copies of what a commit adds, then the end of what it removes. Every step may be
//! repeated.
//!
//! Whoever is left behind cannot bring removed files back: a commit's staged files are deleted before the next commit
//! removes anything, and without them there is nothing to copy.

use std::sync::OnceLock;

use futures::{TryStreamExt, stream};
use windrow_common::{
    count::{counted, grouped},
    error,
};

use super::{
    again::kept_path,
    entry::{Entry, File},
    log::Log,
    state::State,
};
use crate::{
    error::{Result, WorkerError},
    storage::Copied,
};

/// Files copied or deleted at a time.
const AT_A_TIME: usize = 16;

/// How bringing a commit about ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publishing {
    /// The folder shows it.
    Complete,
    /// A later commit is in the log; this one is finished and perhaps replaced.
    Overtaken,
}

/// Copies what `entry`, the newest of the log, adds to its published names, tells readers of lists, and deletes what it removes.
pub(super) async fn publish(log: &Log, entry: &Entry) -> Result<Publishing> {
    let missing = OnceLock::new();
    stream::iter(entry.add.iter().map(Ok))
        .try_for_each_concurrent(AT_A_TIME, |file| {
            let missing = &missing;
            async move {
                if !present(log, file).await? {
                    missing.get_or_init(|| file.staged.clone());
                }
                Ok::<_, WorkerError>(())
            }
        })
        .await?;
    if let Some(staged) = missing.into_inner() {
        if log.refresh().await?.seq > entry.seq {
            return Ok(Publishing::Overtaken);
        }
        return Err(WorkerError::later(error::STAGED_FILE_BAD, "a committed file is gone before it was published")
            .at(staged)
            .fix("restore the file, or load its window again"));
    }
    log.tell_readers(entry.seq).await?;
    delete_all(log, &entry.remove).await?;
    log.note_published(entry.seq);
    Ok(Publishing::Complete)
}

/// Deletes the staged files of the newest commit, which is finished. What it fails to delete the sweep finds. Where versions
/// are kept they go to their place first, under a name from which nothing is ever published.
pub(super) async fn tidy(log: &Log, keeps: bool, state: &State) -> Result<()> {
    let Some(newest) = log.entry(state.seq).await? else { return Ok(()) };
    // Somebody else finished it, or says so; without its staged files nobody could any more, so look.
    if !log.is_published(newest.seq) {
        publish(log, &newest).await?;
    }
    let staged = newest.add.into_iter().filter(|file| !file.is_aside()).map(|file| file.staged);
    let staged: Vec<String> = staged.collect();
    if keeps {
        // One that is not there any more was put there before, by whoever deleted it.
        stream::iter(staged.iter().map(Ok))
            .try_for_each_concurrent(AT_A_TIME, |staged| async move {
                log.storage().copy_if_absent(staged, &kept_path(staged)).await.map(drop)
            })
            .await?;
    }
    delete_all(log, &staged).await
}

/// Whether a file stands at its published place, copying it there if need be.
async fn present(log: &Log, file: &File) -> Result<bool> {
    if !file.is_aside()
        && let Copied::Made = log.storage().copy_if_absent(&file.staged, &file.path).await?
    {
        return Ok(true);
    }
    match log.storage().head(&file.path).await?.map(|found| found.size) {
        None => Ok(false),
        Some(bytes) if bytes == file.bytes => Ok(true),
        Some(bytes) => Err(WorkerError::never(
            error::SINK_CONFLICT,
            format!(
                "a file of {} stands where one of {} is to be published",
                counted(bytes, "byte"),
                grouped(file.bytes)
            ),
        )
        .at(file.path.clone())
        .fix("remove the file that windrow did not write")),
    }
}

async fn delete_all(log: &Log, paths: &[String]) -> Result<()> {
    stream::iter(paths.iter().map(Ok)).try_for_each_concurrent(AT_A_TIME, |path| log.storage().delete(path)).await
}
