//! Where the pipelines stand, measured now and then for whoever looks at the metrics. With a hundred thousand open tasks
//! that takes a while, and workers wait meanwhile: so it is done a few pipelines at a time.

use std::{collections::VecDeque, time::Duration};

use windrow_common::id::PipelineName;

use super::{Controller, View};
use crate::core::report;

/// How often each pipeline is measured.
const EVERY: Duration = Duration::from_secs(5);
/// In how many steps; at a tick each they are done well before the next ones.
const STEPS: usize = 25;

/// The pipelines that are yet to be measured this time, and when it begins again.
#[derive(Default)]
pub(super) struct Measuring {
    left: VecDeque<PipelineName>,
    step: usize,
    next: Duration,
}

impl Controller {
    pub(super) fn measure(&mut self) {
        let elapsed = self.clock.elapsed();
        if self.measuring.left.is_empty() {
            if elapsed < self.measuring.next {
                return;
            }
            self.attempts.keep_open(&self.table);
            let left: VecDeque<_> = self.table.pipelines().map(|(name, _)| name.clone()).collect();
            self.measuring = Measuring { step: left.len().div_ceil(STEPS), left, next: elapsed + EVERY };
        }
        let step = self.measuring.step.min(self.measuring.left.len());
        let names: Vec<_> = self.measuring.left.drain(..step).collect();
        let view = View::of(self);
        for name in &names {
            let Some(entry) = view.table.pipeline(name) else { continue };
            let now = view.when.now;
            self.metrics.observe(name, entry, &report::pipeline(view.table, entry, now), now);
            self.metrics.gathering(&entry.sink, view.gathering(&entry.sink).values(), now);
        }
    }
}
