//! Running cells one after the other: choosing them, a seed for each, what is told, what is recorded, where to go on.

use std::{env, time::Duration};

use anyhow::{Context, Result};
use tokio::{sync::Mutex, time::Instant};
use windrow_tests::{oracle::Found, proof::Proof, skip::skip};

use crate::{
    cases::{CASES, Case},
    cell::{Cell, Fault},
    ground::Ground,
};

/// One course at a time: two cores are few as it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// Longer than any cell may take.
const PATIENCE: Duration = Duration::from_secs(900);
const LAYER: &str = "chaos";

/// Why something cannot be tried here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Missing(pub(crate) &'static str);

/// Something to be tried.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Cell(Cell),
    Case(Case),
}

/// How what held went.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// In words.
    found: String,
    lost: u64,
    doubled: u64,
    /// How often the fault happened.
    times: u64,
}

impl Outcome {
    pub(crate) fn of(found: &Found, fenced: u64, times: u64) -> Self {
        let text = format!(
            "{} rows, {} lost, {} doubled, {} commits, {fenced} seals refused",
            found.rows,
            found.lost,
            found.doubled,
            found.seqs.len()
        );
        Self { found: text, lost: found.lost, doubled: found.doubled, times }
    }

    /// Whoever checked found no row lost and none doubled.
    pub(crate) fn clean(found: String, times: u64) -> Self {
        Self { found, lost: 0, doubled: 0, times }
    }
}

/// Tries one after the other and fails, after all of them, if something did not hold.
pub(crate) async fn run(test: &str, works: &[Work]) {
    let _turn = TURN.lock().await;
    let Some(ground) = Ground::prepare(test).await else { return };
    let base = number("SEED").unwrap_or(1);
    println!("{test}: {} to try, SEED={base}", works.len());
    let mut broken = Vec::new();
    for work in works {
        let (name, begun) = (work.name(), Instant::now());
        let ran = tokio::time::timeout(PATIENCE, work.run(&ground, seed_of(base, &name))).await;
        let seconds = begun.elapsed().as_secs_f64();
        match ran.context("it took too long").flatten() {
            Ok(outcome) => {
                println!("{name:<18} held    {seconds:5.1} s  {}", outcome.found);
                work.record(&outcome, (base, seconds)).unwrap();
            }
            Err(error) if error.downcast_ref::<Missing>().is_some() => skip(&name, &error.to_string()),
            Err(error) => {
                println!("{name:<18} BROKEN  {seconds:5.1} s  {error:#}");
                broken.push(name);
            }
        }
    }
    assert!(broken.is_empty(), "broken with SEED={base}: CELLS={}", broken.join(","));
}

/// All there is.
pub(crate) fn all() -> Vec<Work> {
    let cells = Cell::all().into_iter().map(Work::Cell);
    cells.chain(CASES.iter().copied().map(Work::Case)).collect()
}

impl Work {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cell(cell) => cell.to_string(),
            Self::Case(case) => case.name.to_owned(),
        }
    }

    async fn run(&self, ground: &Ground, seed: u64) -> Result<Outcome> {
        match self {
            Self::Cell(cell) if cell.fault == Fault::Cut && ground.network.is_none() => {
                Err(Missing("there are no network namespaces").into())
            }
            Self::Cell(cell) => cell.run(ground, seed).await,
            Self::Case(case) => (case.run)(ground, seed).await,
        }
    }

    fn record(&self, outcome: &Outcome, (seed, seconds): (u64, f64)) -> Result<()> {
        let (injected, held) = match self {
            Self::Cell(cell) => (cell.injected(), cell.held()),
            Self::Case(case) => (case.injected.to_owned(), case.held.to_vec()),
        };
        let proof = Proof {
            layer: LAYER.to_owned(),
            case: self.name(),
            injected,
            times: outcome.times,
            held: held.iter().map(|id| format!("INV-{id}")).collect(),
            lost: Some(outcome.lost),
            doubled: Some(outcome.doubled),
            seconds: (seconds * 10.0).round() / 10.0,
            command: format!("make chaos CELLS={} SEED={seed}", self.name()),
            seed: Some(seed),
            ..Proof::default()
        };
        proof.write()?;
        Ok(())
    }
}

/// What `CELLS` asks for, `*` standing for anything; without those that held already, unless `FRESH=1`.
pub(crate) fn chosen(works: Vec<Work>) -> Vec<Work> {
    let patterns = env::var("CELLS").unwrap_or_default();
    let patterns: Vec<&str> = patterns.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()).collect();
    let fresh = env::var("FRESH").is_ok_and(|fresh| fresh == "1") || !patterns.is_empty();
    let held: Vec<String> = match fresh {
        true => Vec::new(),
        false => {
            let proofs = Proof::read_all().unwrap().into_iter();
            proofs.filter(|proof| proof.layer == LAYER).map(|proof| proof.case).collect()
        }
    };
    let wanted = |work: &Work| {
        let name = work.name();
        let named = patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, &name));
        named && !held.contains(&name)
    };
    works.into_iter().filter(wanted).collect()
}

/// A seed of a cell's own, the same every time.
fn seed_of(base: u64, name: &str) -> u64 {
    name.bytes().fold(base ^ 0xcbf2_9ce4_8422_2325, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        % 1_000_000
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Whether the name is the pattern with something for each `*`; what follows the last part is left open.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || rest.starts_with('-') || pattern.ends_with('*')
}

#[test]
fn cells_are_chosen_by_a_pattern() {
    assert!(
        matches("F3", "F3-stop-delta") && matches("*-kill", "F3-kill-json") && matches("F3-*-delta", "F3-cut-delta")
    );
    assert!(
        !matches("F1", "F10-stop-delta")
            && !matches("F3-kill", "F3-stop-delta")
            && !matches("F3-*-json", "F3-cut-delta")
    );
}
