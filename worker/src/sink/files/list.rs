//! The list of files that readers go by once some were rewritten: one for each commit, under its number, so that a list is of one
//! moment and none is ever written over another. Its form is a contract with readers.

use std::collections::BTreeMap;

use serde::Serialize;
use windrow_common::intent::Seq;

use super::state::State;

/// `_windrow/files/<seq>.list`, JSON: the one with the greatest number counts.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct List<'a> {
    seq: Seq,
    /// All files the log knows of.
    files: Vec<Listed<'a>>,
    /// Files that are still there, and whose rows are in those above.
    instead_of: Vec<&'a str>,
}

/// A file to read.
#[derive(Debug, PartialEq, Serialize)]
struct Listed<'a> {
    path: &'a str,
    bytes: u64,
    rows: u64,
    partition: &'a BTreeMap<String, Option<String>>,
}

impl<'a> List<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let files = state.files.values().map(|file| Listed {
            path: &file.path,
            bytes: file.bytes,
            rows: file.rows,
            partition: &file.partition,
        });
        Self { seq: state.seq, files: files.collect(), instead_of: state.retired.keys().map(String::as_str).collect() }
    }
}
