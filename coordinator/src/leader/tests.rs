//! Elections over a store that answers late.
#![allow(clippy::unwrap_used)]

use windrow_common::clock::SystemClock;

use super::*;
use crate::store::{Fate, LyingStore};

/// The try that wins is not answered and arrives behind the look at what came of it. The key is then under this very
/// campaign's lease, which the campaign keeps alive: unless it knows its own key, nobody ever leads again.
#[tokio::test(start_paused = true)]
async fn an_election_won_late_is_found_won() {
    let lying = Arc::new(LyingStore::new());
    // The first makes the epoch known.
    lying.fates.lock().unwrap().extend([Fate::Answered, Fate::Late(1)]);
    let store: Arc<dyn MetaStore> = lying;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (following, shutdown) = (watch::Sender::new(String::new()), Shutdown::new());
    let keys = Keys::of_cluster("test");
    let campaign = campaign(&store, &keys, "http://c1", &clock, (&following, &shutdown));
    let won = tokio::time::timeout(Duration::from_secs(60), campaign).await;
    let leadership = won.expect("nobody leads").unwrap().unwrap();
    let page = store.range(Range::prefix(keys.leader())).await.unwrap();
    assert_eq!(page.entries[0].create_revision, leadership.guard.leader);
}
