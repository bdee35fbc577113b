//! How fast a service may be asked, by everything on this worker that asks it: so many requests a second, and none
//! before the time it said to come back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

/// The longest a task waits for a service that said when to come back; past it the task gives way to others.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The pace of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two requests; zero without a limit.
    interval: Duration,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// The next free time for a request.
    next: Option<Instant>,
    /// The service wants none before.
    held: Option<Instant>,
}

/// The paces in use; what nobody uses any more is forgotten.
static PACES: Mutex<BTreeMap<String, Weak<Pace>>> = Mutex::new(BTreeMap::new());

impl Pace {
    /// The pace that all who ask the same service at the same rate have in common.
    pub(super) fn of(service: &str, per_second: Option<f64>) -> Arc<Self> {
        let key = format!("{service}\0{per_second:?}");
        let mut paces = PACES.lock().unwrap_or_else(PoisonError::into_inner);
        paces.retain(|_, pace| pace.strong_count() > 0);
        if let Some(pace) = paces.get(&key).and_then(Weak::upgrade) {
            return pace;
        }
        let pace = Arc::new(Self::new(per_second));
        paces.insert(key, Arc::downgrade(&pace));
        pace
    }

    fn new(per_second: Option<f64>) -> Self {
        let interval = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        Self { interval, times: Mutex::default() }
    }

    /// Waits until a request may be made; the error is how long that would be if it is too long.
    pub(super) async fn turn(&self) -> Result<(), Duration> {
        let at = self.reserve(Instant::now())?;
        tokio::time::sleep_until(at).await;
        Ok(())
    }

    /// No request before so long from now.
    pub(super) fn hold(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.held = Some(times.held.map_or(until, |held| held.max(until)));
    }

    fn reserve(&self, now: Instant) -> Result<Instant, Duration> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let held = times.held.filter(|held| *held > now);
        if let Some(wait) = held.map(|held| held - now).filter(|wait| *wait > LONGEST_WAIT) {
            return Err(wait);
        }
        let at = [times.next, held].into_iter().flatten().fold(now, Instant::max);
        times.next = Some(at + self.interval);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_of_everybody_are_so_far_apart() {
        let (one, other) = (Pace::of("shop", Some(4.0)), Pace::of("shop", Some(4.0)));
        assert!(Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &Pace::of("bank", Some(4.0))));
        let start = Instant::now();
        for _ in 0..3 {
            one.turn().await.unwrap();
            other.turn().await.unwrap();
        }
        assert_eq!(start.elapsed().as_millis(), 1_250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_wants_a_pause_gets_it_and_nobody_waits_for_ever() {
        let pace = Pace::new(None);
        let start = Instant::now();
        pace.hold(Duration::from_secs(7));
        pace.hold(Duration::from_secs(3));
        pace.turn().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 7);
        pace.hold(Duration::from_secs(3_600));
        assert!(pace.turn().await.unwrap_err() > Duration::from_secs(3_500));
        assert_eq!(start.elapsed().as_secs(), 7, "nobody waited");
    }
}
