//! Which versions of the session protocol a process speaks, and which one two of them agree on: the newest that both
//! know. A version is dropped only when nobody upgrades from it any more, so that neighbours understand each other while
//! a cluster is upgraded part by part.

/// The newest version of the session protocol this windrow speaks.
pub const NEWEST: u32 = 5;
/// The oldest one.
pub const OLDEST: u32 = 1;

/// A stretch of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    pub oldest: u32,
    pub newest: u32,
}

impl Spoken {
    /// What this process speaks.
    pub fn here() -> Self {
        let own = Self { oldest: OLDEST, newest: NEWEST };
        windrow_common::failpoint::played("WINDROW_PLAY_PROTOCOL").and_then(|text| Self::parse(&text)).unwrap_or(own)
    }

    /// As a peer announces it; 0 for the oldest means that it knows one version only.
    pub fn announced(newest: u32, oldest: u32) -> Self {
        Self { oldest: if oldest == 0 { newest } else { oldest }, newest }
    }

    /// The version two processes go on with; `None` if they do not understand each other.
    pub fn agree(self, other: Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }

    fn parse(text: &str) -> Option<Self> {
        let (oldest, newest) = text.split_once('-')?;
        Some(Self { oldest: oldest.parse().ok()?, newest: newest.parse().ok()? })
    }
}

impl std::fmt::Display for Spoken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "{}", self.newest),
            false => write!(f, "{} to {}", self.oldest, self.newest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(oldest: u32, newest: u32) -> Spoken {
        Spoken { oldest, newest }
    }

    /// Proves CL17.
    #[test]
    fn neighbours_agree_on_the_newest_version_both_know_and_strangers_on_none() {
        assert_eq!(spoken(1, 1).agree(spoken(1, 2)), Some(1));
        assert_eq!(spoken(1, 2).agree(spoken(1, 2)), Some(2));
        assert_eq!(spoken(1, 3).agree(spoken(2, 2)), Some(2));
        assert_eq!(spoken(1, 1).agree(spoken(2, 3)), None);
        assert_eq!(spoken(4, 4).agree(spoken(2, 3)), None);
        for (ours, theirs) in [(spoken(1, 2), spoken(2, 3)), (spoken(1, 1), spoken(2, 2))] {
            assert_eq!(ours.agree(theirs), theirs.agree(ours));
        }
    }

    #[test]
    fn a_peer_that_names_one_version_speaks_that_one() {
        assert_eq!(Spoken::announced(1, 0), spoken(1, 1));
        assert_eq!(Spoken::announced(3, 2), spoken(2, 3));
        assert_eq!((spoken(2, 3).to_string(), spoken(1, 1).to_string()), ("2 to 3".to_owned(), "1".to_owned()));
        assert_eq!(Spoken::parse("1-2"), Some(spoken(1, 2)));
    }
}
