//! What a worker was asked and has not answered yet: at most one thing at a time, and not for ever.

use std::time::Duration;

use windrow_common::id::WorkerId;

#[derive(Debug, Default)]
pub(super) struct Question(Option<Asked>);

#[derive(Debug)]
struct Asked {
    request: u64,
    worker: WorkerId,
    /// Until when the answer is waited for, by the clock that only goes on.
    until: Duration,
}

impl Question {
    pub(super) fn ask(&mut self, request: u64, worker: WorkerId, until: Duration) {
        self.0 = Some(Asked { request, worker, until });
    }

    /// Whether an answer may still come.
    pub(super) fn is_open(&mut self, now: Duration) -> bool {
        self.0.take_if(|asked| asked.until <= now);
        self.0.is_some()
    }

    /// The worker's session is gone: if it was asked, its answer will not come.
    pub(super) fn lost(&mut self, gone: &WorkerId) {
        self.0.take_if(|asked| asked.worker == *gone);
    }

    /// Whether that is the answer; then nothing is asked any more.
    pub(super) fn answered(&mut self, worker: &WorkerId, request: u64) -> bool {
        self.0.take_if(|asked| asked.request == request && asked.worker == *worker).is_some()
    }
}
