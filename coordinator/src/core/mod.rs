//! What the coordinator decides, as functions of what it knows.
//!
//! Everything here is pure: no async, no I/O, no clock (the time is an argument) and no randomness (so is the jitter).
//! A decision is a [`table::Change`]; whoever calls persists it and applies it to the [`table::Table`] afterwards.

pub mod apply;
pub mod assign;
pub mod audit;
pub mod backfill;
pub mod blame;
pub mod calendar;
mod change;
mod choose;
pub mod closed;
pub mod commit;
pub mod compact;
pub mod compare;
pub mod coverage;
pub mod declare;
pub mod gather;
mod index;
pub mod late;
pub mod lifecycle;
pub mod looks;
pub mod pins;
pub mod plan;
pub mod ready;
pub mod recount;
pub mod recovery;
pub mod report;
pub mod revised;
pub mod rollback;
pub mod shards;
pub mod sources;
pub mod table;
pub mod telling;
pub mod timeline;
pub mod unchanged;
pub mod upstream;
pub mod workers;

#[cfg(test)]
mod tests;
