//! What the coordinator counts and measures.

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge},
};
use windrow_common::id::{PipelineName, SinkId};

use crate::core::{
    lifecycle::Now,
    report::{self, PipelineReport},
    table::PipelineEntry,
};

/// Instruments of the leader, on the process's meter. The exporters add units and `_total`.
pub(crate) struct Metrics {
    claims: Counter<u64>,
    lease_expired: Counter<u64>,
    fenced: Counter<u64>,
    hops_broken: Counter<u64>,
    commit_retries: Counter<u64>,
    commits: Counter<u64>,
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
            hops_broken: counter("windrow_broken_hops", "Attempts whose stream to the sink worker broke"),
            commit_retries: counter("windrow_commit_retries", "Commits asked for again"),
            commits: counter("windrow_commits", "Intents published"),
            windows: gauge("windrow_windows", "Windows by state"),
            backlog: gauge("windrow_backlog_windows", "Windows that are due and not published"),
            freshness: meter
                .f64_gauge("windrow_freshness_seconds")
                .with_description("Time since the end of the newest window before which everything is published, up to the pipeline's end")
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

    pub(crate) fn hop_broke(&self) {
        self.hops_broken.add(1, &[]);
    }

    pub(crate) fn commit_retried(&self) {
        self.commit_retries.add(1, &[]);
    }

    pub(crate) fn published(&self, sink: &SinkId) {
        self.commits.add(1, &[KeyValue::new("sink", sink.to_string())]);
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
        if let Some(behind) = report::behind(entry, report, now) {
            self.freshness.record(behind.as_secs_f64(), &[pipeline]);
        }
        self.build.record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    }
}
