//! The intent: a sink's next commit, written down completely before it is tried. Whoever finds it can carry it out,
//! and carrying it out twice changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    claim::Token,
    closed::Declared,
    id::{PipelineName, SinkId, TaskId},
    manifest::{Counts, Digest, ManifestRef, StagedFile},
    marker::Markers,
    window::{Axis, Window},
};

/// A sink's commit counter; the first commit has 1.
pub type Seq = u64;

/// Most tasks one intent may publish.
pub const MAX_INTENT_TASKS: usize = 100;

/// The body of an intent, kept as JSON in the sink's storage under its digest for at least 30 days. Together the
/// bodies are the sink's ledger: the chain of `previous` leads from the newest commit to the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntentBody {
    pub sink: SinkId,
    pub seq: Seq,
    /// The digest of the intent before this one; absent for the first.
    pub previous: Option<Digest>,
    /// Whether the one before was aborted: nothing of it is in the sink, although the chain leads over it.
    #[serde(default)]
    pub previous_aborted: bool,
    pub tasks: Vec<IntentTask>,
    /// The table's schema after the commit, in the JSON form of arrow-schema's serde.
    pub schema: serde_json::Value,
    /// Files that become visible.
    pub add: Vec<StagedFile>,
    /// Paths, relative to the sink's root, of files that stop being part of the table. Each is active when the intent is
    /// made; if one is not any more when it is carried out, somebody else changed the table and the intent is aborted.
    pub remove: Vec<String>,
    /// Files of rejected rows that are published beside the table.
    pub dead_letters: Vec<StagedFile>,
    /// What the commit does where it is more than files that come and go, in the sink's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<serde_json::Value>,
    /// The version that a rollback shows again; such a commit publishes no task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<u32>,
    /// What tells consumers that the commit's windows are complete.
    #[serde(default, skip_serializing_if = "Markers::is_empty")]
    pub markers: Markers,
}

/// A task an intent publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentTask {
    pub task: TaskId,
    pub pipeline: PipelineName,
    pub window: Window,
    /// The task's revision: 0 for the first time a window is moved.
    #[serde(default)]
    pub revision: u32,
    pub token: Token,
    pub manifest: ManifestRef,
    /// Whoever has declared the window complete; there are no rows of it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Box<Declared>>,
}

/// The intent as the ledger holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRef {
    pub seq: Seq,
    pub previous: Option<Digest>,
    /// Where the body lies, relative to the sink's root.
    pub path: String,
    /// The body's SHA-256: the digest of the intent.
    pub digest: Digest,
    /// Tasks and the store revisions of their seals.
    pub tasks: Vec<(TaskId, i64)>,
    pub counts: Counts,
    /// Files the commit adds, by the task they are named for; nothing of a task of which that is not known.
    pub files: BTreeMap<TaskId, u64>,
}

/// What a sink's storage says about its newest commit by windrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub seq: Seq,
    pub effect: Effect,
}

impl Committed {
    /// Whether it applied the intent of this seq.
    pub fn is_of(&self, seq: Seq) -> bool {
        self.seq == seq && matches!(self.effect, Effect::Applied(_))
    }
}

/// What the commit of a seq did. Digests are compared in the form the sink can hold; see [`Fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Applied(Fingerprint),
    Aborted(Fingerprint),
}

/// The upper 63 bits of a digest: what fits a Delta `txn` version, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(i64);

/// What to do about an intent, given what the sink says. This is the one rule of committing: the same for every sink,
/// every committer and every repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sink is exactly one behind: apply the intent (or abort it) by compare-and-set on what was read.
    Apply,
    /// The sink holds this intent's effect already.
    Done,
    /// The sink holds the abort of this intent.
    Aborted,
    /// The sink has gone on; this copy of the intent is old news.
    Stale,
    /// The same seq with another digest: two histories. An operator has to look.
    Forked,
    /// The sink lacks commits the ledger knows of: it was rolled back. An operator has to look.
    RolledBack,
}

/// Decides about the intent with `seq` and `digest` on a sink whose newest commit is `found`.
pub fn judge(seq: Seq, digest: &Digest, found: Option<Committed>) -> Verdict {
    let at = found.map_or(0, |committed| committed.seq);
    match seq.checked_sub(at) {
        None => return Verdict::Stale,
        Some(1) => return Verdict::Apply,
        Some(2..) => return Verdict::RolledBack,
        Some(0) => {}
    }
    let mine = Fingerprint::of(digest);
    match found.map(|committed| committed.effect) {
        Some(Effect::Applied(theirs)) if theirs == mine => Verdict::Done,
        Some(Effect::Aborted(theirs)) if theirs == mine => Verdict::Aborted,
        _ => Verdict::Forked,
    }
}

impl IntentBody {
    /// The version of a full load that readers see after the commit. Of several loads only the last one is seen.
    pub fn version(&self) -> Option<u32> {
        let loaded = || {
            let window = self.tasks.last().map(|task| task.window)?;
            u32::try_from(window.start()).ok().filter(|_| window.axis() == Axis::Version)
        };
        self.shows.or_else(loaded)
    }
}

impl Fingerprint {
    pub fn of(digest: &Digest) -> Self {
        let mut head = [0; 8];
        head.copy_from_slice(&digest.0[..8]);
        Self(((u64::from_be_bytes(head) >> 1) as i64).max(1))
    }

    /// The form a signed 64-bit counter can hold: positive for applied, negative for aborted.
    pub fn to_signed(effect: Effect) -> i64 {
        match effect {
            Effect::Applied(fingerprint) => fingerprint.0,
            Effect::Aborted(fingerprint) => -fingerprint.0,
        }
    }

    /// The inverse of [`Self::to_signed`]; zero stands for no effect at all.
    pub fn from_signed(value: i64) -> Option<Effect> {
        match value {
            0 | i64::MIN => None,
            1.. => Some(Effect::Applied(Self(value))),
            _ => Some(Effect::Aborted(Self(-value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    fn committed(seq: Seq, byte: u8) -> Option<Committed> {
        Some(Committed { seq, effect: Effect::Applied(Fingerprint::of(&digest(byte))) })
    }

    #[test]
    fn the_rule_of_committing_by_cases() {
        let mine = digest(7);
        let aborted = Some(Committed { seq: 5, effect: Effect::Aborted(Fingerprint::of(&mine)) });
        let cases = [
            (1, None, Verdict::Apply),
            (2, None, Verdict::RolledBack),
            (5, committed(4, 1), Verdict::Apply),
            (5, committed(5, 7), Verdict::Done),
            (5, aborted, Verdict::Aborted),
            (5, committed(5, 8), Verdict::Forked),
            (5, committed(6, 8), Verdict::Stale),
            (5, committed(3, 1), Verdict::RolledBack),
            (u64::MAX, committed(u64::MAX, 7), Verdict::Done),
            (u64::MAX, None, Verdict::RolledBack),
        ];
        for (seq, found, verdict) in cases {
            assert_eq!(judge(seq, &mine, found), verdict, "seq {seq} on {found:?}");
        }
    }

    #[test]
    fn an_effect_survives_its_signed_form() {
        for byte in [0, 1, 127, 128, 255] {
            let fingerprint = Fingerprint::of(&digest(byte));
            for effect in [Effect::Applied(fingerprint), Effect::Aborted(fingerprint)] {
                assert_eq!(Fingerprint::from_signed(Fingerprint::to_signed(effect)), Some(effect));
            }
        }
        assert_eq!(Fingerprint::from_signed(0), None);
    }
}
