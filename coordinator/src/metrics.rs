//! What the coordinator counts.

use opentelemetry::{KeyValue, global, metrics::Counter};
use windrow_common::id::SinkId;

/// Counters of the leader, on the process's meter.
pub(crate) struct Metrics {
    claims: Counter<u64>,
    lease_expired: Counter<u64>,
    fenced: Counter<u64>,
    commit_retries: Counter<u64>,
    commits: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = global::meter("windrow");
        let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        Self {
            claims: counter("windrow_claims", "Tasks given to workers"),
            lease_expired: counter("windrow_lease_expired", "Claims lost because nothing was heard of their worker"),
            fenced: counter("windrow_fenced_writes", "Seals refused because the claim had passed on"),
            commit_retries: counter("windrow_commit_retries", "Commits asked for again"),
            commits: counter("windrow_commits", "Intents published"),
        }
    }

    pub(crate) fn claims(&self, count: usize) {
        self.claims.add(count as u64, &[]);
    }

    pub(crate) fn lease_expired(&self) {
        self.lease_expired.add(1, &[]);
    }

    pub(crate) fn fenced(&self) {
        self.fenced.add(1, &[]);
    }

    pub(crate) fn commit_retried(&self) {
        self.commit_retries.add(1, &[]);
    }

    pub(crate) fn published(&self, sink: &SinkId) {
        self.commits.add(1, &[KeyValue::new("sink", sink.to_string())]);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
