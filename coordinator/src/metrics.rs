//! What the coordinator counts and measures.

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge},
};
use windrow_common::{
    id::{PipelineName, SinkId},
    window::Axis,
};

use crate::core::{lifecycle::Now, report::PipelineReport, table::PipelineEntry};

/// Instruments of the leader, on the process's meter. The exporters add units and `_total`.
pub(crate) struct Metrics {
    claims: Counter<u64>,
    lease_expired: Counter<u64>,
    fenced: Counter<u64>,
    commit_retries: Counter<u64>,
    commits: Counter<u64>,
    violations: Counter<u64>,
    windows: Gauge<u64>,
    backlog: Gauge<u64>,
    freshness: Gauge<f64>,
    build: Gauge<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = global::meter("windrow");
        let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let gauge = |name: &'static str, what: &'static str| meter.u64_gauge(name).with_description(what).build();
        Self {
            claims: counter("windrow_claims", "Tasks given to workers"),
            lease_expired: counter("windrow_lease_expired", "Claims lost because nothing was heard of their worker"),
            fenced: counter("windrow_fenced_writes", "Seals refused because the claim had passed on"),
            commit_retries: counter("windrow_commit_retries", "Commits asked for again"),
            commits: counter("windrow_commits", "Intents published"),
            violations: counter("windrow_invariant_violations", "Changes that broke what must always hold"),
            windows: gauge("windrow_windows", "Windows by state"),
            backlog: gauge("windrow_backlog_windows", "Windows that are due and not published"),
            freshness: meter
                .f64_gauge("windrow_freshness_seconds")
                .with_description("Time since the end of the newest window before which everything is published")
                .build(),
            build: gauge("windrow_build_info", "1, with the version"),
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

    pub(crate) fn violated(&self, invariant: &'static str) {
        self.violations.add(1, &[KeyValue::new("invariant", invariant)]);
    }

    /// Measures where a pipeline stands.
    pub(crate) fn observe(&self, name: &PipelineName, entry: &PipelineEntry, report: &PipelineReport, now: Now) {
        let pipeline = KeyValue::new("pipeline", name.to_string());
        let states = [
            ("published", report.published),
            ("waiting", report.waiting),
            ("pending", report.pending),
            ("claimed", report.claimed),
            ("sealed", report.sealed),
            ("quarantined", report.quarantined),
            ("due", report.unplanned),
        ];
        for (state, windows) in states {
            self.windows.record(windows, &[pipeline.clone(), KeyValue::new("state", state)]);
        }
        self.backlog.record(report.unsettled(), std::slice::from_ref(&pipeline));
        if let (Axis::Time, Some(to)) = (entry.coverage.value.axis, report.complete_to) {
            let behind = now.wall.as_microsecond().saturating_sub(to) as f64 / 1e6;
            self.freshness.record(behind, &[pipeline]);
        }
        self.build.record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    }
}
