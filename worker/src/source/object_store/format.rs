//! File formats and compressions, as values.

/// The format of a source's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv(Csv),
    /// One JSON object per line.
    Json,
    Parquet,
    /// One column `value` per line.
    Text,
}

/// How a CSV file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Csv {
    pub(super) delimiter: u8,
    pub(super) header: bool,
    pub(super) quote: Option<u8>,
    /// `None`: a doubled quote stands for one.
    pub(super) escape: Option<u8>,
}

/// How a file's bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// A path without the extension of its compression, and that compression.
    pub(super) fn strip(path: &str) -> (&str, Self) {
        let known = [(".gz", Self::Gzip), (".gzip", Self::Gzip), (".zst", Self::Zstd), (".zstd", Self::Zstd)];
        for (extension, compression) in known {
            let at = path.len().saturating_sub(extension.len());
            if path.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(extension)) {
                return (&path[..at], compression);
            }
        }
        (path, Self::None)
    }

    /// The compression a path's name tells.
    pub(super) fn of(path: &str) -> Self {
        Self::strip(path).1
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}
