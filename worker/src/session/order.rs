//! What the coordinator asks of this worker, checked and in the words of `windrow-common`.

use std::time::Duration;

use bytes::Bytes;
use windrow_common::{claim::Token, id::TaskId, intent::Seq, manifest::Digest, window::Window};
use windrow_proto::{
    convert::{Malformed, digest, optional_digest, optional_text, required, task_id},
    v1,
};

use super::{claims::ClaimGuard, report::Answerer};

/// Something to be done.
pub enum Order {
    /// Try a task; how it ended goes to [`super::Reports::seal`] or [`super::Reports::fail`].
    Attempt(Box<Assignment>, ClaimGuard),
    /// Work out a sink's next commit.
    Prepare(v1::Prepare, Answerer),
    /// Carry a recorded intent out, or abort it.
    Commit(v1::Commit, Answerer),
    /// List what was staged at a sink long ago.
    SweepList(v1::SweepList, Answerer),
    /// Take away what of the list is dead.
    SweepDelete(v1::SweepDelete, Answerer),
    /// Tell what the sink knows of windrow's commits.
    Recall(v1::Recall, Answerer),
    /// Tell which versions of a full load there are.
    ListVersions(v1::ListVersions, Answerer),
    /// Tell whether a version is whole and certain to stay.
    CheckPin(v1::CheckPin, Answerer),
    /// Tell which files of a table are worth rewriting.
    PlanCompaction(v1::PlanCompaction, Answerer),
    /// Tell receivers of commits.
    Notify(v1::Notify, Answerer),
    /// Tell how far what windows wait for has come.
    Look(v1::Look, Answerer),
}

/// A claimed task.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub task: TaskId,
    pub token: Token,
    /// Counts from 1.
    pub attempt: u32,
    /// The checked pipeline as JSON, as the ticket's digest was taken of it.
    pub pipeline: Bytes,
    pub window: Window,
    /// How many windows the task's stretch consists of.
    pub windows: u32,
    /// 0 for the first time a window is moved.
    pub revision: u32,
    /// The sink worker's Flight service; `None` if this very worker is it.
    pub flight_endpoint: Option<String>,
    /// Signed by the coordinator, passed on as it is.
    pub ticket: Bytes,
    pub deadline: Duration,
    /// The parent of the attempt's span, as all traces here a W3C `traceparent`.
    pub trace: Option<String>,
    /// The claiming transaction.
    pub claim_trace: Option<String>,
    /// The attempt before.
    pub previous_trace: Option<String>,
    /// Whether what happens inside the attempt goes to a trace of its own.
    pub detail_apart: bool,
    /// It has waited for its input for as long as it is to: what is there is read.
    pub waited_enough: bool,
    /// `None` for the live lane.
    pub backfill: Option<String>,
    /// The shard to read, in the words of the source; `None` for all of the window.
    pub part: Option<String>,
    /// It moves no window: it rewrites the files `part` names.
    pub compaction: bool,
    /// It moves no window: it compares the keys of table and source. `part` says whether what that deletes is accepted unseen.
    pub comparison: bool,
    /// Whether what the source holds is to be proven.
    pub prove: bool,
    /// What readers see of a full load; if the source is proven to hold the same, nothing is to be moved.
    pub published: Option<Published>,
    /// Where the windows of a run meet, if each of them is to be proven; none otherwise.
    pub seams: Vec<i64>,
    /// Whether proving is all there is to do: the window is published, and counted again.
    pub recount: bool,
    /// The manifest the window was loaded with: what is in it is told apart from what came late.
    pub loaded: Option<Digest>,
    /// Whether the window was declared complete: nothing is read.
    pub declared: bool,
}

/// What readers see of a full load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The digest of what its source was proven to hold.
    pub proof: Digest,
    /// The commit that published it.
    pub seq: Seq,
    pub rows: u64,
}

/// Task and token alone: what an answer needs even if the rest is malformed.
pub(super) fn claim_of(assign: &v1::Assign) -> Result<(TaskId, Token), Malformed> {
    Ok((task_id(&assign.task)?, required(assign.token, "token")?.into()))
}

fn published_in(published: v1::Published) -> Result<Published, Malformed> {
    Ok(Published { proof: digest(&published.proof)?, seq: published.seq, rows: published.rows })
}

impl Assignment {
    /// Its windows, as far as they are told apart.
    pub fn each_window(&self) -> Vec<Window> {
        let starts = std::iter::once(self.window.start()).chain(self.seams.iter().copied());
        let ends = self.seams.iter().copied().chain(std::iter::once(self.window.end()));
        starts.zip(ends).filter_map(|(from, to)| Window::new(self.window.axis(), from, to).ok()).collect()
    }
}

impl TryFrom<v1::Assign> for Assignment {
    type Error = Malformed;

    fn try_from(assign: v1::Assign) -> Result<Self, Malformed> {
        let (task, token) = claim_of(&assign)?;
        Ok(Self {
            task,
            token,
            attempt: assign.attempt,
            pipeline: assign.pipeline.into(),
            window: required(assign.window, "window")?.try_into()?,
            windows: assign.windows.max(1),
            revision: assign.revision,
            flight_endpoint: optional_text(assign.flight_endpoint),
            ticket: assign.ticket.into(),
            deadline: Duration::from_millis(assign.deadline_ms),
            trace: optional_text(assign.trace),
            claim_trace: optional_text(assign.claim_trace),
            previous_trace: optional_text(assign.previous_trace),
            detail_apart: assign.detail_apart,
            waited_enough: assign.waited_enough,
            backfill: optional_text(assign.backfill),
            part: optional_text(assign.part),
            prove: assign.prove,
            published: assign.published.map(published_in).transpose()?,
            recount: assign.recount,
            seams: assign.seams,
            loaded: optional_digest(&assign.loaded)?,
            declared: assign.declared,
            compaction: assign.compaction,
            comparison: assign.comparison,
        })
    }
}
