//! What readers see of the controller: the table and what stands beside it, at one moment. Nothing is decided here.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use windrow_common::{
    id::{PipelineName, SinkId, TaskId},
    intent::MAX_INTENT_TASKS,
};

use super::{Controller, Progress, Recovering};
use crate::core::{
    commit::SinkRun,
    gather::{self, Gathering, When},
    table::Table,
    workers::Workers,
};

/// What readers see.
pub struct View<'a> {
    pub table: &'a Table,
    pub workers: &'a Workers,
    pub sinks: &'a BTreeMap<SinkId, SinkRun>,
    pub progress: &'a BTreeMap<TaskId, Progress>,
    pub recovering: &'a Recovering,
    /// What the tokens of present claims carry.
    pub epoch: i64,
    /// By the leader's clocks.
    pub when: When,
    /// Of the sinks that were asked about: every sealed task asks about its sink, and all that is sealed is the answer.
    gathering: RefCell<BTreeMap<SinkId, Rc<Gatherings<'a>>>>,
}

/// What gathers for a sink, by pipeline.
type Gatherings<'a> = BTreeMap<&'a PipelineName, Gathering>;

impl<'a> View<'a> {
    pub(super) fn of(controller: &'a Controller) -> Self {
        Self {
            table: &controller.table,
            workers: &controller.workers,
            sinks: &controller.sinks,
            progress: &controller.progress,
            recovering: &controller.recovering,
            epoch: controller.ledger.epoch(),
            when: controller.when(),
            gathering: RefCell::default(),
        }
    }

    /// What gathers for a sink.
    pub fn gathering(&self, sink: &SinkId) -> Rc<Gatherings<'a>> {
        let gathering = || {
            let fill = self.sinks.get(sink).map_or(MAX_INTENT_TASKS, SinkRun::batch);
            Rc::new(gather::gathering(self.table, sink, fill, self.when))
        };
        self.gathering.borrow_mut().entry(sink.clone()).or_insert_with(gathering).clone()
    }
}
