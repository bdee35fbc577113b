//! Names and ids. Each is a type of its own, so that a worker's id can never stand where a task's is meant.
//!
//! ```compile_fail
//! use windrow_common::id::{PipelineName, SinkId};
//! let pipeline: PipelineName = "flights".parse().unwrap();
//! let sink: SinkId = pipeline;
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::window::Window;

/// Why a text is no valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no valid {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    value: String,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check_name($what, text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                check_name($what, &text).map(|()| Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A pipeline's name, unique in a cluster.
    PipelineName, "pipeline name"
);
name!(
    /// A worker process: unique per start, so that a restarted worker never passes for the one before it.
    WorkerId, "worker id"
);
name!(
    /// The lane of commits of one physical target. Pipelines that write the same table share it.
    SinkId, "sink id"
);
name!(
    /// A backfill.
    BackfillId, "backfill id"
);
name!(
    /// A pin: somebody reads a version on.
    PinId, "pin id"
);

/// Names become parts of keys, file names and metric labels, so they keep to what is safe in all of them.
fn check_name(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let rule = if text.is_empty() || text.len() > 100 {
        "it has 1 to 100 characters"
    } else if !text.chars().all(safe) {
        "it consists of letters, digits, '_', '-' and '.'"
    } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it starts with a letter or a digit"
    } else {
        return Ok(());
    };
    Err(InvalidName { what, value: text.to_owned(), rule })
}

/// A task's id: a hash of what the task is, so that planning the same work twice names the same task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId([u8; 16]);

impl TaskId {
    /// The id of the task that moves `window` of a pipeline's `shard` for the `revision`th time.
    pub fn of(pipeline: &PipelineName, shard: u32, window: &Window, revision: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(pipeline.as_str().as_bytes());
        hasher.update(&[0, window.axis() as u8]);
        hasher.update(&shard.to_be_bytes());
        hasher.update(&window.start().to_be_bytes());
        hasher.update(&window.end().to_be_bytes());
        hasher.update(&revision.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// The id of the task that rewrites the files of a group, whose list has this digest.
    pub fn of_group(sink: &SinkId, list: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new();
        // No pipeline has such a name.
        hasher.update(b"\0group\0");
        hasher.update(sink.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(list);
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// The id of the task that compares a pipeline's keys after the commit `seq` of its sink.
    pub fn of_comparison(pipeline: &PipelineName, seq: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        // No pipeline has such a name.
        hasher.update(b"\0comparison\0");
        hasher.update(pipeline.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(&seq.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first 16 of the 32 hexadecimal digits, for file names and logs.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

impl FromStr for TaskId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName { what: "task id", value: text.to_owned(), rule: "it has 32 hexadecimal digits" };
        // Parsing alone would take "+f" for two digits.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(id))
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> String {
        id.to_string()
    }
}

/// A place that is read from, whoever reads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId([u8; 16]);

impl SourceId {
    pub(crate) fn of(place: &[u8]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(place).as_bytes()[..16]);
        Self(id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::window::Axis;

    #[test]
    fn a_task_id_survives_its_text_form_and_depends_on_every_part() {
        let flights: PipelineName = "flights".parse().unwrap();
        let window = Window::new(Axis::Time, 0, 10).unwrap();
        let id = TaskId::of(&flights, 0, &window, 0);
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        let others = [
            TaskId::of(&"flight".parse().unwrap(), 0, &window, 0),
            TaskId::of(&flights, 1, &window, 0),
            TaskId::of(&flights, 0, &Window::new(Axis::Time, 0, 11).unwrap(), 0),
            TaskId::of(&flights, 0, &Window::new(Axis::Version, 0, 10).unwrap(), 0),
            TaskId::of(&flights, 0, &window, 1),
        ];
        assert!(others.iter().all(|other| *other != id));
        for bad in ["", "ab", &"+f".repeat(16), &"é".repeat(16)] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_would_break_a_key_or_a_path_are_refused() {
        for bad in ["", "a/b", "../x", ".hidden", "a b", "ä", &"x".repeat(101)] {
            assert!(bad.parse::<PipelineName>().is_err(), "{bad:?}");
        }
        assert!("visits_2.daily-eu".parse::<PipelineName>().is_ok());
    }
}
