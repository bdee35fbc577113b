//! Looking for small files: now and then, or when somebody asks, the committer of a sink is asked which of its files are worth
//! rewriting. It knows them without listing anything, and the leader never touches data; what becomes of the answer is
//! decided by [`crate::core::compact`].

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use tracing::{debug, info, warn};
use windrow_common::{
    compaction::{FileLayout, GroupRef, When},
    id::{PipelineName, SinkId, TaskId, WorkerId},
    intent::Seq,
    task::Failure,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{CommandError, Controller, Reply, commands::respond, question::Question};
use crate::{
    core::{
        commit,
        compact::{self, Asked, Spent},
        table::{Change, Record, Table},
    },
    ledger::LedgerError,
};

/// How often a sink is asked that nobody writes to, or whose pipeline wants no better.
const EVERY: Duration = Duration::from_secs(60);
/// How long after a leader's start one is asked first, unless its pipeline wants its files few at once. Whoever only looks at a ledger is
/// gone by then.
const FIRST: Duration = Duration::from_secs(10);
/// The shortest pause between two questions about a sink.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most that wait for an answer at a time.
const MOST_WISHES: usize = 64;

/// The sinks that are looked after, and who waits for an answer.
#[derive(Default)]
pub(super) struct Compactions {
    sinks: BTreeMap<SinkId, Watch>,
    wishes: Vec<Wish>,
}

/// When a sink is asked next.
struct Watch {
    due: Duration,
    /// The newest commit when it was asked last.
    seq: Seq,
    /// There was more than could be taken up.
    more: bool,
    question: Question,
    /// What is asked for are large files, too.
    major: bool,
    spent: Spent,
}

/// Somebody wants to know, or to have it done.
struct Wish {
    sink: SinkId,
    until: Duration,
    dry_run: bool,
    major: bool,
    reply: Reply<Plan>,
}

/// What a committer found, and what is made of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub layout: FileLayout,
    pub groups: Vec<GroupRef>,
    pub tasks: Vec<TaskId>,
}

/// What a committer answered.
pub type Found = Result<(FileLayout, Vec<GroupRef>), Failure>;

impl Compactions {
    /// The worker's session is gone: if it was asked, its answer will not come.
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.sinks.values_mut().for_each(|watch| watch.question.lost(gone));
    }

    /// A change is made: where it ends claims of groups, their time is spent.
    pub(super) fn count_time(&mut self, table: &Table, change: &Change, now: Timestamp) {
        for (sink, watch) in &mut self.sinks {
            watch.spent.take(table, sink, change, now);
        }
    }

    fn wants(&self, sink: &SinkId) -> bool {
        self.wishes.iter().any(|wish| wish.sink == *sink)
    }
}

impl Controller {
    /// A user asks what would be rewritten, or for that to be done.
    pub(super) fn wish_for_compaction(
        &mut self,
        pipeline: &PipelineName,
        (dry_run, major): (bool, bool),
        reply: Reply<Plan>,
    ) -> Result<(), LedgerError> {
        let Some(entry) = self.table.pipeline(pipeline) else {
            return respond(reply, Err(CommandError::NotFound { kind: "pipeline", name: pipeline.to_string() }));
        };
        let sink = entry.sink.clone();
        let refused = if self.table.recovery().is_some() {
            Some(CommandError::Recovering)
        } else if entry.spec().compaction.is_none() {
            Some(CommandError::NotCompacted(pipeline.clone()))
        } else if entry.state.value.paused.is_some() {
            Some(CommandError::Paused(pipeline.clone()))
        } else if self.compactions.wishes.len() >= MOST_WISHES {
            Some(CommandError::NoCommitter)
        } else {
            None
        };
        if let Some(refused) = refused {
            return respond(reply, Err(refused));
        }
        let until = self.clock.elapsed() + PATIENCE;
        self.compactions.wishes.push(Wish { sink, until, dry_run, major, reply });
        Ok(())
    }

    /// Asks the committers whose turn it is, at most one question a sink at a time.
    pub(super) async fn look_for_small_files(&mut self) -> Result<(), LedgerError> {
        let now = self.clock.elapsed();
        let (waiting, late) =
            std::mem::take(&mut self.compactions.wishes).into_iter().partition(|wish| wish.until > now);
        self.compactions.wishes = waiting;
        late.into_iter().try_for_each(|wish: Wish| respond(wish.reply, Err(CommandError::NoCommitter)))?;
        while let Some(change) = compact::orphans(&self.table) {
            self.persist(&change).await?;
        }
        let owned = compact::owners(&self.table);
        let looked_after: BTreeMap<SinkId, (bool, bool)> = owned
            .into_iter()
            .filter_map(|(sink, entry)| {
                let compaction = entry.spec().compaction.as_deref()?;
                let in_time = compact::is_due(compaction, self.clock.now());
                Some((sink.clone(), (in_time, compaction.when == When::Inline)))
            })
            .collect();
        self.compactions.sinks.retain(|sink, _| looked_after.contains_key(sink));
        for (sink, (in_time, inline)) in looked_after {
            if !self.is_to_be_asked(&sink, (in_time, inline), now) {
                continue;
            }
            if let Some(change) = commit::appoint(&self.table, &self.workers, &sink, now) {
                self.persist(&change).await?;
            }
            self.ask_for_groups(&sink, now);
        }
        Ok(())
    }

    /// Whether it is time to ask about a sink: somebody waits, there was more to do and now there is room, the pause is over, or
    /// there is a new commit and the pipeline wants its files few at once.
    fn is_to_be_asked(&mut self, sink: &SinkId, (in_time, inline): (bool, bool), now: Duration) -> bool {
        let seq = self.table.sink(sink).and_then(|found| found.head.as_ref()).map_or(0, |head| head.value.seq);
        let wanted = self.compactions.wants(sink);
        let spent = Spent::known(&self.table, sink);
        let first = Watch { due: now + FIRST, seq: 0, more: false, question: Question::default(), major: false, spent };
        let watch = self.compactions.sinks.entry(sink.clone()).or_insert(first);
        if watch.question.is_open(now) {
            return false;
        }
        let rested = now >= watch.due || now + EVERY >= watch.due + SHORTEST;
        let over = now >= watch.due || rested && (watch.more || inline && seq != watch.seq);
        wanted || in_time && over && self.table.groups_of(sink).count() <= compact::MOST_OPEN / 2
    }

    fn ask_for_groups(&mut self, sink: &SinkId, now: Duration) {
        let entry = self.table.sink(sink);
        let committer = entry.and_then(|entry| entry.committer.as_ref()).map(|found| found.value.clone());
        let Some(owner) = compact::owner(&self.table, sink).map(|entry| entry.spec()) else { return };
        // Whoever has waited longest says what for.
        let major = self.compactions.wishes.iter().find(|wish| wish.sink == *sink).is_some_and(|wish| wish.major);
        let clusters = major || owner.compaction.as_ref().is_some_and(|rule| rule.cluster_by.is_some());
        let Some(worker) = committer.filter(|worker| compact::can_plan(&self.workers, worker, clusters)) else {
            return;
        };
        let seq = entry.and_then(|entry| entry.head.as_ref()).map_or(0, |head| head.value.seq);
        let Ok(pipeline) = serde_json::to_vec(owner) else { return };
        let request = self.next_request();
        let windows_are_replaced = compact::windows_are_replaced(&self.table, sink);
        if let Some(watch) = self.compactions.sinks.get_mut(sink) {
            watch.question.ask(request, worker.clone(), now + PATIENCE);
            (watch.major, watch.seq, watch.due) = (major, seq, now + EVERY);
        }
        let open = compact::open(&self.table, sink).filter_map(|task| Some(task.group()?.sha256.0.to_vec())).collect();
        let plan = v1::PlanCompaction { request, sink: sink.to_string(), pipeline, windows_are_replaced, open, major };
        self.tell(&worker, Out::PlanCompaction(plan));
    }

    /// The committer has answered.
    pub(super) async fn compaction_planned(
        &mut self,
        worker: &WorkerId,
        sink: &SinkId,
        request: u64,
        found: Found,
    ) -> Result<(), LedgerError> {
        let Some(watch) = self.compactions.sinks.get_mut(sink) else { return Ok(()) };
        if !watch.question.answered(worker, request) {
            return Ok(());
        }
        let (major, mut spent) = (watch.major, watch.spent);
        let all = std::mem::take(&mut self.compactions.wishes);
        let (wishes, others): (Vec<Wish>, Vec<Wish>) =
            all.into_iter().partition(|wish| wish.sink == *sink && wish.major == major);
        self.compactions.wishes = others;
        let (layout, groups) = match found {
            Ok(found) => found,
            Err(failure) => {
                warn!(%sink, code = %failure.code, message = %failure.message, "cannot look for small files");
                let refuse = |wish: Wish| respond(wish.reply, Err(CommandError::Worker(failure.clone())));
                return wishes.into_iter().try_for_each(refuse);
            }
        };
        self.metrics.layout(sink, &layout);
        let by_hand = wishes.iter().any(|wish| !wish.dry_run);
        let asked = if by_hand { Asked::ByHand } else { Asked::ByItself };
        // Whoever only wants to know has nothing done.
        let only_look = !by_hand && (major || !wishes.is_empty());
        let made = match only_look {
            true => None,
            false => compact::plan(&self.table, sink, &groups, (asked, &mut spent), self.now()),
        };
        let (change, tasks) = made.unwrap_or_default();
        let planned = change.put.iter().filter(|record| matches!(record, Record::Task(_))).count();
        debug!(%sink, files = layout.files, small = layout.small_files, groups = groups.len(), planned, "looked for small files");
        if !change.is_empty() {
            self.persist(&change).await?;
            self.metrics.groups_planned(sink, planned);
            info!(%sink, groups = planned, of = groups.len(), "has files rewritten");
        }
        if let Some(watch) = self.compactions.sinks.get_mut(sink) {
            watch.spent = spent;
            watch.more = tasks.len() < groups.len() && planned > 0;
        }
        // Files of groups that were open before were not looked at.
        let open: Vec<TaskId> = compact::open(&self.table, sink).map(|task| task.id).collect();
        wishes.into_iter().try_for_each(|wish| {
            let tasks = if wish.dry_run { Vec::new() } else { open.clone() };
            respond(wish.reply, Ok(Plan { layout, groups: groups.clone(), tasks }))
        })
    }
}
