//! Having somebody look at what windows wait for: one look at a time for a pipeline, however many windows wait, by any worker that
//! reads sources. It takes no slot.

use std::{collections::BTreeMap, time::Duration};

use windrow_common::{
    id::{PipelineName, WorkerId},
    readiness::{Condition, Require},
    window::Window,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{Controller, question::Question};
use crate::core::{
    coverage::IntervalSet,
    looks::{self, Seen},
    workers::Role,
};

/// How often is looked while windows wait.
const EVERY: Duration = Duration::from_secs(10);
/// How soon again for windows that came meanwhile.
const SOON: Duration = Duration::from_secs(1);
/// How long an answer is waited for; a worker ends after half of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The version of the session protocol that knows of it.
const PROTOCOL: u32 = 4;

/// What is under way, by pipeline. It lives in the leader's memory.
#[derive(Default)]
pub(super) struct Looking(BTreeMap<PipelineName, Run>);

#[derive(Default)]
struct Run {
    question: Question,
    /// When was looked last; `None` before the first time.
    last: Option<Duration>,
    /// When all that wait are looked at again.
    due: Duration,
    /// Where the next look begins: all may be more than one is asked about.
    from: i64,
    of: Subject,
}

/// What is looked for.
#[derive(Clone, Default)]
struct Subject {
    require: Require,
    windows: Vec<Window>,
}

impl Looking {
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.0.values_mut().for_each(|run| run.question.lost(gone));
    }
}

impl Controller {
    pub(super) fn look_around(&mut self) {
        let now = self.clock.elapsed();
        for (name, unseen) in looks::wanted(&self.table, self.now()) {
            let run = self.looking.0.entry(name.clone()).or_default();
            let soon = unseen && run.last.is_none_or(|last| last + SOON <= now);
            if !run.question.is_open(now) && (soon || run.due <= now) {
                self.have_looked(name, now);
            }
        }
    }

    fn have_looked(&mut self, name: PipelineName, now: Duration) {
        let request = self.next_request();
        let able: Vec<&WorkerId> = self.who_can_look().filter(|worker| self.workers.speaks(worker, PROTOCOL)).collect();
        // In turns: one that does not answer, or cannot reach what is looked at, is not asked again next time.
        let turn = usize::try_from(request).unwrap_or_default().checked_rem(able.len());
        let worker = turn.and_then(|turn| able.get(turn)).map(|worker| WorkerId::clone(worker));
        let Some(run) = self.looking.0.get(&name) else { return };
        let only_unseen = run.due > now;
        let windows = looks::windows(&self.table, &name, (run.from, only_unseen), self.now());
        let Some(entry) = self.table.pipeline(&name) else { return };
        let Ok(pipeline) = serde_json::to_vec(entry.spec()) else { return };
        let of = Subject { require: entry.spec().readiness.require.clone(), windows };
        let Some(worker) = worker else { return self.leave_to_attempts(name, &of) };
        let Some(run) = self.looking.0.get_mut(&name) else { return };
        run.question.ask(request, worker.clone(), now + PATIENCE);
        run.last = Some(now);
        if !only_unseen {
            let full = of.windows.len() == looks::MOST_WINDOWS;
            run.from = of.windows.last().filter(|_| full).map_or(i64::MIN, Window::end);
            run.due = now + EVERY;
        }
        run.of = of.clone();
        let windows = of.windows.into_iter().map(Into::into).collect();
        self.tell(&worker, Out::Look(v1::Look { request, pipeline, windows }));
    }

    fn who_can_look(&self) -> impl Iterator<Item = &WorkerId> {
        let able = self.workers.iter().filter(|worker| worker.connected && !worker.draining);
        able.filter(|worker| worker.info.roles.contains(&Role::Ingest)).map(|worker| &worker.info.id)
    }

    /// There are none but workers of before: they ask for objects when they are given a window.
    fn leave_to_attempts(&mut self, name: PipelineName, of: &Subject) {
        let mut looked_at = of.require.conditions().filter(|condition| condition.is_looked_at());
        if self.who_can_look().next().is_none() || !looked_at.all(Condition::is_about_objects) {
            return;
        }
        let holds: IntervalSet = of.windows.iter().map(|window| (window.start(), window.end())).collect();
        let seen = Seen { to: i64::MIN, holds, words: String::new() };
        self.table.note_look(name, &of.windows, vec![seen; of.require.conditions().count()]);
    }

    /// A worker has looked. What was looked for under other conditions says nothing.
    pub(super) fn looked(&mut self, worker: &WorkerId, request: u64, seen: Vec<v1::Seen>) {
        let answered = self.looking.0.iter_mut().find_map(|(name, run)| {
            let answered = run.question.answered(worker, request);
            answered.then(|| (name.clone(), std::mem::take(&mut run.of)))
        });
        let Some((name, of)) = answered else { return };
        let still = self.table.pipeline(&name).is_some_and(|entry| entry.spec().readiness.require == of.require);
        if still && seen.len() == of.require.conditions().count() {
            let seen = seen.into_iter().map(|seen| seen_in(seen, &of.windows)).collect();
            self.table.note_look(name, &of.windows, seen);
        }
    }
}

fn seen_in(seen: v1::Seen, asked: &[Window]) -> Seen {
    let named = seen.windows.iter().filter_map(|place| asked.get(usize::try_from(*place).ok()?));
    let holds = named.map(|window| (window.start(), window.end())).collect();
    Seen { to: seen.to_us, holds, words: seen.words }
}
