//! Cleaning that somebody asks for now: a sweep of its own that is told to them when it is over, or that only looks.

use std::time::Duration;

use windrow_common::{
    id::{PipelineName, SinkId, WorkerId},
    task::Failure,
};
use windrow_proto::v1;

use super::{CommandError, Controller, Reply, commands::respond};
use crate::{
    core::{pins, rollback},
    ledger::LedgerError,
};

/// Those who may wait at a time.
const MOST_WISHES: usize = 64;
/// How long one waits for a worker that can clean, and for the sink's turn.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one waits for the end. The cleaning goes on if it takes longer.
const LONGEST: Duration = Duration::from_secs(1_800);

/// Cleanings somebody waits for.
#[derive(Default)]
pub(super) struct CleanWishes(Vec<Wish>);

struct Wish {
    sink: SinkId,
    began: Duration,
    /// The request that is under way, and who was asked.
    asked: Option<(u64, WorkerId)>,
    only_look: bool,
    /// Vacuumed already.
    tables: Vec<v1::VacuumedTable>,
    reply: Reply<v1::CleanReport>,
}

impl Wish {
    fn is_late(&self, now: Duration) -> bool {
        now > self.began + if self.asked.is_some() { LONGEST } else { PATIENCE }
    }
}

impl CleanWishes {
    /// The worker's session is gone: if it was asked, its answer will not come.
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.0.iter_mut().for_each(|wish| drop(wish.asked.take_if(|(_, worker)| worker == gone)));
    }

    fn of(&mut self, request: u64) -> Option<&mut Wish> {
        self.0.iter_mut().find(|wish| wish.asked.as_ref().is_some_and(|(number, _)| *number == request))
    }

    fn take(&mut self, request: u64) -> Option<Wish> {
        let asked = |wish: &Wish| wish.asked.as_ref().is_some_and(|(number, _)| *number == request);
        let at = self.0.iter().position(asked)?;
        Some(self.0.swap_remove(at))
    }

    /// The sweep cannot go on now; it is begun anew.
    pub(super) fn postpone(&mut self, request: u64) {
        if let Some(wish) = self.of(request) {
            wish.asked = None;
        }
    }

    /// Of a sweep that somebody waits for: whether it only looks.
    pub(super) fn only_looks(&mut self, request: u64) -> Option<bool> {
        self.of(request).map(|wish| wish.only_look)
    }

    pub(super) fn vacuumed(&mut self, request: u64, tables: Vec<v1::VacuumedTable>) {
        if let Some(wish) = self.of(request) {
            wish.tables = tables;
        }
    }
}

impl Controller {
    pub(super) fn wish_for_cleaning(
        &mut self,
        pipeline: &PipelineName,
        only_look: bool,
        reply: Reply<v1::CleanReport>,
    ) -> Result<(), LedgerError> {
        if self.table.recovery().is_some() {
            return respond(reply, Err(CommandError::Recovering));
        }
        let Some(entry) = self.table.pipeline(pipeline) else {
            return respond(reply, Err(CommandError::NotFound { kind: "pipeline", name: pipeline.to_string() }));
        };
        if self.clean_wishes.0.len() >= MOST_WISHES {
            return respond(reply, Err(CommandError::NoCommitter));
        }
        let (sink, began) = (entry.sink.clone(), self.clock.elapsed());
        self.clean_wishes.0.push(Wish { sink, began, asked: None, only_look, tables: Vec::new(), reply });
        Ok(())
    }

    /// Begins those that can be begun. One at a time for each sink.
    pub(super) async fn ask_to_clean(&mut self) -> Result<(), LedgerError> {
        let now = self.clock.elapsed();
        let (late, waiting) = std::mem::take(&mut self.clean_wishes.0).into_iter().partition(|wish| wish.is_late(now));
        self.clean_wishes.0 = waiting;
        let late: Vec<Wish> = late;
        late.into_iter().try_for_each(|wish| respond(wish.reply, Err(CommandError::NoCommitter)))?;
        for at in 0..self.clean_wishes.0.len() {
            let open = |wish: &Wish| wish.asked.as_ref().is_none_or(|(_, worker)| !self.serves(&wish.sink, worker));
            let Some(wish) = self.clean_wishes.0.get(at).filter(|wish| open(wish)) else { continue };
            let (sink, only_look) = (wish.sink.clone(), wish.only_look);
            let busy = self.clean_wishes.0.iter().any(|other| other.sink == sink && !open(other));
            if busy || self.may_not_clean(&sink) {
                continue;
            }
            let Some(worker) = self.cleaner(&sink).await? else { continue };
            let Some(request) = self.begin_sweep(&sink, &worker, extent(only_look)) else { continue };
            if let Some(wish) = self.clean_wishes.0.get_mut(at) {
                wish.asked = Some((request, worker));
            }
        }
        Ok(())
    }

    /// What a rollback brings back may be nothing's any more until its commit is made, and what a pin is to hold is not
    /// known before it is held.
    pub(super) fn may_not_clean(&self, sink: &SinkId) -> bool {
        rollback::open(&self.table, sink).is_some() || pins::undecided(&self.table, sink)
    }

    /// A sweep that somebody waits for is over.
    pub(super) fn cleaned(
        &mut self,
        request: u64,
        report: Result<v1::CleanReport, Failure>,
    ) -> Result<(), LedgerError> {
        let Some(wish) = self.clean_wishes.take(request) else { return Ok(()) };
        let mut tables = wish.tables;
        let answer = report.map(|report| {
            tables.extend(report.tables);
            v1::CleanReport { tables, ..report }
        });
        respond(wish.reply, answer.map_err(CommandError::Worker))
    }
}

/// Looking is no vacuum, which a database does at once.
fn extent(only_look: bool) -> v1::CleanExtent {
    match only_look {
        true => v1::CleanExtent::Looked,
        false => v1::CleanExtent::Asked,
    }
}
