//! The watcher, a reader that is not ours: it checks every version, and each pinned one for as long as it is pinned. What it has checked is
//! made to look hours old, so that it may be cleaned away while everything goes on.

use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use windrow_tests::peer::Peer;

use super::{desk::Desk, timeline::EVERY};

const WATCHER: &str = include_str!("../../../readers/watcher.py");
/// Most versions of one look.
const MOST: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// Looks between those at pinned versions.
const PINS_EVERY: u32 = 10;
/// For so long what the table gave up really stays: longer than anybody here stands still.
const KEEP: Duration = Duration::from_secs(15);
/// How much older it looks from then on: more than the pipeline's `cleaning.keep`.
const OLDER: Duration = Duration::from_secs(3 * 3_600);

pub(super) struct Watcher(Peer);

/// What the log of a table tells in the end.
#[derive(Debug, Deserialize)]
pub(super) struct End {
    /// All readers found what the newest version has to hold.
    pub(super) agree: bool,
    /// The numbers of windrow's commits, in order.
    pub(super) seqs: Vec<u64>,
    /// Every data file there ever was.
    pub(super) paths: Vec<String>,
    /// Those of the newest version.
    pub(super) live: Vec<String>,
    pub(super) rows: u64,
    /// Of any version.
    pub(super) most_files: u64,
    /// Commits and faults by kind.
    pub(super) count: std::collections::BTreeMap<String, u64>,
}

/// Watches until there is nothing more to watch.
pub(super) fn watch(desk: &Desk) -> Result<Watcher> {
    let mut watcher = Watcher::of(desk)?;
    let mut looks = 0_u32;
    while !desk.is_closed() {
        watcher.look(desk)?;
        age(&desk.table.join("_delta_log"), desk.seen().version)?;
        if looks.is_multiple_of(PINS_EVERY) {
            watcher.read_pinned(desk)?;
        }
        looks += 1;
        sleep(PAUSE);
    }
    Ok(watcher)
}

impl Watcher {
    fn of(desk: &Desk) -> Result<Self> {
        let start = desk.timeline.start.as_microsecond().to_string();
        let every = EVERY.as_micros().to_string();
        let arguments = [desk.table.as_os_str(), start.as_ref(), every.as_ref()];
        Ok(Self(Peer::start_with(&desk.python, WATCHER, &arguments)?))
    }

    /// Checks what has come; whether that is all there is.
    pub(super) fn look(&mut self, desk: &Desk) -> Result<bool> {
        let said = self.0.ask(&format!("look {MOST}"))?;
        check(&said)?;
        let mut seen = desk.seen();
        seen.version = said["version"].as_u64().context("no version")?;
        seen.revisions = serde_json::from_value(said["revisions"].clone())?;
        Ok(said["version"] == said["newest"])
    }

    /// Reads what is pinned. A pin is not let go meanwhile.
    pub(super) fn read_pinned(&mut self, desk: &Desk) -> Result<()> {
        let pins = desk.pins();
        let versions: Vec<String> = pins.values().map(u64::to_string).collect();
        check(&self.0.ask(&format!("pinned {}", versions.join(" ")))?)
    }

    pub(super) fn end(&mut self, desk: &Desk) -> Result<End> {
        while !self.look(desk)? {}
        let said = self.0.ask("end")?;
        check(&said)?;
        Ok(serde_json::from_value(said)?)
    }

    /// How many rows were found wrong in some way, after a look at all there is.
    pub(super) fn wrong(&mut self, what: &str) -> Result<u64> {
        loop {
            let said = self.0.ask(&format!("look {MOST}"))?;
            if said["version"] == said["newest"] {
                return Ok(said["count"][what].as_u64().unwrap_or(0));
            }
        }
    }
}

/// Fails with the first rows that are wrong.
pub(super) fn check(said: &Value) -> Result<()> {
    let faults = said["faults"].as_array().context("the watcher says nothing of faults")?;
    let first: Vec<&str> = faults.iter().filter_map(Value::as_str).collect();
    ensure!(faults.is_empty(), "{} ({})", first.join("; "), said["count"]);
    Ok(())
}

/// Has versions before `checked` be hours old, as the log and the store tell it, some seconds after they were made.
fn age(log: &Path, checked: u64) -> Result<()> {
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.get(..20).and_then(|digits| digits.parse::<u64>().ok());
        if version.is_none_or(|version| version >= checked) {
            continue;
        }
        // Whoever cleans may be faster.
        let Ok(made) = fs::metadata(&path).and_then(|found| found.modified()) else { continue };
        let age = SystemTime::now().duration_since(made).unwrap_or_default();
        if age > KEEP && age < OLDER {
            let _ = make_older(&path, made - OLDER);
        }
    }
    Ok(())
}

/// In one step, so that nobody reads half of it.
fn make_older(path: &Path, made: SystemTime) -> Result<()> {
    let mut bytes = fs::read(path)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let text = String::from_utf8(bytes)?;
        bytes = text.lines().map(removed_earlier).collect::<Result<String>>()?.into_bytes();
    }
    let partial = path.parent().and_then(Path::parent).context("a log lies in a table")?.with_extension("older");
    fs::write(&partial, bytes)?;
    fs::File::options().write(true).open(&partial)?.set_modified(made)?;
    Ok(fs::rename(partial, path)?)
}

fn removed_earlier(line: &str) -> Result<String> {
    let mut line: Value = serde_json::from_str(line)?;
    if let Some(at) = line["remove"]["deletionTimestamp"].as_i64() {
        line["remove"]["deletionTimestamp"] = (at - i64::try_from(OLDER.as_millis())?).into();
    }
    Ok(line.to_string() + "\n")
}
