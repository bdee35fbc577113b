//! Secret references: `${env:NAME}` and `${file:/path}`, resolved where and when they are used.

use std::{env, fmt, fs};

/// A resolved value that shows itself to nobody who does not ask by name.
#[derive(Clone)]
pub struct Secret(String);

/// A reference that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    #[error("the environment has no {0}")]
    Variable(String),
    #[error("cannot read the file {0}")]
    File(String, #[source] std::io::Error),
    #[error("{0:?} is no reference: write ${{env:NAME}} or ${{file:/path}}")]
    Reference(String),
}

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Resolves a value that is a reference as a whole; other values stand for themselves.
pub fn resolve(value: &str) -> Result<Secret, Unresolved> {
    let Some(reference) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(Secret(value.to_owned()));
    };
    match reference.split_once(':') {
        Some(("env", name)) => env::var(name).map(Secret).map_err(|_| Unresolved::Variable(name.to_owned())),
        Some(("file", path)) => fs::read_to_string(path)
            .map(|text| Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
            .map_err(|cause| Unresolved::File(path.to_owned(), cause)),
        _ => Err(Unresolved::Reference(value.to_owned())),
    }
}
