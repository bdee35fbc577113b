//! How full loads are shown: the parameter `expose`, which means the same for every sink that keeps versions.

use schemars::JsonSchema;
use serde::Deserialize;
use windrow_common::error;

use crate::source::ParamError;

/// Most versions of a full load that are kept.
const MOST_VERSIONS: u32 = 1_000;

/// How full loads are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expose {
    /// How many versions are kept, the shown one among them.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) keep_versions: u32,
}

impl Default for Expose {
    fn default() -> Self {
        Self { keep_versions: 2 }
    }
}

impl Expose {
    /// How many versions are kept, for plans.
    pub(super) fn in_words(&self) -> String {
        match self.keep_versions {
            1 => "no version is kept beside the shown one".to_owned(),
            kept => format!("{kept} versions are kept, the shown one among them"),
        }
    }

    /// How many versions are kept, or what is wrong with it.
    pub(super) fn keep(&self) -> Result<u32, ParamError> {
        if (1..=MOST_VERSIONS).contains(&self.keep_versions) {
            return Ok(self.keep_versions);
        }
        Err(ParamError {
            path: "expose.keep_versions".to_owned(),
            code: error::BAD_VALUE,
            message: format!("`keep_versions` is {}", self.keep_versions),
            fix: Some("write a number from 1, the shown one alone, to 1000".to_owned()),
        })
    }
}
