//! Versions that are kept: the files of a version that is not shown any more lie where no reader looks, and nothing is
//! published from there. Going back to one stages copies of them, under names of the rollback's own, and publishes these as
//! a load's are: so that whoever is late with an older commit finds nothing of this one to copy or to delete.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use windrow_common::{error, intent::IntentBody, manifest::StagedFile, marker::Markers};

use super::{FilesSink, KEPT_FOLDER, STAGE_FOLDER, prepare::check_position, state::State};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Again,
        versions::{self, Version},
    },
    stage::{StagedName, joined, manifest},
    storage::Copied,
};

const COPIES_AT_A_TIME: usize = 16;

/// Where a staged file goes when its version is shown no more.
pub(super) fn kept_path(staged: &str) -> String {
    joined(&[KEPT_FOLDER, staged.strip_prefix(STAGE_FOLDER).unwrap_or(staged)])
}

/// The files of the versions that are kept, the shown one among them.
pub(super) async fn kept(sink: &FilesSink, state: &State) -> Result<BTreeSet<String>> {
    if !sink.settings.keeps() {
        return Ok(BTreeSet::new());
    }
    let most = sink.settings.keep_versions as usize;
    let newest = versions::walk(&sink.storage, state.committed(), most).await?;
    Ok(newest.iter().flat_map(|version| &version.newest.add).map(|file| kept_path(&file.path)).collect())
}

/// Why versions cannot be shown again. What is past those that are kept can be until it is swept.
pub(super) async fn gone(sink: &FilesSink, versions: &[Version]) -> Result<Vec<Option<String>>> {
    let mut answers = Vec::with_capacity(versions.len());
    for version in versions {
        let kept: Vec<StagedFile> = version.newest.add.iter().map(kept_file).collect();
        answers.push(match manifest::verify_files(&sink.storage, &kept).await {
            Ok(()) => None,
            Err(cause) if cause.code() == error::STAGED_FILE_BAD => {
                Some("is not kept: its files were taken away".to_owned())
            }
            Err(cause) => return Err(cause),
        });
    }
    Ok(answers)
}

fn kept_file(file: &StagedFile) -> StagedFile {
    StagedFile { path: kept_path(&file.path), ..file.clone() }
}

pub(super) async fn show(sink: &FilesSink, version: &Version, again: Again) -> Result<IntentBody> {
    let state = sink.log.refresh().await?;
    check_position(&state, again.seq, again.previous)?;
    let files: Vec<(usize, StagedFile)> = version.newest.add.iter().cloned().enumerate().collect();
    let add = stream::iter(files)
        .map(|(number, file)| staged_again(sink, number, file, again))
        .buffered(COPIES_AT_A_TIME)
        .try_collect()
        .await?;
    Ok(IntentBody {
        sink: version.newest.sink.clone(),
        seq: again.seq,
        previous: again.previous,
        previous_aborted: again.previous_aborted,
        tasks: Vec::new(),
        schema: version.newest.schema.clone(),
        add,
        remove: state.with_retired(state.files.keys().cloned().collect()),
        dead_letters: Vec::new(),
        change: None,
        shows: Some(version.number),
        markers: Markers::default(),
    })
}

/// A kept file, staged as if it had just been written.
async fn staged_again(sink: &FilesSink, number: usize, file: StagedFile, again: Again) -> Result<StagedFile> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let extension = StagedName::parse(name).map_or("data".to_owned(), |name| name.extension);
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let name = StagedName::new(&again.id, again.token, number, &extension).to_string();
    let path = joined(&[folder, &name]);
    let kept = kept_path(&file.path);
    match sink.storage.copy_if_absent(&kept, &path).await? {
        Copied::Made | Copied::TargetExists => Ok(StagedFile { path, ..file }),
        Copied::SourceMissing => Err(WorkerError::never(error::VERSION_GONE, "a file of the version is gone").at(kept)),
    }
}
