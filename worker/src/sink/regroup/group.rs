//! A group: files of one table that one task rewrites, and which of them become one. It is kept as JSON in the sink's storage
//! under its digest, so that whoever tries the task rewrites the same files, and planning them twice names the same task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use windrow_common::{
    compaction::{Clustering, GroupRef},
    error,
    id::SinkId,
    manifest::{Digest, Input},
    window::{Axis, Window},
};

use crate::{
    error::{Result, WorkerError},
    stage::manifest,
    storage::Storage,
};

/// Files that one task rewrites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub sink: SinkId,
    pub bins: Vec<Bin>,
    /// Each bin becomes as many files as its size asks for, and not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<Major>,
}

/// What a major rewrite does with the rows of each bin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Major {
    /// Without columns rows stay in the order of their files.
    pub clustering: Clustering,
    /// Bytes each file is to reach.
    pub target: u64,
}

/// Files that become one, or as many as their size asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Partition columns and their values as text; `None` is null.
    pub partition: BTreeMap<String, Option<String>>,
    /// The stretch that holds all rows; absent where the files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// In the order their rows are written in.
    pub files: Vec<Member>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub path: String,
    pub bytes: u64,
    /// Absent where nobody wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Of a file of others: what it was when it was found. It may have changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Major {
    /// How many files become of a bin.
    pub(super) fn makes(&self, bin: &Bin) -> u64 {
        ((bin.bytes() + self.target / 2) / self.target.max(1)).max(1)
    }

    /// Whether files get another size.
    pub(super) fn changes(&self, bin: &Bin) -> bool {
        bin.files.len() > 1 || self.makes(bin) > 1
    }
}

impl Bin {
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|member| member.bytes).sum()
    }

    /// The stretch its rows are said to lie in.
    pub(super) fn told_window(&self) -> Window {
        self.window.unwrap_or_else(everywhere)
    }
}

impl Group {
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.bins.iter().flat_map(|bin| &bin.files)
    }

    pub fn bytes(&self) -> u64 {
        self.members().map(|member| member.bytes).sum()
    }

    /// The stretch that holds all its rows, where every bin has one of the same kind.
    pub fn window(&self) -> Option<Window> {
        let first = self.bins.first()?.window?;
        self.bins.iter().try_fold(first, |hull, bin| join(hull, bin.window?))
    }

    /// What a manifest says was read for it, file by file.
    pub fn inputs(&self) -> Vec<Input> {
        let of_bin = |(number, bin): (u32, &Bin)| {
            let into = self.major.is_none().then_some(number);
            let input = move |member: &Member| Input {
                name: member.path.clone(),
                bytes: member.bytes,
                version: member.version.clone(),
                into,
            };
            bin.files.iter().map(input).collect::<Vec<_>>()
        };
        (0..).zip(&self.bins).flat_map(of_bin).collect()
    }

    /// What a coordinator is told of it.
    fn told(&self, sha256: Digest) -> GroupRef {
        GroupRef {
            sha256,
            files: self.members().count() as u64,
            bytes: self.bytes(),
            makes: self.bins.iter().map(|bin| self.major.as_ref().map_or(1, |major| major.makes(bin))).sum(),
            window: self.window(),
            place: self.place(),
            major: self.major.as_ref().map(|major| major.clustering.clone()),
        }
    }

    /// Its partition, or the first of them, in at most some words.
    fn place(&self) -> String {
        let Some(first) = self.bins.first() else { return String::new() };
        let one =
            |(column, value): (&String, &Option<String>)| format!("{column}={}", value.as_deref().unwrap_or("null"));
        let mut text = first.partition.iter().map(one).collect::<Vec<_>>().join("/");
        let mut partitions: Vec<_> = self.bins.iter().map(|bin| &bin.partition).collect();
        partitions.dedup();
        text = text.chars().take(200).collect();
        match partitions.len() {
            0 | 1 => text,
            more => format!("{text} and {} more", more - 1),
        }
    }
}

/// The stretch over two of one kind.
pub(super) fn join(one: Window, two: Window) -> Option<Window> {
    if one.axis() != two.axis() || one.axis() == Axis::Version && one != two {
        return None;
    }
    Window::new(one.axis(), one.start().min(two.start()), one.end().max(two.end())).ok()
}

/// Where rows lie of which nobody knows: anywhere. A file that is said to lie there is said nothing of.
pub(in crate::sink) fn everywhere() -> Window {
    match Window::new(Axis::Time, i64::MIN, i64::MAX) {
        Ok(window) => window,
        Err(_) => unreachable!("the least number is smaller than the greatest"),
    }
}

/// Writes a group's list, and gives what a coordinator is told of it; durable when it returns.
pub async fn put_group(storage: &Storage, group: &Group) -> Result<GroupRef> {
    let sha256 = manifest::put_list(storage, group).await?;
    Ok(group.told(sha256))
}

/// Reads it. Without it nobody knows what was to be done, and it is found out anew.
pub async fn get_group(storage: &Storage, sha256: &Digest) -> Result<Group> {
    match manifest::get_list(storage, sha256).await {
        Err(cause) if cause.code() == error::STAGED_FILE_BAD => {
            Err(WorkerError::later(error::GROUP_GONE, "the list of files to be rewritten is gone").because(cause))
        }
        found => found,
    }
}
