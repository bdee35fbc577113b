//! The leader's time of day as its welcome told it, carried on by this machine's monotonic clock. Tickets are judged by
//! the clock that dated them, so that no clock here decides whether rows may be staged.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use windrow_common::clock::Clock;

/// A clock that shows the leader's time; this machine's own until a leader has told its.
pub struct LeaderTime {
    clock: Arc<dyn Clock>,
    /// What the leader told, and when that was here.
    told: Mutex<Option<(Timestamp, Duration)>>,
}

impl LeaderTime {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, told: Mutex::new(None) })
    }

    /// The leader's time at `here`. Older coordinators tell none.
    pub(super) fn tell(&self, unix_ms: i64, here: Duration) {
        if let Some(leader) = Timestamp::from_millisecond(unix_ms).ok().filter(|_| unix_ms != 0) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((leader, here));
        }
    }
}

impl Clock for LeaderTime {
    fn now(&self) -> Timestamp {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Some((leader, here)) => leader.checked_add(self.elapsed().saturating_sub(here)).unwrap_or(Timestamp::MAX),
            None => self.clock.now(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use windrow_common::clock::ManualClock;

    use super::*;

    #[test]
    fn the_leaders_time_goes_on_however_this_machines_clock_jumps() {
        let machine = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let time = LeaderTime::new(machine.clone());
        assert_eq!(time.now(), Timestamp::UNIX_EPOCH, "nobody has told another");
        let leader: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        time.tell(leader.as_millisecond(), time.elapsed());
        machine.advance(Duration::from_secs(5));
        assert_eq!(time.now(), leader.checked_add(Duration::from_secs(5)).unwrap());
        time.tell(0, time.elapsed());
        assert!(time.now() > leader, "an older coordinator tells none");
    }
}
