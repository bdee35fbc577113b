//! The sweep: takes away staged files that nothing refers to any more, and uploads of such files that were never
//! finished. Its order is what makes it safe: first it lists, then it asks what lives. A file that becomes live after it
//! was listed was live, or claimed, when the question was asked; the other way round it would be deleted. And only what nothing
//! needs any more is listed: what ages until a late committer deletes may be pinned by then, which it has not heard of.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use windrow_common::{claim::Token, id::TaskId, pin::Version};

use crate::{
    clean::Candidate,
    error::{Result, in_one_line},
    sink::Sink,
    stage::{StagedName, dead_letters},
    storage::sink_error,
};

/// Most files one sweep takes away; the next one goes on.
const MOST_FILES: usize = 100_000;
const DELETES_AT_A_TIME: usize = 16;

/// The attempts whose files may still be published: of claimed and of sealed tasks, and of recorded intents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSet {
    attempts: BTreeSet<(String, Token)>,
}

impl FromIterator<(TaskId, Token)> for LiveSet {
    fn from_iter<I: IntoIterator<Item = (TaskId, Token)>>(attempts: I) -> Self {
        Self { attempts: attempts.into_iter().map(|(task, token)| (task.short(), token)).collect() }
    }
}

/// The files that something needs, at the time of the look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    referenced: BTreeSet<String>,
    pinned: Vec<(Version, BTreeSet<String>)>,
}

/// Looks at the table and at its pinned versions. A version that cannot be read any more ends it: what it needs is not known.
pub async fn kept(sink: &dyn Sink, pins: &[Version]) -> Result<Kept> {
    let mut pinned = Vec::with_capacity(pins.len());
    for version in pins {
        pinned.push((*version, sink.needed(*version).await?));
    }
    Ok(Kept { referenced: sink.referenced().await?, pinned })
}

impl Kept {
    pub fn contains(&self, path: &str) -> bool {
        self.referenced.contains(path) || self.pinned.iter().any(|(_, files)| files.contains(path))
    }

    pub fn pins(&self) -> Vec<Version> {
        self.pinned.iter().map(|(version, _)| *version).collect()
    }

    /// Of the candidates, how many each pin needs and nothing else does but other pins, and their bytes.
    pub fn held_back(&self, candidates: &[Candidate]) -> Vec<(Version, u64, u64)> {
        let held = self.pinned.iter().map(|(version, files)| {
            let all = candidates.iter().map(|candidate| &candidate.object);
            let own = all.filter(|object| files.contains(&object.path) && !self.referenced.contains(&object.path));
            let (count, bytes) = own.fold((0, 0), |(count, bytes), object| (count + 1, bytes + object.bytes));
            (*version, count, bytes)
        });
        held.filter(|(_, count, _)| *count > 0).collect()
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub files: u64,
    pub bytes: u64,
}

/// A staged file, or an unfinished upload of one, that is old enough to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: String,
    pub bytes: u64,
    /// Of an upload: what the store calls it.
    pub upload: Option<String>,
}

/// Takes away what was listed and is neither live nor needed. `live` must have been asked for after the listing, and `kept`
/// found out then.
pub async fn take_away(sink: &dyn Sink, listed: &[Listed], live: &LiveSet, kept: &Kept) -> Result<Swept> {
    let doomed = doomed(listed, live, kept);
    let swept = Swept { files: doomed.len() as u64, bytes: doomed.iter().map(|file| file.bytes).sum() };
    let doomed: Vec<Listed> = doomed.into_iter().cloned().collect();
    stream::iter(doomed.into_iter().map(Ok))
        .try_for_each_concurrent(DELETES_AT_A_TIME, |file| async move {
            match &file.upload {
                Some(upload) => sink.storage().abort_upload(&file.path, upload).await,
                None => sink.storage().delete(&file.path).await,
            }
        })
        .await?;
    Ok(swept)
}

/// The listed files in neither set. Dead letters stay: published ones are no part of the table. An upload is not the
/// file it was to become, so only a live attempt keeps it.
pub fn doomed<'a>(listed: &'a [Listed], live: &LiveSet, kept: &Kept) -> Vec<&'a Listed> {
    let is_live = |name: &StagedName| live.attempts.contains(&(name.task16.clone(), name.token));
    let letters = |path: &str| path.strip_prefix(dead_letters::FOLDER).is_some_and(|rest| rest.starts_with('/'));
    let orphan = |file: &&Listed| match StagedName::parse(&file.path) {
        Some(name) if file.upload.is_some() => !is_live(&name),
        Some(name) => !is_live(&name) && !kept.contains(&file.path) && !letters(&file.path),
        // Not windrow's own.
        None => false,
    };
    listed.iter().filter(orphan).collect()
}

/// What was staged at the sink before `now - grace`, by the store's own time of its last change, and is not needed now.
pub async fn list(sink: &dyn Sink, now: Timestamp, grace: Duration) -> Result<Vec<Listed>> {
    let oldest = now.as_millisecond().saturating_sub(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
    let found = sink.storage().objects().list(None).map_err(|cause| sink_error(cause, "")).try_filter_map(|object| {
        let path = object.location.to_string();
        let old = object.last_modified.timestamp_millis() < oldest;
        let staged = old && StagedName::parse(&path).is_some();
        std::future::ready(Ok(staged.then_some(Listed { path, bytes: object.size, upload: None })))
    });
    let mut listed: Vec<Listed> = found.take(MOST_FILES).try_collect().await?;
    let referenced = sink.referenced().await?;
    listed.retain(|file| !referenced.contains(&file.path));
    listed.extend(unfinished(sink, oldest).await);
    Ok(listed)
}

/// Uploads begun before `oldest`, in milliseconds. Files are worth sweeping even when these cannot be had.
async fn unfinished(sink: &dyn Sink, oldest: i64) -> Vec<Listed> {
    let found = sink.storage().unfinished_uploads().await.unwrap_or_else(|error| {
        tracing::warn!(error = %in_one_line(&error), "unfinished uploads cannot be listed, so none is aborted");
        Vec::new()
    });
    let staged = found
        .into_iter()
        .filter(|upload| upload.since.as_millisecond() < oldest && StagedName::parse(&upload.path).is_some());
    staged.map(|upload| Listed { path: upload.path, bytes: 0, upload: Some(upload.id) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(task: u8, revision: i64) -> Listed {
        let task16 = TaskId::from_bytes([task; 16]).short();
        let path = format!("day=1/part-{task16}-e1-t{revision}-0-00000000-0000-4000-8000-000000000000.parquet");
        Listed { path, bytes: 1, upload: None }
    }

    fn live(attempts: &[(u8, i64)]) -> LiveSet {
        attempts
            .iter()
            .map(|(task, revision)| (TaskId::from_bytes([*task; 16]), Token { epoch: 1, revision: *revision }))
            .collect()
    }

    /// Proves CL3. What a zombie staged goes, what its successor staged stays.
    #[test]
    fn only_files_of_dead_attempts_that_no_table_refers_to_are_doomed() {
        let listed = [staged(1, 10), staged(1, 20), staged(2, 30), staged(3, 40)];
        let kept = Kept { referenced: BTreeSet::from([listed[2].path.clone()]), pinned: Vec::new() };
        assert_eq!(doomed(&listed, &live(&[(1, 20)]), &kept), [&listed[0], &listed[3]]);
        let pinned = vec![(Version::Table(7), BTreeSet::from([listed[3].path.clone()]))];
        let kept = Kept { pinned, ..kept };
        assert_eq!(doomed(&listed, &live(&[(1, 20)]), &kept), [&listed[0]], "a pinned version needs the other");
    }

    #[test]
    fn an_upload_is_kept_by_a_live_attempt_alone() {
        let upload = |task, revision| Listed { upload: Some("u".to_owned()), ..staged(task, revision) };
        let listed = [upload(1, 10), upload(1, 20)];
        let kept = Kept { referenced: BTreeSet::from([listed[0].path.clone()]), pinned: Vec::new() };
        assert_eq!(doomed(&listed, &live(&[(1, 20)]), &kept), [&listed[0]]);
    }

    #[test]
    fn files_that_are_not_staged_ones_and_dead_letters_are_left_alone() {
        let strange = |path: &str| Listed { path: path.to_owned(), bytes: 1, upload: None };
        let mut letter = staged(9, 9);
        letter.path = letter.path.replace("day=1", dead_letters::FOLDER);
        let listed =
            [strange("_delta_log/00000000000000000000.json"), strange("part-0001.parquet"), strange("x.csv"), letter];
        assert!(doomed(&listed, &LiveSet::default(), &Kept::default()).is_empty());
    }
}
