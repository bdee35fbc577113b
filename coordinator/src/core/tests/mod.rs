//! Tests of the core: table-driven ones on a [`bench::Bench`], and random walks of all of it in a [`world::World`].
#![allow(clippy::unwrap_used)]

mod apply;
mod assign;
mod audit;
mod backfill;
mod bench;
mod blame;
mod commit;
mod compact;
mod compare;
mod declare;
mod gather;
mod late;
mod lifecycle;
mod looks;
mod pins;
mod plan;
mod ready;
mod recount;
mod recovery;
mod report;
mod rollback;
mod shards;
mod store;
mod telling;
mod unchanged;
mod upstream;
mod walk;
mod world;
