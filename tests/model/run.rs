//! Exploring a model: to its end, or to the counter-example of a mutant.

use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

pub use crate::invariants::CHECKED;
use crate::{
    model::{Bounds, Lifecycle},
    mutant::Mutant,
};

/// What was found.
#[derive(Debug)]
pub struct Found {
    pub states: usize,
    pub depth: usize,
    pub seconds: f64,
    /// Invariants that were broken, each with the acts that lead there.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// What was to be possible and was not seen.
    pub missed: Vec<&'static str>,
}

/// Explores every state within the bounds.
pub fn explore(bounds: Bounds) -> Found {
    look(Lifecycle { bounds, mutant: None })
}

/// Explores until an invariant is broken.
pub fn hunt(bounds: Bounds, mutant: Mutant) -> Found {
    look(Lifecycle { bounds, mutant: Some(mutant) })
}

fn look(model: Lifecycle) -> Found {
    let started = Instant::now();
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let seconds = started.elapsed().as_secs_f64();
    let discoveries = checker.discoveries();
    let (mut broken, mut missed) = (Vec::new(), Vec::new());
    for property in model.properties() {
        let fails = property.expectation != Expectation::Sometimes;
        match discoveries.get(property.name) {
            Some(path) if fails => {
                let acts = path.clone().into_actions();
                broken.push((property.name, acts.iter().map(|act| format!("{act:?}")).collect()));
            }
            None if !fails => missed.push(property.name),
            _ => {}
        }
    }
    Found { states: checker.unique_state_count(), depth: checker.max_depth(), seconds, broken, missed }
}
