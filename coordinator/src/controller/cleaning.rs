//! Cleaning that somebody asks for now: a sweep of its own that is told to them when it is over, or that only looks.

use std::time::Duration;

use windrow_common::{
    id::{PipelineName, SinkId},
    task::Failure,
};
use windrow_proto::v1;

use super::{CommandError, Controller, Reply, commands::respond, wishes::Wishes};
use crate::{
    core::{pins, rollback},
    ledger::LedgerError,
};

/// How long one waits for a worker that can clean, and for the sink's turn.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one waits for the end. The cleaning goes on if it takes longer.
const LONGEST: Duration = Duration::from_secs(1_800);

/// A cleaning somebody waits for.
pub(super) struct CleanWish {
    only_look: bool,
    /// Vacuumed already.
    tables: Vec<v1::VacuumedTable>,
    reply: Reply<v1::CleanReport>,
}

impl Wishes<CleanWish> {
    /// The sweep cannot go on now; it is begun anew.
    pub(super) fn postpone(&mut self, request: u64) {
        if let Some(wish) = self.find(request) {
            wish.ask_again();
        }
    }

    /// Of a sweep that somebody waits for: whether it only looks.
    pub(super) fn only_looks(&mut self, request: u64) -> Option<bool> {
        self.find(request).map(|wish| wish.of.only_look)
    }

    pub(super) fn vacuumed(&mut self, request: u64, tables: Vec<v1::VacuumedTable>) {
        if let Some(wish) = self.find(request) {
            wish.of.tables = tables;
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
        if self.clean_wishes.is_full() {
            return respond(reply, Err(CommandError::NoCommitter));
        }
        let wish = CleanWish { only_look, tables: Vec::new(), reply };
        self.clean_wishes.add(entry.sink.clone(), self.clock.elapsed(), wish);
        Ok(())
    }

    /// Begins those that can be begun. One at a time for each sink.
    pub(super) async fn ask_to_clean(&mut self) -> Result<(), LedgerError> {
        let late = self.clean_wishes.take_late(self.clock.elapsed(), PATIENCE, LONGEST);
        late.into_iter().try_for_each(|wish| respond(wish.of.reply, Err(CommandError::NoCommitter)))?;
        for at in 0..self.clean_wishes.len() {
            let Some(wish) = self.clean_wishes.get(at).filter(|wish| self.is_open(wish)) else { continue };
            let (sink, only_look) = (wish.sink.clone(), wish.of.only_look);
            let busy = self.clean_wishes.iter().any(|other| other.sink == sink && !self.is_open(other));
            if busy || self.may_not_clean(&sink) {
                continue;
            }
            let Some(worker) = self.cleaner(&sink).await? else { continue };
            let Some(request) = self.begin_sweep(&sink, &worker, extent(only_look)) else { continue };
            self.clean_wishes.asked(at, request, worker);
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
        let CleanWish { mut tables, reply, .. } = wish.of;
        let answer = report.map(|report| {
            tables.extend(report.tables);
            v1::CleanReport { tables, ..report }
        });
        respond(reply, answer.map_err(CommandError::Worker))
    }
}

/// Looking is no vacuum, which a database does at once.
fn extent(only_look: bool) -> v1::CleanExtent {
    match only_look {
        true => v1::CleanExtent::Looked,
        false => v1::CleanExtent::Asked,
    }
}
