//! What can be pinned: a version that somebody reads on, and that cleaning therefore leaves whole.

use std::{fmt, str::FromStr};

/// A version of a sink. Written as it is listed where it can be found: `17` as a table's own history has it, `v3` as
/// `windrow get versions` lists full loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Of the table's own log.
    Table(u64),
    /// Of a full load.
    Load(u32),
}

/// Which version is to be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Version(Version),
    /// The one that was the newest at this time.
    At(jiff::Timestamp),
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version: write 17 for a version of the table, v3 for one that `windrow get versions` lists")]
pub struct InvalidVersion(String);

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let invalid = || InvalidVersion(text.to_owned());
        match text.strip_prefix('v') {
            Some(load) if digits(load) => load.parse().map(Self::Load).map_err(|_| invalid()),
            None if digits(text) => text.parse().map(Self::Table).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(version) => write!(f, "{version}"),
            Self::Load(version) => write!(f, "v{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for version in [Version::Table(0), Version::Table(17), Version::Load(3)] {
            assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
        for bad in ["", "v", "vv1", "-1", "+1", "latest", "v99999999999", "1.5"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
