//! Faults that are no point of the protocol: the store, the disk, the clock, an input that kills, another version.

use std::{future::Future, pin::Pin};

use anyhow::Result;

use crate::{course::Outcome, ground::Ground};

mod clock;
mod disk;
mod embedded;
mod etcd;
mod one_table;
mod poison;
mod recovery;
mod upgrade;

/// What [`crate::site::Site::check`] and its waiting show to hold.
pub(crate) const HELD: &[u8] = &[1, 2, 3, 4, 6, 7, 9, 10, 16, 21];

type Running<'a> = Pin<Box<dyn Future<Output = Result<Outcome>> + 'a>>;

/// One fault.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) injected: &'static str,
    /// The invariants that were checked.
    pub(crate) held: &'static [u8],
    pub(crate) run: for<'a> fn(&'a Ground, u64) -> Running<'a>,
}

pub(crate) const CASES: &[Case] = &[
    etcd::AWAY,
    etcd::AWAY_LONG,
    etcd::RESTARTED,
    etcd::MEMBERS,
    etcd::COMPACTED,
    etcd::FULL,
    recovery::RESTORED,
    recovery::LOST,
    embedded::KILLED,
    disk::SINK,
    disk::STATE,
    clock::LEADER,
    clock::READER,
    clock::COMMITTER,
    poison::TASK,
    one_table::MINUTE,
    one_table::TEN_MINUTES,
    one_table::FOLDER,
    one_table::FOLDER_FOR_TEN_MINUTES,
    upgrade::COORDINATORS_FIRST,
    upgrade::WORKERS_FIRST,
    upgrade::STRANGERS,
];
