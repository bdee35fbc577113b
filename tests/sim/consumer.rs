//! Somebody who reads windows of a folder as soon as their markers are there, and goes by nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;
use windrow_common::invariant::Violation;

use crate::{
    bucket::Place,
    oracle::Log,
    pipelines,
    rows::{Row, rows_in},
    world::World,
};

/// What a marker says.
#[derive(Deserialize)]
struct Marker {
    seq: u64,
    windows: Vec<Marked>,
    files: Vec<File>,
}

#[derive(Deserialize)]
struct Marked {
    start: Timestamp,
}

#[derive(Deserialize)]
struct File {
    path: String,
}

pub(crate) struct Consumer {
    world: Arc<World>,
    /// What there has to be, by the windows' starts.
    expected: BTreeMap<i64, Vec<Row>>,
    /// What was read of files; none is ever another under its name.
    files: BTreeMap<String, Vec<Row>>,
    /// How often the folder had changed at the last look.
    changes: u64,
    /// The markers that were there once.
    seen: BTreeSet<(i64, u64)>,
}

impl Consumer {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let expected = pipelines::marked(&world.plan);
        Self { world, expected, files: BTreeMap::new(), changes: 0, seen: BTreeSet::new() }
    }

    /// How many markers there were.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Where nothing went wrong every window has its marker in the end; else the delete of a late committer may have taken one.
    pub(crate) fn end(&self) -> Result<(), Violation> {
        let markers = self.world.objects.place(pipelines::BACKFILLED).markers().len();
        match self.world.plan.faults.is_empty() && markers < self.expected.len() {
            true => Err(wrong(format!("there are {markers} markers of {} windows", self.expected.len()))),
            false => Ok(()),
        }
    }

    /// INV-17: where a marker is, all rows of its window are there, once, and are those of the commit it tells of.
    pub(crate) fn look(&mut self, log: &Log) -> Result<(), Violation> {
        let place = self.world.objects.place(pipelines::BACKFILLED);
        let changes = place.changes();
        if std::mem::replace(&mut self.changes, changes) == changes {
            return Ok(());
        }
        let markers = place.markers();
        if markers.is_empty() {
            return Ok(());
        }
        let mut found: BTreeMap<Row, u64> = BTreeMap::new();
        let shown = place.shown();
        for path in &shown {
            self.read(&place, path)?.iter().for_each(|row| *found.entry(row.clone()).or_default() += 1);
        }
        markers.iter().try_for_each(|path| self.check((path, &place), (&shown, &found), log))
    }

    fn read(&mut self, place: &Place, path: &str) -> Result<&Vec<Row>, Violation> {
        if !self.files.contains_key(path) {
            let rows = rows_in(place, path).ok_or_else(|| wrong(format!("{path} cannot be read")))?;
            self.files.insert(path.to_owned(), rows);
        }
        Ok(&self.files[path])
    }

    fn check(
        &mut self,
        (path, place): (&str, &Place),
        (shown, found): (&[String], &BTreeMap<Row, u64>),
        log: &Log,
    ) -> Result<(), Violation> {
        let told = place.bytes(path).and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok());
        let told = told.ok_or_else(|| wrong(format!("{path} cannot be read")))?;
        for window in &told.windows {
            let start = window.start.as_microsecond();
            self.seen.insert((start, told.seq));
            let newest = log.newest_of(start);
            if newest != Some(told.seq) {
                return Err(wrong(format!("{path} tells of commit {}, and its window is of {newest:?}", told.seq)));
            }
            let rows = self.expected.get(&start).ok_or_else(|| wrong(format!("{path} is of no window")))?;
            if let Some(row) = rows.iter().find(|row| found.get(row) != Some(&1)) {
                return Err(wrong(format!("{path} is there, and row {row:?} {:?} times", found.get(row))));
            }
        }
        match told.files.iter().find(|file| !shown.contains(&file.path)) {
            Some(file) => Err(wrong(format!("{path} names {}, which is not there", file.path))),
            None => Ok(()),
        }
    }
}

fn wrong(message: String) -> Violation {
    Violation { id: "INV-17", message }
}
