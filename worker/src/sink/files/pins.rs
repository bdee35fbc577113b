//! Versions of full loads that are pinned: their kept files stay although newer versions are kept in their place. A version that
//! is kept now is on no list of what is swept, so that is what a pin asks for.

use std::collections::BTreeSet;

use windrow_common::{
    error,
    manifest::StagedFile,
    pin::{Version, Wanted},
};

use super::{
    FilesSink,
    again::{self, kept_path},
};
use crate::{
    error::{Result, WorkerError},
    sink::{
        cleaning::Whole,
        versions::{self, Version as Shown},
    },
};

/// Versions among which one is looked for.
const MOST: usize = 1_000;

/// Where the files of a pinned version are: they are staged until the next version is shown.
pub(super) async fn needed(sink: &FilesSink, version: Version) -> Result<BTreeSet<String>> {
    let found = find(sink, version).await?.ok_or_else(|| {
        WorkerError::never(error::PIN_BROKEN, format!("the record of the pinned version {version} is gone"))
            .fix("let go of its pin: windrow get pins, windrow unpin ID")
    })?;
    let paths = found.newest.add.iter().flat_map(|file| [file.path.clone(), kept_path(&file.path)]);
    Ok(paths.collect())
}

pub(super) async fn whole(sink: &FilesSink, wanted: Wanted, pins: &[Version]) -> Result<Whole> {
    let nothing = |why: &str, fix: &str| Err(WorkerError::never(error::NOTHING_TO_PIN, why).fix(fix));
    let Wanted::Version(version @ Version::Load(_)) = wanted else {
        return nothing(
            "a folder of files has no versions but those of full loads",
            "write one as `windrow get versions` lists it: --version v3",
        );
    };
    if !sink.settings.keeps() {
        return nothing(
            "the folder keeps no version beside the shown one",
            "keep some: `expose: { keep_versions: 2 }` in a full load's sink",
        );
    }
    let gone = |why: &str| {
        WorkerError::never(error::PIN_GONE, format!("{version} {why}"))
            .at(sink.storage.url().to_string())
            .fix("see what is kept: windrow get versions PIPELINE")
    };
    let found = find(sink, version).await?.ok_or_else(|| gone("is not known to its sink"))?;
    let state = sink.log.refresh().await?;
    let kept = again::kept(sink, &state).await?;
    let is_kept = found.newest.add.iter().all(|file| kept.contains(&kept_path(&file.path)));
    if !is_kept && !pins.contains(&version) {
        return Err(gone("is past the versions that are kept, and may go at any time"));
    }
    // The newest one is where readers see it, and has no place of its own yet.
    let is_shown = found.newest.seq == state.seq;
    if !is_shown && again::gone(sink, std::slice::from_ref(&found)).await?.into_iter().any(|why| why.is_some()) {
        return Err(gone("is not there any more: its files were taken away"));
    }
    let add: &[StagedFile] = &found.newest.add;
    Ok(Whole { version, files: add.len() as u64, bytes: add.iter().map(|file| file.bytes).sum() })
}

async fn find(sink: &FilesSink, version: Version) -> Result<Option<Shown>> {
    let Version::Load(number) = version else { return Ok(None) };
    let newest = sink.log.refresh().await?.committed();
    let all = versions::walk(&sink.storage, newest, MOST).await?;
    Ok(all.into_iter().find(|found| found.number == number))
}
