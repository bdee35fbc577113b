//! Running cells one after the other: choosing them, a seed for each, what is told, what is recorded, where to go on.

use std::{env, time::Duration};

use anyhow::{Context, Result};
use tokio::{sync::Mutex, time::Instant};
use windrow_tests::{
    proof::{Proof, recorded},
    skip::skip,
};

use crate::{
    cell::{Cell, Fault},
    ground::Ground,
};

/// One course at a time: two cores are few as it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// Longer than any cell may take.
const PATIENCE: Duration = Duration::from_secs(240);
const LAYER: &str = "chaos";

/// How a cell that held went.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// In words.
    pub(crate) found: String,
    /// How often the fault happened.
    pub(crate) times: u64,
}

/// Runs cells and fails, after all of them, if one did not hold.
pub(crate) async fn run(test: &str, cells: &[Cell]) {
    let _turn = TURN.lock().await;
    let Some(ground) = Ground::prepare(test).await else { return };
    let base = number("SEED").unwrap_or(1);
    println!("{test}: {} cells, SEED={base}", cells.len());
    let mut broken = Vec::new();
    for cell in cells {
        if cell.fault == Fault::Cut && ground.network.is_none() {
            skip(&cell.to_string(), "there are no network namespaces");
            continue;
        }
        let begun = Instant::now();
        let ran = tokio::time::timeout(PATIENCE, cell.run(&ground, seed_of(base, &cell.to_string()))).await;
        let seconds = begun.elapsed().as_secs_f64();
        match ran.context("it took too long").flatten() {
            Ok(outcome) => {
                println!("{cell:<18} held    {seconds:5.1} s  {}", outcome.found);
                record(cell, &outcome, (base, seconds)).unwrap();
            }
            Err(error) => {
                println!("{cell:<18} BROKEN  {seconds:5.1} s  {error:?}");
                broken.push(cell.to_string());
            }
        }
    }
    assert!(broken.is_empty(), "broken with SEED={base}: CELLS={}", broken.join(","));
}

/// What `CELLS` asks for, `*` standing for anything; without those that held already, unless `FRESH=1`.
pub(crate) fn chosen(cells: Vec<Cell>) -> Vec<Cell> {
    let patterns = env::var("CELLS").unwrap_or_default();
    let patterns: Vec<&str> = patterns.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()).collect();
    let fresh = env::var("FRESH").is_ok_and(|fresh| fresh == "1") || !patterns.is_empty();
    let held: Vec<String> = match fresh {
        true => Vec::new(),
        false => recorded(LAYER).unwrap().into_iter().map(|proof| proof.case).collect(),
    };
    let wanted = |cell: &Cell| {
        let name = cell.to_string();
        let named = patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, &name));
        named && !held.contains(&name)
    };
    cells.into_iter().filter(wanted).collect()
}

fn record(cell: &Cell, outcome: &Outcome, (seed, seconds): (u64, f64)) -> Result<()> {
    let proof = Proof {
        layer: LAYER.to_owned(),
        case: cell.to_string(),
        injected: cell.injected(),
        times: outcome.times,
        held: cell.held(),
        found: outcome.found.clone(),
        states: None,
        seconds: (seconds * 10.0).round() / 10.0,
        command: format!("make chaos CELLS={cell} SEED={seed}"),
        seed: Some(seed),
    };
    proof.record()
}

/// A seed of a cell's own, the same every time.
fn seed_of(base: u64, name: &str) -> u64 {
    name.bytes().fold(base ^ 0xcbf2_9ce4_8422_2325, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        % 1_000_000
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Segment by segment: `F3/*/delta`; fewer segments leave the rest open.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), name.split('/').collect());
    pattern.len() <= name.len() && pattern.iter().zip(&name).all(|(wanted, part)| *wanted == "*" || wanted == part)
}

#[test]
fn cells_are_chosen_by_their_parts() {
    assert!(
        matches("F3", "F3/stop/delta") && matches("*/kill", "F3/kill/json") && matches("F3/*/delta", "F3/cut/delta")
    );
    assert!(!matches("F1", "F10/stop/delta") && !matches("F3/kill", "F3/stop/delta") && !matches("F3/a/b/c", "F3/a/b"));
}
