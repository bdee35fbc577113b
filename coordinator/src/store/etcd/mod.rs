//! The store on etcd 3.4 and newer.
//!
//! A thin translation: limits are checked here so that both stores refuse alike, everything else etcd decides. It may
//! not retry a write: an answer that is lost leaves the outcome unknown, and only the caller can find it out.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, GetOptions, KvClient, LeaseClient, WatchClient};

pub use self::options::{EtcdCredentials, EtcdIdentity, EtcdOptions, EtcdTls};

use self::errors::Refusal;
use super::{Compare, LeaseId, MetaStore, Op, Page, Range, Revision, StoreError, TxnOutcome, Watch, limits};

mod assembly;
mod errors;
mod options;
mod watching;
mod wire;

/// Largest answer accepted; tonic's own limit of 4 MiB is less than a page of large values.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A [`MetaStore`] in an etcd cluster, on raw keys.
pub struct EtcdStore {
    kv: KvClient,
    leases: LeaseClient,
    watches: WatchClient,
    timeout: Duration,
}

impl EtcdStore {
    /// Connects and makes sure that a member answers.
    pub async fn connect(options: EtcdOptions) -> Result<Self, StoreError> {
        let timeout = options.timeout;
        let connected = Client::connect(&options.endpoints, Some(options.connect_options()?));
        let mut client = in_time(timeout, connected).await.map_err(Refusal::into_error)?;
        in_time(timeout, client.status()).await.map_err(Refusal::into_error)?;
        Ok(Self::with_timeout(&client, timeout))
    }

    /// A store over a client that exists already, with the default timeout per call. The client should require a
    /// leader and send HTTP/2 pings, or a watch does not notice a member that hangs.
    pub fn from_client(client: Client) -> Self {
        Self::with_timeout(&client, EtcdOptions::default().timeout)
    }

    fn with_timeout(client: &Client, timeout: Duration) -> Self {
        Self {
            kv: client.kv_client().max_decoding_message_size(MAX_ANSWER_BYTES),
            watches: client.watch_client().max_decoding_message_size(MAX_ANSWER_BYTES),
            leases: client.lease_client(),
            timeout,
        }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Refusal> {
        in_time(self.timeout, call).await
    }

    /// The newest revision, by a linearizable read.
    async fn newest(&self, prefix: &[u8]) -> Result<Revision, StoreError> {
        let (start, end) = wire::interval(&Range::prefix(prefix));
        let options = GetOptions::new().with_range(end).with_limit(1).with_keys_only();
        let mut kv = self.kv.clone();
        let answer = self.call(kv.get(start, Some(options))).await.map_err(Refusal::into_error)?;
        wire::revision(answer.header())
    }

    /// etcd refuses a compacted revision without saying what it still has; a watch from the beginning does. The oldest
    /// revision kept is `at_least`; it stays 0 if no member tells it.
    async fn compacted(&self, requested: Revision, at_least: Revision, prefix: &[u8]) -> StoreError {
        let oldest = watching::horizon(self.watches.clone(), prefix, at_least).await;
        StoreError::Compacted { requested, oldest: oldest.unwrap_or_default() }
    }
}

#[async_trait]
impl MetaStore for EtcdStore {
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, StoreError> {
        limits::check_txn(&compares, &ops)?;
        let lease = ops.iter().find_map(wire::lease_of);
        let mut kv = self.kv.clone();
        match self.call(kv.txn(wire::txn(compares, ops))).await {
            Ok(answer) => Ok(TxnOutcome { succeeded: answer.succeeded(), revision: wire::revision(answer.header())? }),
            // With several leases in one transaction etcd does not say which is gone; the first stands for them.
            Err(Refusal::LeaseNotFound) => Err(StoreError::LeaseNotFound(lease.unwrap_or(LeaseId(0)))),
            Err(refusal) => Err(refusal.into_error()),
        }
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        let at = range.at.unwrap_or_default();
        if range.at.is_some() {
            limits::check_state_revision(at)?;
        }
        let (start, end) = wire::interval(&range);
        // A page never holds more than a thousand entries.
        let limit = i64::try_from(limits::page_limit(&range)).unwrap_or_default();
        let options = GetOptions::new().with_range(end).with_revision(at.0).with_limit(limit);
        let mut kv = self.kv.clone();
        match self.call(kv.get(start, Some(options))).await {
            Ok(answer) => {
                let newest = wire::revision(answer.header())?;
                let entries = answer.kvs().iter().map(wire::entry).collect();
                Ok(Page { entries, revision: range.at.unwrap_or(newest), more: answer.more() })
            }
            Err(Refusal::Compacted) => Err(self.compacted(at, Revision(at.0 + 1), &range.prefix).await),
            Err(Refusal::FutureRevision) => Err(StoreError::FutureRevision(at)),
            Err(refusal) => Err(refusal.into_error()),
        }
    }

    async fn watch(&self, prefix: Vec<u8>, from: Option<Revision>) -> Result<Watch, StoreError> {
        let from = match from {
            Some(from) => from,
            // The member that serves the watch may lag behind what was acknowledged; its "now" would lie in the past.
            None => Revision(self.newest(&prefix).await?.0 + 1),
        };
        watching::start(self.watches.clone(), prefix, from, self.timeout).await
    }

    async fn lease_grant(&self, ttl_seconds: i64) -> Result<LeaseId, StoreError> {
        let ttl_seconds = limits::check_ttl(ttl_seconds)?;
        let mut leases = self.leases.clone();
        let granted = self.call(leases.grant(ttl_seconds, None)).await.map_err(Refusal::into_error)?;
        Ok(LeaseId(granted.id()))
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<i64, StoreError> {
        limits::check_lease(lease)?;
        self.call(keep_alive(self.leases.clone(), lease)).await.map_err(|refusal| refusal.of_lease(lease))
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        limits::check_lease(lease)?;
        let mut leases = self.leases.clone();
        self.call(leases.revoke(lease.0)).await.map(drop).map_err(|refusal| refusal.of_lease(lease))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        limits::check_state_revision(revision)?;
        let mut kv = self.kv.clone();
        match self.call(kv.compact(revision.0, None)).await {
            Ok(_) => Ok(()),
            Err(Refusal::Compacted) => Err(self.compacted(revision, revision, b"").await),
            Err(Refusal::FutureRevision) => Err(StoreError::FutureRevision(revision)),
            Err(refusal) => Err(refusal.into_error()),
        }
    }
}

/// The client keeps the answer to the first request of the stream to itself, so the time to live takes a second one.
async fn keep_alive(mut leases: LeaseClient, lease: LeaseId) -> Result<i64, etcd_client::Error> {
    let (mut keeper, mut answers) = leases.keep_alive(lease.0).await?;
    keeper.keep_alive().await?;
    match answers.message().await? {
        Some(answer) if answer.ttl() > 0 => Ok(answer.ttl()),
        Some(_) => Err(errors::lease_not_found()),
        None => Err(etcd_client::Error::LeaseKeepAliveError("stream ended".into())),
    }
}

async fn in_time<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(_) => Err(Refusal::Other(StoreError::Unavailable(format!("no answer within {timeout:?}")))),
    }
}
