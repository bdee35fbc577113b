//! The repository as the rules see it: its files as text, its manifests as dependencies.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A text file that belongs to the repository.
pub(crate) struct File {
    /// From the repository's root, `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The workspace's crates, by folder.
pub(crate) const CRATES: [&str; 8] =
    ["common", "proto", "coordinator", "worker", "cli", "tests", "tests/model", "benches"];

pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(Path::to_owned).unwrap_or_default()
}

/// All text files git knows or would take, new ones included; without git, all but hidden and built ones.
pub(crate) fn files() -> Vec<File> {
    let paths = listed_by_git().unwrap_or_else(|| walked(&root(), ""));
    assert!(paths.len() > 20, "the repository at {} has only {} files", root().display(), paths.len());
    let read = |path: String| fs::read_to_string(root().join(&path)).ok().map(|text| File { path, text });
    paths.into_iter().filter_map(read).collect()
}

/// The Rust files.
pub(crate) fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn listed_by_git() -> Option<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let listed: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    (output.status.success() && !listed.is_empty()).then(|| listed.into_iter().collect())
}

fn walked(folder: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            if !name.starts_with('.') && name != "target" {
                found.extend(walked(&entry.path(), &format!("{path}/")));
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

impl File {
    /// Whether it is test code as a whole. Harness and benches are held to the same freedom.
    pub(crate) fn is_test(&self) -> bool {
        let path = &self.path;
        path.starts_with("tests/")
            || path.starts_with("benches/")
            || path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || path.ends_with("conformance.rs")
            || path.contains("/conformance/")
    }

    /// The numbered lines of code, without its test module, comments and what stands in quotes on one line.
    pub(crate) fn code(&self) -> Vec<(usize, String)> {
        let lines: Vec<&str> = self.text.lines().collect();
        // `#[cfg(test)] mod tests { ... }` ends a file; `mod tests;` does not.
        let tests = lines.windows(2).position(|two| two[0].trim() == "#[cfg(test)]" && !two[1].ends_with(';'));
        let production = &lines[..tests.unwrap_or(lines.len())];
        production.iter().enumerate().map(|(index, line)| (index + 1, without_words(line))).collect()
    }
}

/// The line without its comment and without the content of its strings.
fn without_words(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => {
                characters.next();
            }
            '"' => {
                quoted = !quoted;
                code.push('"');
            }
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            _ if quoted => {}
            other => code.push(other),
        }
    }
    code
}

/// What a crate's manifest asks for, of its own and of other people's crates; what only tests need is left out.
pub(crate) fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap_or_default();
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            let table = line.trim_matches(['[', ']']);
            if let Some(name) = table.strip_prefix("dependencies.") {
                found.insert(name.to_owned());
            }
        } else if section == "[dependencies]" || section == "[build-dependencies]" {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') {
                found.insert(name.to_owned());
            }
        }
    }
    assert!(!found.is_empty(), "{folder}/Cargo.toml names no dependencies; has its form changed?");
    found
}
