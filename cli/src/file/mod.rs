//! Pipeline files: from YAML to checked [`Pipeline`]s, or to everything that is wrong with them, each with its place.
//!
//! A file is parsed once into a tree that knows places; blocks are decoded one by one, so that one mistake does not
//! hide the next. It reads files and asks the environment whether secrets are there; it writes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tokio::runtime::Handle;
use windrow_common::{error, pipeline::Pipeline};
use windrow_worker::source::postgres::discover;

pub use connector::Connectors;
use diagnostic::Findings;
pub use diagnostic::{Diagnostic, Severity, Span};
pub use many::Lister;
pub(crate) use many::{is_plain, name as name_of_table, relation};
pub(crate) use secret::has_password;

mod compaction;
mod connection;
mod connector;
mod decode;
mod deletes;
mod diagnostic;
mod document;
mod gather;
mod late;
mod look;
mod many;
mod pipeline;
mod policy;
mod proof;
mod readiness;
mod retention;
mod rules;
pub mod schema;
mod secret;
mod spec;
mod suggest;
mod template;
mod tree;
mod words;

#[cfg(test)]
mod tests;

/// What reading depends on besides the files.
pub struct Options {
    pub now: Timestamp,
    /// Whether this machine is the one that will run the pipelines. Elsewhere a source that cannot be found is only
    /// worth a warning.
    pub runs_here: bool,
    pub connectors: Connectors,
    /// Asks databases which tables patterns mean. Without it nothing outside this machine is asked.
    pub list: Option<Lister>,
}

impl Options {
    pub fn new(now: Timestamp, runs_here: bool) -> Self {
        Self { now, runs_here, connectors: Connectors::all(), list: None }
    }

    /// The same for pipelines that are to run, so that it has to be known which tables they mean. For use on a runtime of
    /// several threads.
    #[must_use]
    pub fn asking(self) -> Self {
        let list: Lister = Box::new(|connection, only, except| {
            let asked = discover(connection, only, except);
            tokio::task::block_in_place(|| Handle::current().block_on(asked)).map(|(_, found)| found)
        });
        Self { list: Some(list), ..self }
    }
}

/// A pipeline file's text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As it was named by whoever asked.
    pub name: String,
    /// Absolute; relative paths in the file start here.
    pub folder: PathBuf,
    pub text: String,
}

/// What reading some files came to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The sound pipelines, in the order of the files. Use them only if nothing [`failed`](Self::failed).
    pub pipelines: Vec<Pipeline>,
    /// By file and line.
    pub diagnostics: Vec<Diagnostic>,
    pub files: Vec<SourceFile>,
    /// Where secrets stand that must not be shown.
    pub hidden: Vec<Span>,
}

impl Loaded {
    pub fn failed(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == severity).count()
    }
}

/// Reads files, and all `*.yaml` and `*.yml` in folders, as one set of connections and pipelines.
pub fn load(paths: &[PathBuf], options: &Options) -> Loaded {
    let mut files = Vec::new();
    let mut findings = Findings::default();
    for path in paths {
        match files_at(path) {
            Ok(found) if found.is_empty() => {
                unreadable(&mut files, path, "the folder holds no *.yaml file", &mut findings)
            }
            Ok(found) => found.iter().for_each(|path| match read(path) {
                Ok(file) => files.push(file),
                Err(cause) => unreadable(&mut files, path, &cause.to_string(), &mut findings),
            }),
            Err(cause) => unreadable(&mut files, path, &cause.to_string(), &mut findings),
        }
    }
    document::read(files, findings, options)
}

/// The same from texts that are there already.
pub fn parse(files: Vec<SourceFile>, options: &Options) -> Loaded {
    document::read(files, Findings::default(), options)
}

fn files_at(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let is_yaml = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<SourceFile> {
    let size = fs::metadata(path)?.len();
    if size > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has {size} bytes, more than the {MAX_FILE_BYTES} a file may have")));
    }
    let text = fs::read_to_string(path)?;
    Ok(SourceFile { name: path.display().to_string(), folder: folder_of(path), text })
}

/// Far more than a person writes, and little enough to hold.
const MAX_FILE_BYTES: u64 = 4 << 20;

fn folder_of(path: &Path) -> PathBuf {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

fn unreadable(files: &mut Vec<SourceFile>, path: &Path, cause: &str, findings: &mut Findings) {
    let file = files.len();
    files.push(SourceFile { name: path.display().to_string(), folder: PathBuf::new(), text: String::new() });
    findings
        .error(error::FILE_UNREADABLE, Span::file(file), format!("the file cannot be read: {cause}"))
        .fix("check the path and its permissions");
}
