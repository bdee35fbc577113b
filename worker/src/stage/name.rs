//! Names of staged files and of Hive folders. Pure.

use std::fmt::Write;

use uuid::Uuid;
use windrow_common::{claim::Token, id::TaskId};

/// What null is called in a Hive folder.
pub(super) const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The name of a staged file without its folders: `part-<task16>-e<epoch>-t<revision>-<n>-<uuid>.<ext>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedName {
    /// The first 16 digits of the task's id.
    pub task16: String,
    pub token: Token,
    /// The file's number within the attempt.
    pub number: u32,
    pub extension: String,
    unique: Uuid,
}

impl StagedName {
    pub(crate) fn new(task: &TaskId, token: Token, number: u32, extension: &str) -> Self {
        Self { task16: task.short(), token, number, extension: extension.to_owned(), unique: Uuid::new_v4() }
    }

    /// Reads the last part of `path`; `None` when it is no staged file's.
    pub fn parse(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_prefix("part-")?;
        let (stem, extension) = name.split_once('.')?;
        let (task16, rest) = stem.split_once('-')?;
        let (epoch, rest) = rest.strip_prefix('e')?.split_once("-t")?;
        let (revision, rest) = rest.split_once('-')?;
        let (number, unique) = rest.split_once('-')?;
        let hexadecimal = task16.len() == 16 && task16.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal.then_some(())?;
        Some(Self {
            task16: task16.to_owned(),
            token: Token { epoch: epoch.parse().ok()?, revision: revision.parse().ok()? },
            number: number.parse().ok()?,
            extension: extension.to_owned(),
            unique: unique.parse().ok()?,
        })
    }

    /// Whether the file was staged by the attempt of `task` that holds `token`.
    pub fn belongs_to(&self, task: &TaskId, token: Token) -> bool {
        self.task16 == task.short() && self.token == token
    }
}

impl std::fmt::Display for StagedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "part-{}-{}-{}-{}.{}", self.task16, self.token, self.number, self.unique, self.extension)
    }
}

/// The folder of a partition value: `name=value`, each side escaped as Hive and Spark do: ASCII other than letters,
/// digits and `-_.` as `%XX`, everything else as it is.
pub fn hive_folder(column: &str, value: Option<&str>) -> String {
    let mut folder = escaped(column);
    folder.push('=');
    match value {
        Some(value) => folder.push_str(&escaped(value)),
        None => folder.push_str(HIVE_NULL),
    }
    folder
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            out.push(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{:02X}", u32::from(c));
        }
    }
    out
}

/// Joins folders and a name by `/`, leaving empty parts out.
pub(crate) fn joined(parts: &[&str]) -> String {
    let parts: Vec<_> = parts.iter().map(|part| part.trim_matches('/')).filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_staged_name_survives_its_text_form() {
        let task = TaskId::from_bytes([0xab; 16]);
        let token = Token { epoch: 1, revision: 42 };
        let name = StagedName::new(&task, token, 7, "parquet");
        let text = name.to_string();
        assert!(text.starts_with("part-abababababababab-e1-t42-7-"), "{text}");
        assert_eq!(StagedName::parse(&format!("a/b=c/{text}")), Some(name.clone()));
        assert!(name.belongs_to(&task, token));
        assert!(!name.belongs_to(&task, Token { epoch: 1, revision: 43 }));
        assert!(!name.belongs_to(&TaskId::from_bytes([1; 16]), token));
    }

    #[test]
    fn other_names_are_no_staged_names() {
        for other in
            ["", "part-", "part-0.parquet", "x/part-abababababababab-3.parquet", "_SUCCESS", "part-zz-e1-t2-3-u.x"]
        {
            assert_eq!(StagedName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn folders_are_escaped_so_that_hive_readers_see_the_value() {
        let cases = [
            (Some("a/b"), "day=a%2Fb"),
            (Some(".."), "day=.."),
            (Some("50% = a?b"), "day=50%25%20%3D%20a%3Fb"),
            (Some("Zürich"), "day=Zürich"),
            (Some("a\nb\"c"), "day=a%0Ab%22c"),
            (None, "day=__HIVE_DEFAULT_PARTITION__"),
        ];
        for (value, folder) in cases {
            assert_eq!(hive_folder("day", value), folder);
        }
    }
}
