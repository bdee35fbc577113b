//! What an intent's body says of a commit that rewrites: no window is published by it, so the tasks stand here and not among
//! those that publish some. For a folder of files it says, too, what its readers have to know of the files that were rewritten.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windrow_common::{
    claim::Token,
    error,
    id::{PipelineName, TaskId},
    intent::{IntentBody, IntentTask},
    manifest::{Digest, ManifestRef},
};

use crate::error::{Result, WorkerError};

/// A commit's rewrites.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::sink) struct Rewrites {
    pub(in crate::sink) rewrites: Vec<Rewrite>,
    /// Files that stay where they are although others stand for them now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::sink) retire: Vec<Retiring>,
    /// Files of which that was said before, and which are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::sink) forget: Vec<String>,
}

/// A group whose files were rewritten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::sink) struct Rewrite {
    pub(in crate::sink) task: TaskId,
    pub(in crate::sink) pipeline: PipelineName,
    pub(in crate::sink) token: Token,
    pub(in crate::sink) manifest: ManifestPlace,
}

/// Where its manifest lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::sink) struct ManifestPlace {
    path: String,
    sha256: Digest,
}

/// A file whose rows another holds too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::sink) struct Retiring {
    pub(in crate::sink) path: String,
    pub(in crate::sink) bytes: u64,
    /// Of a file of others: what it was when its rows were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::sink) version: Option<String>,
    /// The path of the file that holds its rows.
    pub(in crate::sink) within: String,
}

impl Rewrites {
    /// What the intent rewrites; `None` where it adds or takes away rows.
    pub(in crate::sink) fn of(body: &IntentBody) -> Option<Self> {
        serde_json::from_value(body.change.clone()?).ok()
    }

    pub(in crate::sink) fn by<'a>(tasks: impl Iterator<Item = &'a IntentTask>) -> Self {
        let rewrite = |task: &IntentTask| {
            let ManifestRef { path, sha256, .. } = task.manifest.clone();
            let manifest = ManifestPlace { path, sha256 };
            Rewrite { task: task.task, pipeline: task.pipeline.clone(), token: task.token, manifest }
        };
        Self { rewrites: tasks.map(rewrite).collect(), ..Self::default() }
    }

    pub(in crate::sink) fn told(&self) -> Result<Value> {
        serde_json::to_value(self)
            .map_err(|cause| WorkerError::never(error::INTERNAL, "a commit cannot be written as JSON").because(cause))
    }
}

/// That a file which was to be rewritten is not what it was.
pub(in crate::sink) fn gone(what: &str) -> WorkerError {
    WorkerError::later(error::GROUP_GONE, "what was to be rewritten is not part of the table any more")
        .at(what.to_owned())
        .fix("nothing needs to be done: files that are worth rewriting are looked for again")
}
