//! The claims this worker holds and how long it may act on them. A claim ends when the coordinator revokes it or when
//! no heartbeat was answered for two thirds of the lease; that saves effort and nothing else: that a late attempt
//! changes nothing is the ledger's doing. Knows no wire and no kind of task.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use windrow_common::{claim::Token, clock::Clock, id::TaskId};

/// All claims of this worker. Clones share them.
#[derive(Clone)]
pub(crate) struct Claims {
    held: Arc<Mutex<BTreeMap<TaskId, Held>>>,
    /// When the claims lapse, on the clock's monotonic side.
    valid_until: watch::Sender<Duration>,
    clock: Arc<dyn Clock>,
}

struct Held {
    token: Token,
    revoked: CancellationToken,
    progress: Arc<Progress>,
}

/// What an attempt has done so far; read for heartbeats while it is written.
#[derive(Debug, Default)]
pub struct Progress {
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    bytes_written: AtomicU64,
    /// Microseconds it took to find out what there is to read.
    listing_us: AtomicU64,
    trace: OnceLock<String>,
}

/// A claim in the hands of an attempt. Dropping it gives the claim up.
pub struct ClaimGuard {
    task: TaskId,
    token: Token,
    /// When it was taken, on the clock's monotonic side.
    since: Duration,
    revoked: CancellationToken,
    progress: Arc<Progress>,
    claims: Claims,
}

/// Why a claim ended under its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The coordinator took it back.
    Revoked,
    /// Nothing was heard of the coordinator for too long.
    Lapsed,
}

/// What came of taking a claim.
pub(crate) enum Taken {
    New(ClaimGuard),
    /// The same claim was taken before; its attempt goes on.
    Already,
}

impl Claims {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { held: Arc::default(), valid_until: watch::Sender::new(Duration::ZERO), clock }
    }

    /// Takes a claim. One on the same task with another token has passed to this one and ends.
    pub(crate) fn take(&self, task: TaskId, token: Token) -> Taken {
        let mut held = self.lock();
        if let Some(before) = held.get(&task) {
            if before.token == token {
                return Taken::Already;
            }
            before.revoked.cancel();
        }
        let revoked = CancellationToken::new();
        let progress = Arc::new(Progress::default());
        held.insert(task, Held { token, revoked: revoked.clone(), progress: progress.clone() });
        let since = self.clock.elapsed();
        Taken::New(ClaimGuard { task, token, since, revoked, progress, claims: self.clone() })
    }

    /// Ends a claim, if it is still held under this token.
    pub(crate) fn revoke(&self, task: &TaskId, token: Token) {
        let mut held = self.lock();
        if held.get(task).is_some_and(|claim| claim.token == token)
            && let Some(claim) = held.remove(task)
        {
            claim.revoked.cancel();
        }
    }

    /// Ends all claims.
    pub(crate) fn revoke_all(&self) {
        for (_, claim) in std::mem::take(&mut *self.lock()) {
            claim.revoked.cancel();
        }
    }

    /// Makes all claims good until then; an earlier time than before changes nothing.
    pub(crate) fn extend(&self, until: Duration) {
        self.valid_until.send_if_modified(|valid| {
            let later = until > *valid;
            *valid = until.max(*valid);
            later
        });
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// All claims and what their attempts have done.
    pub(crate) fn held(&self) -> Vec<(TaskId, Token, Arc<Progress>)> {
        self.lock().iter().map(|(task, claim)| (*task, claim.token, claim.progress.clone())).collect()
    }

    fn give_up(&self, task: &TaskId, token: Token) {
        let mut held = self.lock();
        if held.get(task).is_some_and(|claim| claim.token == token) {
            held.remove(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClaimGuard {
    pub fn task(&self) -> TaskId {
        self.task
    }

    pub fn token(&self) -> Token {
        self.token
    }

    /// How long the claim has been in the attempt's hands.
    pub fn age(&self) -> Duration {
        self.claims.clock.elapsed().saturating_sub(self.since)
    }

    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Resolves when the attempt has to stop, whatever it is doing.
    pub async fn ended(&self) -> Ended {
        tokio::select! {
            biased;
            () = self.revoked.cancelled() => Ended::Revoked,
            () = self.lapsed() => Ended::Lapsed,
        }
    }

    /// Resolves when the coordinator takes the claim back. What is staged already stays worth sealing when the claim
    /// merely lapsed: whether it still counts, the ledger says.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }

    async fn lapsed(&self) {
        let mut valid_until = self.claims.valid_until.subscribe();
        loop {
            let until = *valid_until.borrow_and_update();
            let left = until.saturating_sub(self.claims.clock.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // The sender lives in `self.claims`, so this fails never.
                _ = valid_until.changed() => {}
            }
        }
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.claims.give_up(&self.task, self.token);
    }
}

impl Progress {
    pub fn add_read(&self, rows: u64) {
        self.rows_read.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn add_written(&self, rows: u64) {
        self.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn add_listing(&self, took: Duration) {
        self.listing_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long it took to find out what there is to read.
    pub fn listing(&self) -> Duration {
        Duration::from_micros(self.listing_us.load(Ordering::Relaxed))
    }

    pub fn add_bytes(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells which span the attempt runs in, once.
    pub fn runs_in(&self, traceparent: Option<String>) {
        if let Some(traceparent) = traceparent {
            // A second one would be of the same attempt.
            let _ = self.trace.set(traceparent);
        }
    }

    pub fn trace(&self) -> Option<&str> {
        self.trace.get().map(String::as_str)
    }

    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Ordering::Relaxed)
    }

    pub fn rows_written(&self) -> u64 {
        self.rows_written.load(Ordering::Relaxed)
    }

    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use windrow_common::clock::SystemClock;

    use super::*;

    fn task() -> TaskId {
        TaskId::from_bytes([7; 16])
    }

    fn token(revision: i64) -> Token {
        Token { epoch: 1, revision }
    }

    fn claims() -> Claims {
        let claims = Claims::new(Arc::new(SystemClock::new()));
        claims.extend(Duration::from_secs(20));
        claims
    }

    fn take(claims: &Claims, revision: i64) -> ClaimGuard {
        match claims.take(task(), token(revision)) {
            Taken::New(guard) => guard,
            Taken::Already => panic!("the claim was held already"),
        }
    }

    /// Proves CL3.
    #[tokio::test(start_paused = true)]
    async fn a_claim_lapses_when_it_is_not_extended_and_not_before() {
        let claims = claims();
        let guard = take(&claims, 1);
        let quiet = tokio::time::timeout(Duration::from_secs(19), guard.ended()).await;
        assert!(quiet.is_err(), "it lapsed too early");
        claims.extend(Duration::from_secs(40));
        let quiet = tokio::time::timeout(Duration::from_secs(20), guard.ended()).await;
        assert!(quiet.is_err(), "the extension was not seen");
        assert_eq!(guard.ended().await, Ended::Lapsed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_extension_never_shortens_a_claim() {
        let claims = claims();
        claims.extend(Duration::from_secs(5));
        let guard = take(&claims, 1);
        assert!(tokio::time::timeout(Duration::from_secs(19), guard.ended()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_claim_ends_at_once_and_another_token_is_left_alone() {
        let claims = claims();
        let guard = take(&claims, 2);
        claims.revoke(&task(), token(1));
        assert!(tokio::time::timeout(Duration::from_secs(1), guard.ended()).await.is_err());
        claims.revoke(&task(), token(2));
        assert_eq!(guard.ended().await, Ended::Revoked);
        assert_eq!(claims.count(), 0);
    }

    /// Proves CL4.
    #[tokio::test(start_paused = true)]
    async fn a_newer_claim_on_the_same_task_ends_the_older_one_and_survives_its_drop() {
        let claims = claims();
        let older = take(&claims, 1);
        assert!(matches!(claims.take(task(), token(1)), Taken::Already));
        let newer = take(&claims, 2);
        assert_eq!(older.ended().await, Ended::Revoked);
        drop(older);
        assert_eq!(claims.held().len(), 1);
        drop(newer);
        assert_eq!(claims.count(), 0);
    }
}
