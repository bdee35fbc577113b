//! Tests of the core: table-driven ones on a [`bench::Bench`], and random walks of all of it in a [`world::World`].
#![allow(clippy::unwrap_used)]

mod apply;
mod assign;
mod audit;
mod backfill;
mod bench;
mod blame;
mod commit;
mod lifecycle;
mod plan;
mod ready;
mod recovery;
mod report;
mod rollback;
mod shards;
mod store;
mod telling;
mod upstream;
mod walk;
mod world;
