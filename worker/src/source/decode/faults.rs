//! What is wrong with a connector's parameters: all of it is collected, with its place.

use std::collections::BTreeSet;

use windrow_common::error::{self, ErrorCode};

use crate::source::ParamError;

/// The faults found so far.
#[derive(Default)]
pub(in crate::source) struct Faults(pub(in crate::source) Vec<ParamError>);

impl Faults {
    pub(in crate::source) fn add(&mut self, path: impl Into<String>, code: ErrorCode, message: impl Into<String>) {
        self.0.push(ParamError { path: path.into(), code, message: message.into(), fix: None });
    }

    pub(in crate::source) fn add_with_fix(
        &mut self,
        path: &str,
        code: ErrorCode,
        message: impl Into<String>,
        fix: &str,
    ) {
        self.0.push(ParamError { path: path.to_owned(), code, message: message.into(), fix: Some(fix.to_owned()) });
    }

    pub(in crate::source) fn take<T>(&mut self, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.add(path, error::BAD_VALUE, message)).ok()
    }
}

/// What serde could not make of the parameters.
pub(in crate::source) fn decode_fault(fault: &serde_path_to_error::Error<serde_json::Error>) -> ParamError {
    let message = fault.inner().to_string();
    let code = if message.starts_with("unknown field") {
        error::UNKNOWN_KEY
    } else if message.starts_with("missing field") {
        error::MISSING_KEY
    } else {
        error::BAD_VALUE
    };
    let path = fault.path().to_string();
    ParamError { path: if path == "." { String::new() } else { path }, code, message, fix: None }
}

/// The first name that stands twice.
pub(in crate::source) fn duplicate<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}
