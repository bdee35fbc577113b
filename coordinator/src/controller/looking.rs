//! Having somebody look at what windows wait for outside of their sources: one look at a time for a pipeline, however many windows wait,
//! by any worker that reads sources. It takes no slot.

use std::{collections::BTreeMap, time::Duration};

use windrow_common::{
    id::{PipelineName, WorkerId},
    readiness::Require,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::Controller;
use crate::core::{
    looks::{self, Seen},
    workers::Role,
};

/// How often is looked while windows wait.
const EVERY: Duration = Duration::from_secs(10);
/// How long an answer is waited for; a worker ends after half of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The version of the session protocol that knows of it.
const PROTOCOL: u32 = 4;

/// What is under way, by pipeline. It lives in the leader's memory.
#[derive(Default)]
pub(super) struct Looking(BTreeMap<PipelineName, Run>);

#[derive(Default)]
struct Run {
    asked: Option<Asked>,
    not_before: Duration,
}

struct Asked {
    request: u64,
    worker: WorkerId,
    /// Until when the answer is waited for.
    until: Duration,
    /// What is looked for.
    require: Require,
}

impl Looking {
    /// The worker's session is gone: if it was asked, its answer will not come.
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.0.values_mut().for_each(|run| drop(run.asked.take_if(|asked| asked.worker == *gone)));
    }
}

impl Controller {
    pub(super) fn look_around(&mut self) {
        let now = self.clock.elapsed();
        for name in looks::wanted(&self.table, self.now()) {
            let run = self.looking.0.entry(name.clone()).or_default();
            run.asked.take_if(|asked| asked.until <= now);
            if run.asked.is_none() && run.not_before <= now {
                self.have_looked(name, now);
            }
        }
    }

    fn have_looked(&mut self, name: PipelineName, now: Duration) {
        let request = self.next_request();
        let able = self.workers.iter().filter(|worker| {
            worker.connected
                && !worker.draining
                && worker.info.protocol >= PROTOCOL
                && worker.info.roles.contains(&Role::Ingest)
        });
        let able: Vec<WorkerId> = able.map(|worker| worker.info.id.clone()).collect();
        // In turns: one that does not answer, or cannot reach what is looked at, is not asked again next time.
        let turn = usize::try_from(request).unwrap_or_default().checked_rem(able.len());
        let Some(worker) = turn.and_then(|turn| able.get(turn)).cloned() else { return };
        let Some(entry) = self.table.pipeline(&name) else { return };
        let Ok(pipeline) = serde_json::to_vec(entry.spec()) else { return };
        let require = entry.spec().readiness.require.clone();
        let asked = Asked { request, worker: worker.clone(), until: now + PATIENCE, require };
        self.looking.0.insert(name, Run { asked: Some(asked), not_before: now + EVERY });
        self.tell(&worker, Out::Look(v1::Look { request, pipeline }));
    }

    /// A worker has looked. What was looked for under other conditions says nothing.
    pub(super) fn looked(&mut self, worker: &WorkerId, request: u64, seen: Vec<Seen>) {
        let is_answered = |asked: &mut Asked| asked.request == request && asked.worker == *worker;
        let answered = self.looking.0.iter_mut().find_map(|(name, run)| {
            let asked = run.asked.take_if(is_answered)?;
            Some((name.clone(), asked.require))
        });
        let Some((name, require)) = answered else { return };
        let still = self.table.pipeline(&name).is_some_and(|entry| entry.spec().readiness.require == require);
        if still && seen.len() == require.conditions().count() {
            self.table.note_look(name, seen);
        }
    }
}
