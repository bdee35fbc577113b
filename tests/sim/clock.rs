//! The clocks of one host. They are the simulation's, unless a fault sets the wall clock elsewhere or stops the monotonic
//! one, as a machine's does while it is suspended.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use windrow_common::clock::Clock;

/// What the wall clock says when the simulation begins.
pub(crate) const ORIGIN_SECONDS: i64 = 30 * 24 * 3_600;

#[derive(Debug, Default)]
struct State {
    /// By how much the wall clock is off.
    off: SignedDuration,
    /// How long the monotonic clock has stood still in all.
    stood: Duration,
    /// Since when it stands still.
    since: Option<Duration>,
    /// By how much it has leapt ahead in all.
    ahead: Duration,
    newest: Duration,
}

/// Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostClock(Arc<Mutex<State>>);

impl HostClock {
    pub(crate) fn jump(&self, off: SignedDuration) {
        self.0.lock().unwrap().off = off;
    }

    /// Stops the monotonic clock.
    pub(crate) fn stop(&self, now: Duration) {
        let mut state = self.0.lock().unwrap();
        state.since.get_or_insert(now);
    }

    /// Lets it go on where it stopped.
    pub(crate) fn go_on(&self, now: Duration) {
        let mut state = self.0.lock().unwrap();
        if let Some(since) = state.since.take() {
            state.stood += now.saturating_sub(since);
        }
    }

    /// Has the monotonic clock leap ahead, as it does for a process that was stopped and goes on.
    pub(crate) fn leap(&self, by: Duration) {
        self.0.lock().unwrap().ahead += by;
    }

    fn simulated(state: &mut State) -> Duration {
        // Code that runs while its host is taken down asks for the time too.
        state.newest = turmoil::sim_elapsed().unwrap_or(state.newest).max(state.newest);
        state.newest
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let mut state = self.0.lock().unwrap();
        let elapsed = Self::simulated(&mut state);
        let origin = Timestamp::from_second(ORIGIN_SECONDS).unwrap();
        origin.checked_add(elapsed).unwrap().checked_add(state.off).unwrap()
    }

    fn elapsed(&self) -> Duration {
        let mut state = self.0.lock().unwrap();
        let elapsed = Self::simulated(&mut state);
        (state.since.unwrap_or(elapsed) + state.ahead).saturating_sub(state.stood)
    }
}
