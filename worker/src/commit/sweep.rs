//! The committer's part in a sweep: list, keep the list, and when the coordinator has said what lives and what is pinned, take
//! the rest away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use windrow_common::{error, failpoint, pin::Version};
use windrow_proto::{
    convert::{Malformed, required, task_id},
    v1,
};

use super::checked_sink;
use crate::{
    clean::{self, List, Report},
    error::{Result, WorkerError},
    open::{Connectors, read_pipeline},
    sink::cleaning::{Extent, Vacuumed},
    sweep::{self, Listed, LiveSet, Swept},
};

/// Lists kept for sweeps under way; a sweep whose second half never came is forgotten when there are more.
const MOST_LISTS: usize = 64;
/// Files of a report that are named.
const MOST_NAMED: usize = 1_000;

/// What was listed, by request.
#[derive(Default)]
pub(super) struct Lists(Mutex<BTreeMap<u64, Found>>);

/// What may be taken away: of attempts, and of the table.
struct Found {
    staged: Vec<Listed>,
    stale: List,
    /// `None`: attempts' files alone are to go.
    keep: Option<Duration>,
}

impl Lists {
    pub(super) async fn list(&self, connectors: &Connectors, asked: &v1::SweepList, now: Timestamp) -> Result<u64> {
        let pipeline = read_pipeline(&asked.pipeline)?;
        checked_sink(&asked.sink, &pipeline)?;
        let sink = connectors.sink(&pipeline)?;
        let mut staged = sweep::list(sink.as_ref(), now, Duration::from_millis(asked.grace_ms)).await?;
        let (mut stale, mut keep) = (List::default(), None);
        if let Some(extent) = extent(asked) {
            let found = sink.stale(extent).await?;
            keep = Some(found.keep);
            stale = clean::list(sink.as_ref(), found).await?;
        }
        // What the table has given up is told of as that, whoever wrote it.
        let given_up: BTreeSet<&String> = stale.files.iter().map(|candidate| &candidate.object.path).collect();
        staged.retain(|file| file.upload.is_some() || !given_up.contains(&file.path));
        let files = (staged.len() + stale.files.len() + stale.log.len()) as u64;
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(asked.request, Found { staged, stale, keep });
        while lists.len() > MOST_LISTS {
            lists.pop_first();
        }
        Ok(files)
    }

    pub(super) async fn delete(
        &self,
        connectors: &Connectors,
        asked: &v1::SweepDelete,
    ) -> Result<(Swept, Option<v1::CleanReport>)> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked.request);
        let Some(found) = taken else { return Ok((Swept::default(), None)) };
        let pipeline = read_pipeline(&asked.pipeline)?;
        let id = checked_sink(&asked.sink, &pipeline)?;
        let sink = connectors.sink(&pipeline)?;
        let said = live_set(&asked.live).and_then(|live| Ok((live, pins(&asked.pinned)?)));
        let (live, pins) = said.map_err(|cause| {
            WorkerError::later(error::VERSION_SKEW, "the coordinator's list of what lives makes no sense")
                .because(cause)
        })?;
        failpoint::reach(failpoint::Point::Sweeping, &asked.sink).await?;
        let kept = sweep::kept(sink.as_ref(), &pins).await?;
        let report = match found.keep {
            None => None,
            Some(keep) => {
                let cleaned = clean::take_away((sink.as_ref(), &id), &found.stale, &kept, asked.only_look).await?;
                Some(report(&cleaned, keep))
            }
        };
        if asked.only_look {
            return Ok((Swept::default(), report));
        }
        Ok((sweep::take_away(sink.as_ref(), &found.staged, &live, &kept).await?, report))
    }
}

/// How far the sink is to be cleaned; `None` if the coordinator knows nothing of that, nor of pins.
pub(super) fn extent(asked: &v1::SweepList) -> Option<Extent> {
    match asked.clean() {
        v1::CleanExtent::Unspecified => None,
        v1::CleanExtent::Declared => Some(Extent::Declared),
        v1::CleanExtent::Asked => Some(Extent::Asked),
        v1::CleanExtent::Looked => Some(Extent::Looked),
    }
}

fn report(cleaned: &Report, keep: Duration) -> v1::CleanReport {
    let named = cleaned.files.iter().take(MOST_NAMED);
    v1::CleanReport {
        files: cleaned.files.len() as u64,
        bytes: cleaned.files.iter().chain(&cleaned.log).map(|object| object.bytes).sum(),
        some: named.map(|file| v1::CleanedFile { path: file.path.clone(), bytes: file.bytes }).collect(),
        log_files: cleaned.log.len() as u64,
        whole_from: cleaned.whole_from.unwrap_or_default(),
        held: cleaned
            .held
            .iter()
            .map(|(version, files, bytes)| v1::HeldBack {
                version: Some((*version).into()),
                files: *files,
                bytes: *bytes,
            })
            .collect(),
        keep_ms: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
        tables: Vec::new(),
    }
}

pub(super) fn vacuumed(table: Vacuumed) -> v1::VacuumedTable {
    v1::VacuumedTable {
        table: table.table,
        dead_before: table.dead_before,
        dead_after: table.dead_after,
        took_ms: u64::try_from(table.took.as_millis()).unwrap_or(u64::MAX),
        left: table.left.unwrap_or_default(),
    }
}

/// One claim that cannot be read makes the whole list worthless: its files would be deleted.
fn live_set(live: &[v1::HeldClaim]) -> Result<LiveSet, Malformed> {
    live.iter().map(|claim| Ok((task_id(&claim.task)?, required(claim.token, "token")?.into()))).collect()
}

/// So does one pin.
pub(super) fn pins(pinned: &[v1::PinnedVersion]) -> Result<Vec<Version>, Malformed> {
    pinned.iter().map(|version| (*version).try_into()).collect()
}
