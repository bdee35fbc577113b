//! The life cycle of tasks and commits as a model that is explored to its end: every order in which workers, committers,
//! leaders, a sweep, another writer of the table and a restored store can act, with crashes anywhere.
//!
//! The leader's decisions are not modelled: each one is made by `coordinator::core` itself on a table built from the
//! model's state, and kept, since few ledgers differ. What is modelled is what lies around the core: the store's
//! transactions, the network, committers, the sink and its storage.

#![allow(clippy::unwrap_used)]

mod act;
mod committing;
mod decide;
mod heal;
mod invariants;
mod leading;
mod ledger;
mod model;
mod mutant;
#[path = "../harness/proof.rs"]
pub mod proof;
mod restoring;
pub mod run;
mod state;
mod sweeping;

pub use self::{
    act::{Act, Speaker},
    model::{Bounds, Lifecycle},
    mutant::Mutant,
    state::State,
};
