//! The state of the model: small, flat, and in one form for all states that differ only in numbers nobody compares.

use crate::ledger::{Ledger, MAX_TASKS};

/// Most claims of one task, one more than is explored: healing may need it.
pub(crate) const MAX_CLAIMS: usize = 5;
/// Most things committers do at a time, those nobody waits for any more included.
pub(crate) const MAX_DEEDS: usize = 3;
/// Most intents anything still refers to.
pub(crate) const MAX_BODIES: usize = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) store: Store,
    pub(crate) leader: Leader,
    /// The leader before, which has not noticed yet; `elected` is 0 if there is none.
    pub(crate) former: Leader,
    pub(crate) attempts: [[Attempt; MAX_CLAIMS]; MAX_TASKS],
    pub(crate) deeds: [Deed; MAX_DEEDS],
    /// Intents' bodies in storage, by digest less one.
    pub(crate) bodies: [Body; MAX_BODIES],
    pub(crate) sink: Sink,
    pub(crate) sweep: Sweep,
    pub(crate) backup: Backup,
    /// Tasks an operator withdrew.
    pub(crate) withdrawn: u8,
    /// Which of two committers is connected.
    pub(crate) committer: u8,
    /// How many tasks there are.
    pub(crate) tasks: u8,
    pub(crate) spent: Spent,
    /// The number of the invariant that was seen broken; 0 if none was.
    pub(crate) broken: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) records: Ledger,
    /// Create revision of the leader's key.
    pub(crate) leader: u8,
    pub(crate) epoch: u8,
    /// What the next transaction gets.
    pub(crate) next: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    pub(crate) elected: u8,
    pub(crate) epoch: u8,
    /// The table in its memory.
    pub(crate) table: Ledger,
    /// Most tasks of the next intent.
    pub(crate) batch: u8,
    /// Whether the next thing to do with the intent is to abort it.
    pub(crate) abort: bool,
}

/// A claim and what became of it. Claims of a task come in the order they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) phase: AttemptPhase,
    pub(crate) epoch: u8,
    /// The revision of its token.
    pub(crate) token: u8,
    /// Whether its file is in storage.
    pub(crate) file: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum AttemptPhase {
    #[default]
    None,
    Running,
    Staged,
    Dead,
}

/// Something a committer does, and who waits for its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Deed {
    pub(crate) heard: Heard,
    pub(crate) phase: DeedPhase,
    /// The intent that is carried out, or was worked out.
    pub(crate) digest: u8,
    pub(crate) abort: bool,
    /// What is to become an intent.
    pub(crate) draft: Draft,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Heard {
    ByLeader,
    ByFormer,
    /// By nobody: whoever asked is gone, or the session is.
    #[default]
    No,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum DeedPhase {
    #[default]
    None,
    /// Asked to work an intent out.
    Preparing,
    /// Worked out; the answer is under way.
    Prepared,
    /// The files of a task are not there; the answer is under way.
    FilesBad(u8),
    /// Asked to carry an intent out.
    Asked,
    /// Has seen that the sink is one behind; whether the sink is still as it was.
    Probed(bool),
    /// The answer is under way.
    Settled(Settled),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Settled {
    Committed,
    Aborted,
    Refused,
    Stale,
    Halt,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Draft {
    pub(crate) seq: u8,
    pub(crate) previous: u8,
    /// Revisions of the seals of its tasks; 0 for tasks that are not in it.
    pub(crate) seals: [u8; MAX_TASKS],
    /// The attempts that were sealed, counted from 1.
    pub(crate) manifests: [u8; MAX_TASKS],
}

/// An intent as it was written down before it was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Body {
    pub(crate) seq: u8,
    pub(crate) previous: u8,
    pub(crate) manifests: [u8; MAX_TASKS],
    /// Whether the sink spent its seq on its abort.
    pub(crate) aborted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sink {
    pub(crate) seq: u8,
    pub(crate) digest: u8,
    pub(crate) aborted: bool,
    /// Which attempt of each task is part of the table, counted from 1.
    pub(crate) applied: [u8; MAX_TASKS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sweep {
    pub(crate) phase: SweepPhase,
    /// Files by task and attempt: listed, then doomed.
    pub(crate) files: u16,
    pub(crate) heard: Heard,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum SweepPhase {
    #[default]
    None,
    Listed,
    /// Knows what lives.
    Told,
    /// Knows what the sink refers to as well.
    Looked,
}

/// A backup of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Backup {
    pub(crate) phase: BackupPhase,
    pub(crate) records: Ledger,
    pub(crate) next: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum BackupPhase {
    #[default]
    None,
    Taken,
    Restored,
}

/// What happened so often; all of it is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Spent {
    pub(crate) leaders: u8,
    pub(crate) failures: u8,
    pub(crate) refusals: u8,
    pub(crate) bad_files: u8,
    pub(crate) cancels: u8,
    pub(crate) sweeps: u8,
    pub(crate) committers: u8,
}

impl State {
    pub(crate) fn claims(&self, task: usize) -> usize {
        self.attempts[task].iter().take_while(|attempt| attempt.phase != AttemptPhase::None).count()
    }

    pub(crate) fn has_task(&self, task: usize) -> bool {
        task < usize::from(self.tasks)
    }

    pub(crate) fn file_bit(task: usize, attempt: usize) -> u16 {
        1 << (task * MAX_CLAIMS + attempt)
    }

    /// The deed a leader waits for.
    pub(crate) fn heard(&self, by: Heard) -> Option<usize> {
        self.deeds.iter().position(|deed| deed.phase != DeedPhase::None && deed.heard == by)
    }

    pub(crate) fn free_deed(&self, most: usize) -> Option<usize> {
        let free = |deed: &Deed| deed.phase == DeedPhase::None;
        let under_way = self.deeds.iter().filter(|deed| !free(deed)).count();
        if under_way < most { self.deeds.iter().position(free) } else { None }
    }

    /// Puts the state into the form it shares with all states that are the same but for numbers: revisions and digests are
    /// only compared, so they are counted anew in their order, and deeds have no places of their own.
    pub(crate) fn normalize(&mut self) {
        self.forget_what_nobody_waits_for();
        let mut revisions = Seen::default();
        self.each_revision(|revision| revisions.note(*revision));
        self.each_revision(|revision| *revision = revisions.rank(*revision));
        let mut digests = Seen::default();
        self.each_digest(|digest| digests.note(*digest));
        self.note_chain(&mut digests);
        let mut bodies = [Body::default(); MAX_BODIES];
        for digest in 1..=MAX_BODIES as u8 {
            if digests.has(digest) {
                let mut body = self.bodies[usize::from(digest) - 1];
                body.previous = if digests.has(body.previous) { digests.rank(body.previous) } else { 0 };
                bodies[usize::from(digests.rank(digest)) - 1] = body;
            }
        }
        self.bodies = bodies;
        self.each_digest(|digest| *digest = digests.rank(*digest));
        self.deeds.sort_unstable();
    }

    fn forget_what_nobody_waits_for(&mut self) {
        for deed in &mut self.deeds {
            let answering = matches!(
                deed.phase,
                DeedPhase::Prepared | DeedPhase::FilesBad(_) | DeedPhase::Settled(_) | DeedPhase::Preparing
            );
            if deed.phase == DeedPhase::None || (deed.heard == Heard::No && answering) {
                *deed = Deed::default();
            }
        }
    }

    fn each_revision(&mut self, mut visit: impl FnMut(&mut u8)) {
        let Self { store, leader, former, attempts, deeds, backup, .. } = self;
        for table in [&mut store.records, &mut leader.table, &mut former.table, &mut backup.records] {
            table.each_revision(&mut visit);
        }
        for revision in [&mut store.leader, &mut store.next, &mut leader.elected, &mut former.elected, &mut backup.next]
        {
            visit(revision);
        }
        attempts.iter_mut().flatten().for_each(|attempt| visit(&mut attempt.token));
        deeds.iter_mut().flat_map(|deed| &mut deed.draft.seals).for_each(&mut visit);
    }

    fn each_digest(&mut self, mut visit: impl FnMut(&mut u8)) {
        let Self { store, leader, former, deeds, backup, sink, .. } = self;
        for table in [&mut store.records, &mut leader.table, &mut former.table, &mut backup.records] {
            visit(&mut table.head.digest);
            visit(&mut table.intent.digest);
            visit(&mut table.intent.previous);
        }
        for deed in deeds {
            visit(&mut deed.digest);
            visit(&mut deed.draft.previous);
        }
        visit(&mut sink.digest);
    }
}

impl State {
    /// The sink's commits after one, newest first.
    pub(crate) fn commits_since(&self, digest: u8) -> impl Iterator<Item = u8> {
        let before = |digest: u8| self.bodies[usize::from(digest) - 1].previous;
        let first = Some(self.sink.digest);
        std::iter::successors(first, move |digest| (*digest != 0).then(|| before(*digest)))
            .take_while(move |found| *found != 0 && *found != digest)
    }

    /// A ledger is made good from the sink's chain of commits: it is kept as far as a backup, or a former life of the
    /// store, may need it.
    fn note_chain(&self, digests: &mut Seen) {
        match self.backup.phase {
            BackupPhase::None => {}
            BackupPhase::Taken => {
                self.commits_since(self.backup.records.head.digest).for_each(|digest| digests.note(digest))
            }
            BackupPhase::Restored => {
                self.commits_since(self.store.records.head.digest).for_each(|digest| digests.note(digest));
            }
        }
    }
}

/// Numbers that occur; 0 stands for none and stays.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn note(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    fn has(&self, number: u8) -> bool {
        number != 0 && self.0 & (1 << number) != 0
    }

    /// How many numbers from 1 up to this one occur.
    fn rank(&self, number: u8) -> u8 {
        if number == 0 { 0 } else { ((self.0 >> 1) & (u64::MAX >> (64 - u32::from(number)))).count_ones() as u8 }
    }
}
