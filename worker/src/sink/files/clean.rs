//! Cleaning of a folder: files that others stand for go when they were kept long enough, those of others only if the pipeline says
//! so. Files that were rewritten twice lie aside; the sweep takes them once they are not referred to any more.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    ASIDE_FOLDER, FilesSink, folder,
    state::{Retired, State},
};
use crate::{
    error::{Result, WorkerError},
    sink::cleaning::{Extent, Stale},
};

/// Objects looked at a time.
const HEADS_AT_A_TIME: usize = 32;

pub(super) async fn stale(sink: &FilesSink, extent: Extent) -> Result<Stale> {
    let keep = sink.keep();
    let told = sink.settings.cleaning.is_some();
    let may_go = told || extent != Extent::Declared && sink.settings.others.is_none();
    let mut stale = Stale { keep, ..Stale::default() };
    if may_go {
        let state = sink.log.refresh().await?;
        let seen = |path: &str| !is_aside(path);
        stale.files = unchanged(sink, &state, &long_retired(sink, &state, seen).await?).await?;
    }
    Ok(stale)
}

/// Retired files aside that readers of an older list may still read. Others are no sweep's business.
pub(super) async fn still_read(sink: &FilesSink, state: &State) -> Result<BTreeSet<String>> {
    let over = long_retired(sink, state, is_aside).await?;
    let read = |path: &&String| is_aside(path) && !over.contains(path.as_str());
    Ok(state.retired.keys().filter(read).cloned().collect())
}

fn is_aside(path: &str) -> bool {
    path.starts_with(ASIDE_FOLDER)
}

/// Such files that were retired longer ago than they are kept, by the committer's clock and by the store's: one that is behind must not have a
/// file go early.
async fn long_retired<'a>(
    sink: &FilesSink,
    state: &'a State,
    such: impl Fn(&str) -> bool,
) -> Result<BTreeSet<&'a str>> {
    let before = sink.now().saturating_sub(sink.keep_ms());
    let old = || state.retired.iter().filter(|(path, file)| such(path) && file.since < before);
    let commits: BTreeSet<u64> = old().map(|(_, file)| file.seq).collect();
    let late = stream::iter(commits)
        .map(|seq| async move {
            let stored = sink.log.stored_at(seq).await?;
            Ok::<_, WorkerError>((seq, stored.is_some_and(|at| at >= before)))
        })
        .buffered(HEADS_AT_A_TIME);
    let late: BTreeSet<u64> =
        late.try_filter_map(|(seq, late)| std::future::ready(Ok(late.then_some(seq)))).try_collect().await?;
    Ok(old().filter(|(_, file)| !late.contains(&file.seq)).map(|(path, _)| path.as_str()).collect())
}

/// Those that are what they were when their rows were read: a file that somebody wrote again has rows of its own. With the commit
/// that does without each.
async fn unchanged(sink: &FilesSink, state: &State, old: &BTreeSet<&str>) -> Result<BTreeMap<String, Option<u64>>> {
    let known = |path: &&str| Some(((*path).to_owned(), state.retired.get(*path)?.clone()));
    let files: Vec<(String, Retired)> = old.iter().filter_map(known).collect();
    stream::iter(files)
        .map(|(path, retired)| async move {
            let Some(meta) = sink.storage.head(&path).await? else { return Ok(None) };
            let same = match &retired.version {
                None => meta.size == retired.bytes,
                Some(version) => *version == folder::version(&meta),
            };
            Ok::<_, WorkerError>(same.then_some((path, Some(retired.seq))))
        })
        .buffered(HEADS_AT_A_TIME)
        .try_filter_map(|found| std::future::ready(Ok(found)))
        .try_collect()
        .await
}
