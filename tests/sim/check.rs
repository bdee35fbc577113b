//! What must hold after every step: in the store, in the leader's memory, and in the sinks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use windrow_common::{
    claim::Token,
    id::{SinkId, TaskId},
    intent::IntentRef,
    invariant::{self, SinkPosition, Violation},
    manifest::ManifestRef,
    task::{Lane, TaskPhase, TaskState},
    window::Window,
};
use windrow_coordinator::{
    controller::View,
    core::{
        backfill,
        coverage::IntervalSet,
        lifecycle::Now,
        plan,
        table::{Key, PipelineEntry, Record, Table},
    },
    ledger,
    run::Standing,
    store::{MetaStore, Range, Revision},
};

use crate::{
    clock::ORIGIN_SECONDS,
    consumer::Consumer,
    oracle::{self, Log},
    pipelines,
    plan::Sabotage,
    worker::root,
    world::World,
};

type Records = BTreeMap<Key, (Record, i64)>;
type Outcome = Result<(), Violation>;

/// How often a leader's memory is compared with the store.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How long the committing of what is sealed takes at most where nothing goes wrong.
const SOON: Duration = Duration::from_secs(3);
/// What was sealed for so long and gathers has waited for others.
const GATHERED: Duration = Duration::from_secs(1);

/// Keys that are written without leading: to become the leader, and once per cluster.
pub(crate) fn is_open_to_all(op: &str) -> bool {
    ["coord/leader", "meta/epoch", "meta/schema"].contains(&op.trim_start_matches(['+', '-']))
}

/// Compares a coordinator's table with the store while it leads, between two of its changes.
pub(crate) async fn watch_leader(world: Arc<World>, address: String, standing: Arc<Standing>) {
    let mut seen = Revision(0);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(controller) = standing.controller() else { continue };
        let newest = newest(&world);
        if std::mem::replace(&mut seen, newest) == newest {
            continue;
        }
        let (world, address) = (world.clone(), address.clone());
        // A leader that stops in between has nothing to be compared.
        let _ = controller.read(move |view| compare(&world, &address, view)).await;
    }
}

/// The store's newest revision.
fn newest(world: &World) -> Revision {
    let page = world.store.range(Range { limit: 1, ..Range::prefix("/") }).now_or_never();
    page.and_then(Result::ok).map_or(Revision(0), |page| page.revision)
}

fn compare(world: &World, address: &str, view: &View<'_>) {
    let leader = world.store.range(Range { limit: 1, ..Range::prefix(world.keys.leader()) }).now_or_never();
    let leads = leader
        .is_some_and(|page| page.is_ok_and(|page| page.entries.iter().any(|entry| entry.value == address.as_bytes())));
    if leads && let Some(table) = load(world) {
        let (memory, store) = (records_of(view.table), records_of(&table));
        let outcome = invariant::table_equals_store(&memory, &store);
        if outcome.is_err() {
            let keys: BTreeSet<&Key> = memory.keys().chain(store.keys()).collect();
            let differ = keys.into_iter().filter(|key| memory.get(key) != store.get(key));
            differ.for_each(|key| {
                world.note(format!("in memory {:?}, in the store {:?}", memory.get(key), store.get(key)))
            });
        }
        world.require(outcome);
    }
}

/// Everything in the store, now. Nothing in it waits, so neither does this.
fn load(world: &World) -> Option<Table> {
    match ledger::load(world.store.as_ref(), &world.keys, Revision(0)).now_or_never()? {
        Ok(table) => Some(table),
        Err(error) => {
            world.violated(format!("the store cannot be read: {error}"));
            None
        }
    }
}

fn records_of(table: &Table) -> Records {
    let mut records = Vec::new();
    for (name, entry) in table.pipelines() {
        records.push((Record::Pipeline(entry.state.value.clone()), entry.state.revision));
        records.push((Record::Cursor(name.clone(), entry.cursor.value), entry.cursor.revision));
        records.push((Record::Coverage(name.clone(), entry.coverage.value.clone()), entry.coverage.revision));
    }
    records.extend(table.all_tasks().map(|task| (Record::Task(task.value.clone()), task.revision)));
    records.extend(table.backfills().map(|backfill| (Record::Backfill(backfill.value.clone()), backfill.revision)));
    for (sink, entry) in table.sinks() {
        records.extend(entry.head.iter().map(|head| (Record::Head(sink.clone(), head.value), head.revision)));
        records.extend(entry.intent.iter().map(|of| (Record::Intent(sink.clone(), of.value.clone()), of.revision)));
        records
            .extend(entry.committer.iter().map(|of| (Record::Committer(sink.clone(), of.value.clone()), of.revision)));
        records.extend(entry.rollback.iter().map(|of| (Record::Rollback(sink.clone(), of.value.clone()), of.revision)));
        records.extend(entry.pins.values().map(|pin| (Record::Pin(sink.clone(), pin.value.clone()), pin.revision)));
        records.extend(entry.told.iter().map(|told| (Record::Told(sink.clone(), told.value), told.revision)));
        records.extend(entry.spent.iter().map(|spent| (Record::Spent(sink.clone(), spent.value), spent.revision)));
    }
    records.into_iter().map(|(record, revision)| (record.key(), (record, revision))).collect()
}

/// An attempt that is sealed.
struct Sealed {
    sink: SinkId,
    /// When that was seen first.
    seen: Duration,
    /// How long its pipeline gathers, if it does.
    wait: Option<Duration>,
}

/// What was seen so far, for what may only ever grow.
pub(crate) struct Checks {
    world: Arc<World>,
    revision: Revision,
    table: Table,
    intents: BTreeMap<SinkId, IntentRef>,
    /// The newest token of each task, given or sealed with.
    tokens: BTreeMap<TaskId, Token>,
    logs: BTreeMap<String, Log>,
    manifests: BTreeMap<String, Vec<String>>,
    sealed: BTreeMap<(TaskId, Token), Sealed>,
    /// How many sealed tasks waited for others.
    gathered: u64,
    /// Coordinators that led at once at the last step, and how often they were two or more.
    leaders: (usize, u64),
    /// How many files were rewritten.
    rewritten: u64,
    consumer: Consumer,
    /// The folder of each sink.
    roots: BTreeMap<SinkId, String>,
}

impl Checks {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let roots = pipelines::all(&world.plan).iter().map(|of| (of.sink.id(), root(of))).collect();
        Self {
            world: world.clone(),
            revision: Revision(0),
            table: Table::default(),
            intents: BTreeMap::new(),
            tokens: BTreeMap::new(),
            logs: BTreeMap::new(),
            manifests: BTreeMap::new(),
            sealed: BTreeMap::new(),
            leaders: (0, 0),
            rewritten: 0,
            consumer: Consumer::new(world),
            roots,
            gathered: 0,
        }
    }

    pub(crate) fn after_step(&mut self) {
        let world = self.world.clone();
        self.count_leaders();
        let commits = self.read_logs();
        world.require(commits);
        // Rows that are read twice are to be seen in the end.
        if world.plan.waits
            && world.sabotage != Some(Sabotage::Doubles)
            && let Some(log) = self.logs.get(pipelines::BACKFILLED)
        {
            world.require(self.consumer.look(log));
        }
        let newest = newest(&world);
        if newest != self.revision {
            self.revision = newest;
            if let Some(table) = load(&world) {
                self.table = table;
                let records = self.check_records();
                world.require(records);
            }
        }
        world.require(self.check_positions());
    }

    /// A leader that has lost its lease and does not know it yet.
    fn count_leaders(&mut self) {
        let leaders = self.world.leaders();
        if leaders > 1 && self.leaders.0 <= 1 {
            self.leaders.1 += 1;
            self.world.note(format!("{leaders} leaders"));
        }
        self.leaders.0 = leaders;
    }

    pub(crate) fn two_leaders(&self) -> u64 {
        self.leaders.1
    }

    pub(crate) fn rewritten(&self) -> u64 {
        self.rewritten
    }

    pub(crate) fn gathered(&self) -> u64 {
        self.gathered
    }

    pub(crate) fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Takes in what the sinks committed since the last step.
    fn read_logs(&mut self) -> Outcome {
        for (root, place) in self.world.objects.places() {
            let log = self.logs.entry(root.clone()).or_default();
            while let Some(entry) = log.advance((&root, &place))? {
                self.world.note(format!("sink {root} holds commit {}: {} tasks", log.seq(), entry.tasks));
                let (gone, made) = &entry.rewrites;
                if !gone.is_empty() {
                    self.world.note(format!("sink {root} has {} of {} files", made.len(), gone.len()));
                    self.rewritten += gone.len() as u64;
                    oracle::check_rewrite(&place, &entry.rewrites)?;
                }
            }
        }
        Ok(())
    }

    fn check_positions(&self) -> Outcome {
        for (sink, root) in &self.roots {
            let entry = self.table.sink(sink);
            let head = entry.and_then(|entry| entry.head.as_ref()).map_or(0, |head| head.value.seq);
            let intent = entry.and_then(|entry| entry.intent.as_ref()).map(|intent| intent.value.seq);
            let seq = self.logs.get(root).map_or(0, Log::seq);
            invariant::sink_matches_head(&SinkPosition { head, intent, sink: seq })?;
        }
        Ok(())
    }

    fn check_records(&mut self) -> Outcome {
        for (sink, entry) in self.table.sinks() {
            if let Some(intent) = &entry.intent
                && let Some(before) = self.intents.insert(sink.clone(), intent.value.clone())
            {
                invariant::intent_is_immutable(&before, &intent.value)?;
            }
        }
        let mut sealed: Vec<(String, ManifestRef)> = Vec::new();
        let before = std::mem::take(&mut self.sealed);
        for task in self.table.whole_tasks() {
            let token = match &task.value.state {
                TaskState::Claimed { .. } => Token { epoch: 1, revision: task.revision },
                TaskState::Sealed { token, manifest, .. } => {
                    // A group may be dropped: the files it was made of are there.
                    if task.value.lane != Lane::Compact {
                        let attempt = (task.value.id, *token);
                        let seen = before.get(&attempt).map_or(self.world.now(), |sealed| sealed.seen);
                        let gather = self.table.pipeline(&task.value.pipeline).and_then(|of| of.spec().sink.gather);
                        let wait = gather.map(|gather| gather.longest_wait());
                        self.sealed.insert(attempt, Sealed { sink: task.value.sink.clone(), seen, wait });
                    }
                    if let Some(root) = self.roots.get(&task.value.sink) {
                        sealed.push((root.clone(), manifest.clone()));
                    }
                    *token
                }
                _ => continue,
            };
            let newest = self.tokens.insert(task.value.id, token).unwrap_or(token);
            invariant::tokens_never_go_back(&[newest, token])?;
        }
        // Nobody withdraws anything: a sealed task that is gone was published.
        let gone: Vec<_> = before.into_iter().filter(|((task, _), _)| self.table.task(task).is_none()).collect();
        for ((task, token), sealed) in gone {
            self.check_wait(&sealed)?;
            let log = self.roots.get(&sealed.sink).and_then(|root| self.logs.get(root));
            let nothing = BTreeSet::new();
            invariant::published_is_listed(&[(task, token)], log.map_or(&nothing, |log| &log.listed))?;
        }
        for (root, manifest) in &sealed {
            self.check_files(root, manifest)?;
        }
        for (root, log) in &self.logs {
            log.check_files(&self.world.objects.place(root))?;
        }
        self.table.pipelines().try_for_each(|(_, entry)| self.check_pipeline(entry))
    }

    /// Where nothing goes wrong, whatever is sealed is published soon, or when it has been gathered as long as it is to be.
    fn check_wait(&mut self, sealed: &Sealed) -> Outcome {
        let waited = self.world.now() - sealed.seen;
        self.gathered += u64::from(sealed.wait.is_some() && waited >= GATHERED);
        let most = sealed.wait.unwrap_or_default() + SOON;
        let sound = self.world.plan.faults.is_empty();
        require("INV-21", !sound || waited <= most, || format!("a task of {} was sealed for {waited:?}", sealed.sink))
    }

    /// INV-9: what a sealed task names is there.
    fn check_files(&mut self, root: &str, manifest: &ManifestRef) -> Outcome {
        let place = self.world.objects.place(root);
        let key = format!("{root}/{}", manifest.path);
        if !self.manifests.contains_key(&key) {
            let files = oracle::files_of(&place, &manifest.path)
                .ok_or_else(|| Violation { id: "INV-9", message: format!("{key} is sealed and not there") })?;
            self.manifests.insert(key.clone(), files);
        }
        let files = self.manifests.get(&key).into_iter().flatten();
        files
            .into_iter()
            .try_for_each(|file| require("INV-9", place.has(file), || format!("{root}/{file} is sealed and not there")))
    }

    fn check_pipeline(&self, entry: &PipelineEntry) -> Outcome {
        let name = &entry.spec().name;
        let tasks: Vec<Window> = self.table.tasks_of(name).map(|task| task.value.window).collect();
        invariant::windows_are_disjoint(&tasks)?;
        invariant::one_task_per_window(self.table.tasks_of(name).map(|task| &task.value))?;
        let claimed = self.table.tasks_of(name).filter(|task| task.value.state.phase() == TaskPhase::Claimed);
        invariant::stays_within("claims of a pipeline", claimed.count(), entry.spec().limits.concurrency as usize)?;
        for task in self.table.tasks_of(name) {
            invariant::attempts_are_capped(&task.value, &entry.spec().retries)?;
        }
        self.check_nothing_is_lost(entry, &tasks)
    }

    /// Published, in a task, in a backfill's plans: planned time has no other place.
    fn check_nothing_is_lost(&self, entry: &PipelineEntry, tasks: &[Window]) -> Outcome {
        let name = &entry.spec().name;
        let mut known = entry.coverage.value.published.clone();
        let mut add = |set: &IntervalSet| set.iter().for_each(|(start, end)| known.insert(start, end));
        add(&tasks.iter().map(|window| (window.start(), window.end())).collect());
        let unsettled = self.table.backfills().map(|backfill| &backfill.value);
        unsettled
            .filter(|found| found.pipeline == *name && found.phase.is_unsettled())
            .for_each(|found| add(&found.todo));
        let origin = entry.tiling.as_ref().map_or(0, |tiling| tiling.origin());
        require("INV-2", !known.overlaps(entry.cursor.value.next, i64::MAX), || {
            format!("{name} has tasks or commits behind its cursor {}", entry.cursor.value.next)
        })?;
        let lost = known.gaps(origin, entry.cursor.value.next);
        require("INV-1", lost.is_empty(), || format!("{name} has lost {lost:?}"))
    }

    /// Whether everything that was asked for is published.
    pub(crate) fn is_complete(&self) -> bool {
        let origin = Timestamp::from_second(ORIGIN_SECONDS).unwrap();
        let now = Now { wall: origin, jitter: 0.5 };
        let table = &self.table;
        self.world.is_all_asked()
            && table.whole_tasks().next().is_none()
            && table.sinks().all(|(_, sink)| sink.intent.is_none())
            && table.backfills().all(|backfill| !backfill.value.phase.is_unsettled())
            && table.pipelines().count() == pipelines::all(&self.world.plan).len()
            && plan::plan(table, now).is_empty()
            && backfill::advance(table, now).is_empty()
    }

    /// What is not published yet, for people.
    pub(crate) fn open(&self) -> String {
        let tasks: BTreeSet<String> = self
            .table
            .whole_tasks()
            .map(|task| format!("{} {} {:?}", task.value.pipeline, task.value.window, task.value.state))
            .collect();
        let intents: Vec<&SinkId> =
            self.table.sinks().filter(|(_, sink)| sink.intent.is_some()).map(|(id, _)| id).collect();
        format!(
            "{} pipelines, asked {}, intents of {intents:?}, tasks {tasks:?}",
            self.table.pipelines().count(),
            self.world.is_all_asked()
        )
    }
}

fn require(id: &'static str, condition: bool, message: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(Violation { id, message: message() }) }
}
