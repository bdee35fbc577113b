//! Leadership: one key under a lease. Whoever creates it leads; its revision guards every write. The lease only decides when
//! others may try: safety is in the guard.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};
use windrow_common::{clock::Clock, shutdown::Shutdown};

use crate::{
    ledger::{Guard, Keys, SCHEMA},
    store::{Compare, Event, LeaseId, MetaStore, Op, Range, Revision, StoreError},
};

#[cfg(test)]
mod tests;

/// After this the store gives the key to somebody else.
const TTL_SECONDS: i64 = 10;
/// After this without an answered renewal the leader stops issuing work, before the store can have a new one.
const GIVE_UP: Duration = Duration::from_secs(7);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often a follower looks, should a watch event be lost.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// A won leadership. Dropping it stops the renewal; [`Self::resign`] hands over at once.
pub struct Leadership {
    pub guard: Guard,
    store: Arc<dyn MetaStore>,
    lease: LeaseId,
    lost: watch::Receiver<bool>,
    renewal: tokio::task::JoinHandle<()>,
}

/// Why leadership cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the cluster's records have form {found}, this windrow writes {SCHEMA}")]
    Schema { found: String },
    #[error("the cluster's epoch is not a number")]
    Epoch,
}

/// Takes part in elections until it wins, or stopping begins (`None`). `following` learns who leads meanwhile.
pub async fn campaign(
    store: &Arc<dyn MetaStore>,
    keys: &Keys,
    address: &str,
    clock: &Arc<dyn Clock>,
    context: (&watch::Sender<String>, &Shutdown),
) -> Result<Option<Leadership>, CampaignError> {
    let (following, shutdown) = context;
    let epoch = prepare(store, keys).await?;
    let lease = store.lease_grant(TTL_SECONDS).await?;
    let take = Op::Put { key: keys.leader(), value: address.as_bytes().to_vec(), lease: Some(lease) };
    while !shutdown.has_begun() {
        let sent = clock.elapsed();
        store.lease_keep_alive(lease).await?;
        if let Some(leader) = try_to_win(store, keys, &take, lease).await? {
            info!(revision = %leader, epoch, "leads");
            let guard = Guard { leader, epoch, take };
            return Ok(Some(Leadership::start(Arc::clone(store), guard, lease, Arc::clone(clock), sent)));
        }
        wait_for_vacancy(store, keys, following, shutdown).await?;
    }
    let _ = store.lease_revoke(lease).await;
    Ok(None)
}

/// Ends whatever leadership the store knows of, for one who is certain that nobody has it any more: its process is gone, and no other may
/// open the store.
pub async fn vacate(store: &Arc<dyn MetaStore>, keys: &Keys) -> Result<(), StoreError> {
    store.txn(Vec::new(), vec![Op::Delete { key: keys.leader() }]).await.map(drop)
}

/// Makes the epoch and the schema known if the cluster is new; returns the epoch.
async fn prepare(store: &Arc<dyn MetaStore>, keys: &Keys) -> Result<i64, CampaignError> {
    let absent = |key: Vec<u8>| Compare::CreateRevision { key, equals: Revision(0) };
    let put = |key: Vec<u8>, value: &str| Op::Put { key, value: value.as_bytes().to_vec(), lease: None };
    let compares = vec![absent(keys.epoch()), absent(keys.schema())];
    store.txn(compares, vec![put(keys.epoch(), "1"), put(keys.schema(), SCHEMA)]).await?;
    let read = |key: Vec<u8>| async move {
        let page = store.range(Range { limit: 1, ..Range::prefix(key) }).await?;
        let value = page.entries.into_iter().next().map(|entry| entry.value).unwrap_or_default();
        Ok::<_, StoreError>(String::from_utf8_lossy(&value).into_owned())
    };
    let found = read(keys.schema()).await?;
    if found != SCHEMA {
        return Err(CampaignError::Schema { found });
    }
    read(keys.epoch()).await?.parse().map_err(|_| CampaignError::Epoch)
}

async fn try_to_win(
    store: &Arc<dyn MetaStore>,
    keys: &Keys,
    take: &Op,
    lease: LeaseId,
) -> Result<Option<Revision>, StoreError> {
    let vacant = Compare::CreateRevision { key: keys.leader(), equals: Revision(0) };
    match store.txn(vec![vacant], vec![take.clone()]).await {
        Ok(outcome) if outcome.succeeded => return Ok(Some(outcome.revision)),
        // Taken, perhaps by an earlier try of this very campaign that arrived late. Unknown: perhaps by this one. If the
        // key is under this lease, it was won after all.
        Ok(_) | Err(StoreError::Unavailable(_)) => {}
        Err(cause) => return Err(cause),
    }
    let found = store.range(Range { limit: 1, ..Range::prefix(keys.leader()) }).await?;
    let own = found.entries.into_iter().find(|entry| entry.lease == Some(lease));
    Ok(own.map(|entry| entry.create_revision))
}

async fn wait_for_vacancy(
    store: &Arc<dyn MetaStore>,
    keys: &Keys,
    following: &watch::Sender<String>,
    shutdown: &Shutdown,
) -> Result<(), StoreError> {
    let page = store.range(Range { limit: 1, ..Range::prefix(keys.leader()) }).await?;
    let Some(leader) = page.entries.first() else { return Ok(()) };
    let address = String::from_utf8_lossy(&leader.value).into_owned();
    following.send_if_modified(|known| std::mem::replace(known, address.clone()) != address);
    let mut watch = store.watch(keys.leader(), Some(Revision(page.revision.0 + 1))).await?;
    let vacated = async {
        while let Some(Ok(batch)) = watch.batches.recv().await {
            if batch.events.iter().any(|event| matches!(event, Event::Delete { .. })) {
                return;
            }
        }
    };
    tokio::select! {
        () = vacated => sleep(jitter()).await,
        () = sleep(LOOK_EVERY) => {}
        () = shutdown.begun() => {}
    }
    Ok(())
}

/// So that the losers of an election do not all come back at once.
fn jitter() -> Duration {
    Duration::from_millis(rand::random_range(0..150))
}

impl Leadership {
    fn start(store: Arc<dyn MetaStore>, guard: Guard, lease: LeaseId, clock: Arc<dyn Clock>, sent: Duration) -> Self {
        let (losing, lost) = watch::channel(false);
        let renewal = tokio::spawn(renew(Arc::clone(&store), lease, clock, sent, losing));
        Self { guard, store, lease, lost, renewal }
    }

    /// Resolves when no more work may be issued.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Gives the key back, so that another coordinator leads at once.
    pub async fn resign(self) {
        self.renewal.abort();
        if let Err(error) = self.store.lease_revoke(self.lease).await {
            warn!(%error, "could not resign; the lease will run out");
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Renews the lease until no renewal was answered for [`GIVE_UP`], counted from when the last answered one was sent.
async fn renew(
    store: Arc<dyn MetaStore>,
    lease: LeaseId,
    clock: Arc<dyn Clock>,
    mut sent: Duration,
    losing: watch::Sender<bool>,
) {
    loop {
        let left = (sent + GIVE_UP).saturating_sub(clock.elapsed());
        if left.is_zero() {
            break;
        }
        sleep(RENEW_EVERY.min(left)).await;
        let sending = clock.elapsed();
        let left = (sent + GIVE_UP).saturating_sub(sending);
        match tokio::time::timeout(left, store.lease_keep_alive(lease)).await {
            Ok(Ok(_)) => sent = sending,
            Ok(Err(StoreError::LeaseNotFound(_))) => break,
            Ok(Err(error)) => warn!(%error, "could not renew leadership"),
            Err(_) => break,
        }
    }
    warn!("gives up leadership: the store did not renew it in time");
    let _ = losing.send(true);
}
