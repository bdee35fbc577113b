//! Cleaning of the table: which files it has given up, what of the log goes, and what pinned versions need. A version can
//! be pinned only if nothing it needs may be on anybody's list of what is deleted, not even on one of a committer that is late: all
//! of it has to be part of the table, or to have been given up so lately that it is on none.

use std::collections::{BTreeMap, BTreeSet};

use deltalake_core::DeltaTable;
use futures::{StreamExt, TryStreamExt, stream};
use windrow_common::{
    count::{counted, either, grouped},
    error,
    pin::{Version, Wanted},
};

use super::{
    DeltaSink,
    expired::{self, LogObject, Needs},
    log::broken,
    removed::Removals,
};
use crate::{
    error::{Result, WorkerError, in_one_line},
    sink::{
        Sink,
        cleaning::{Extent, Object, Stale, Whole, margin},
        versions,
    },
};

/// Files looked at a time.
const HEADS_AT_A_TIME: usize = 32;
/// Versions of full loads among which one is looked for.
const MOST_LOADS: usize = 1_000;

/// The files of a version, with their bytes.
type Files = BTreeMap<String, u64>;

impl DeltaSink {
    /// Files that were removed longer ago than they are kept, and are not part of the table again.
    pub(super) async fn given_up(&self, extent: Extent) -> Result<Stale> {
        let Some(loaded) = self.log.open(None).await? else { return Ok(Stale::default()) };
        let state = loaded.snapshot().map_err(broken)?;
        let log = expired::list(&self.storage).await?;
        let expendable = self.expendable(&loaded, &log, &[])?.into_iter().map(|object| object.path.clone()).collect();
        let mut stale = Stale { files: BTreeMap::new(), log: expendable, keep: self.keep(state) };
        if extent != Extent::Declared || self.params.cleaning.is_some() {
            let (active, before) = (active(&loaded)?, self.now() - stale.keep.as_millis() as i64);
            let removals = self.removals(&loaded, &log).await?.into_iter();
            let gone = removals.filter(|(path, removal)| removal.is_before(before) && !active.contains_key(path));
            stale.files = gone.map(|(path, removal)| (path, removal.version)).collect();
        }
        Ok(stale)
    }

    pub(super) async fn expired_log(&self, pins: &[Version]) -> Result<Vec<Object>> {
        let Some(loaded) = self.log.open(None).await? else { return Ok(Vec::new()) };
        let log = expired::list(&self.storage).await?;
        let gone = self.expendable(&loaded, &log, pins)?;
        Ok(gone.into_iter().map(|object| Object { path: object.path.clone(), bytes: object.bytes }).collect())
    }

    fn expendable<'a>(
        &self,
        loaded: &DeltaTable,
        log: &'a [LogObject],
        pins: &[Version],
    ) -> Result<Vec<&'a LogObject>> {
        self.expendable_at(loaded, log, (pins, self.now()))
    }

    fn expendable_at<'a>(
        &self,
        loaded: &DeltaTable,
        log: &'a [LogObject],
        (pins, now): (&[Version], i64),
    ) -> Result<Vec<&'a LogObject>> {
        let state = loaded.snapshot().map_err(broken)?;
        let told = state.table_config().enable_expired_log_cleanup;
        if told == Some(false) {
            return Ok(Vec::new());
        }
        let pins: Vec<u64> = pins.iter().filter_map(|pin| table_version(*pin)).collect();
        let since = now - self.keep_log(state).as_millis() as i64;
        Ok(expired::expendable(log, &Needs { newest: state.version(), since, pins: &pins }))
    }

    /// The files of a pinned version.
    pub(super) async fn files_of(&self, version: Version) -> Result<Files> {
        match version {
            Version::Load(number) => {
                let all = versions::walk(&self.storage, self.probe().await?, MOST_LOADS).await?;
                let load = all.into_iter().find(|found| found.number == number).and_then(|found| found.load);
                let load = load.ok_or_else(|| no_longer(version, "the record of its load is gone"))?;
                Ok(load.add.into_iter().map(|file| (file.path, file.bytes)).collect())
            }
            Version::Table(number) => match self.log.open(Some(number)).await {
                Ok(Some(loaded)) => active(&loaded),
                Ok(None) => Err(no_longer(version, "there is no table any more")),
                Err(cause) if cause.code() == error::SINK_BROKEN => {
                    Err(no_longer(version, &format!("it cannot be made from the log: {}", in_one_line(&cause))))
                }
                Err(cause) => Err(cause),
            },
        }
    }

    pub(super) async fn look_whole(&self, wanted: Wanted, pins: &[Version]) -> Result<Whole> {
        let gone = |why: String| {
            WorkerError::never(error::PIN_GONE, why)
                .at(self.storage.url().to_string())
                .fix("pin a newer version; the table's history tells which there are")
        };
        let Some(loaded) = self.log.open(None).await? else { return Err(gone("there is no table yet".to_owned())) };
        let log = expired::list(&self.storage).await?;
        let newest = loaded.snapshot().map_err(broken)?.version();
        let version = match wanted {
            Wanted::Version(version) => version,
            Wanted::At(at) => {
                let found = expired::newest_at(&log, at.as_millisecond());
                Version::Table(found.ok_or_else(|| gone(format!("the log does not go back to {at}")))?)
            }
        };
        if let Some(number) = table_version(version) {
            if number > newest {
                return Err(gone(format!("there is no version {number} yet; the newest is {newest}")));
            }
            // What a cleaning that is late may still delete does not count.
            let late = self.expendable_at(&loaded, &log, (pins, self.now() + self.ahead_of_log(&loaded)?))?;
            if !expired::makes(log.iter().filter(|object| !late.contains(object)), number) {
                return Err(gone(format!("version {number} is so old that its log is gone, or may go at any time")));
            }
        }
        let files = self.files_of(version).await.map_err(|cause| match cause.code() {
            error::PIN_BROKEN => gone(format!("version {version} is not there: {}", in_one_line(&cause))),
            _ => cause,
        })?;
        self.check_certain((version, &files), &loaded, &log, pins).await?;
        self.check_present(version, &files).await?;
        Ok(Whole { version, files: files.len() as u64, bytes: files.values().sum() })
    }

    /// That none of the files can be on a list of what is deleted.
    async fn check_certain(
        &self,
        (version, files): (Version, &Files),
        loaded: &DeltaTable,
        log: &[LogObject],
        pins: &[Version],
    ) -> Result<()> {
        let active = active(loaded)?;
        let away: BTreeSet<&String> = files.keys().filter(|path| !active.contains_key(*path)).collect();
        if away.is_empty() {
            return Ok(());
        }
        let state = loaded.snapshot().map_err(broken)?;
        let keep = self.keep(state);
        let before = self.now() + margin(keep).as_millis() as i64 - keep.as_millis() as i64;
        let removals: Removals = self.removals(loaded, log).await?;
        // Sweeps may know of tombstones alone, and of no other time than theirs.
        let swept = if self.tombstones_suffice(state) { Some(self.tombstones(loaded).await?) } else { None };
        let is_late =
            |removals: &Removals, path: &String| removals.get(path).is_some_and(|removal| !removal.is_before(before));
        let lately = |path: &String| {
            is_late(&removals, path) && swept.as_ref().is_none_or(|tombstones| is_late(tombstones, path))
        };
        let mut uncertain: BTreeSet<&String> = away.into_iter().filter(|path| !lately(path)).collect();
        for pin in pins {
            if uncertain.is_empty() {
                break;
            }
            let held = self.files_of(*pin).await?;
            uncertain.retain(|path| !held.contains_key(*path));
        }
        match uncertain.len() {
            0 => Ok(()),
            count => {
                let message = format!(
                    "{} of {} of version {version} {} given up so long ago that {} may go at any time",
                    grouped(count),
                    counted(files.len(), "file"),
                    either(count, "was", "were"),
                    either(count, "it", "they")
                );
                Err(WorkerError::never(error::PIN_GONE, message)
                    .at(self.storage.url().to_string())
                    .fix("pin a newer version, and have removed files kept for longer: `cleaning: { keep: 30d }`"))
            }
        }
    }

    async fn check_present(&self, version: Version, files: &Files) -> Result<()> {
        let storage = self.storage.clone();
        let paths: Vec<String> = files.keys().cloned().collect();
        let missing = stream::iter(paths)
            .map(|path| {
                let storage = storage.clone();
                async move { Ok::<_, WorkerError>(storage.head(&path).await?.is_none()) }
            })
            .buffer_unordered(HEADS_AT_A_TIME)
            .try_fold(0_usize, |count, missing| std::future::ready(Ok(count + usize::from(missing))))
            .await?;
        match missing {
            0 => Ok(()),
            count => Err(WorkerError::never(
                error::PIN_GONE,
                format!(
                    "{} of {} of version {version} {}",
                    grouped(count),
                    counted(files.len(), "file"),
                    either(count, "is gone", "are gone")
                ),
            )
            .at(self.storage.url().to_string())
            .fix("pin a newer version; somebody vacuumed the table")),
        }
    }

    fn ahead_of_log(&self, loaded: &DeltaTable) -> Result<i64> {
        Ok(margin(self.keep_log(loaded.snapshot().map_err(broken)?)).as_millis() as i64)
    }
}

/// The files of a version as it is loaded.
pub(super) fn active(loaded: &DeltaTable) -> Result<Files> {
    let state = loaded.snapshot().map_err(broken)?;
    let bytes = |size: i64| u64::try_from(size).unwrap_or(0);
    Ok(state.log_data().iter().map(|file| (file.path().into_owned(), bytes(file.size()))).collect())
}

fn table_version(version: Version) -> Option<u64> {
    match version {
        Version::Table(version) => Some(version),
        Version::Load(_) => None,
    }
}

/// Cleaning stands still rather than guess what a pinned version needs.
fn no_longer(version: Version, why: &str) -> WorkerError {
    WorkerError::never(error::PIN_BROKEN, format!("the pinned version {version} cannot be read: {why}"))
        .fix("let go of its pin: windrow get pins, windrow unpin ID")
}
