//! What the coordinator counts and measures.

use jiff::Timestamp;
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram},
};
use windrow_common::{
    compaction::FileLayout,
    id::{PipelineName, SinkId},
    task::{Lane, Task, TaskState},
};

use crate::core::{
    gather::Gathering,
    lifecycle::Now,
    report::{self, PipelineReport},
    table::PipelineEntry,
};

/// Instruments of the leader, on the process's meter. The exporters add units and `_total`.
pub(crate) struct Metrics {
    claims: Counter<u64>,
    claim_conflicts: Counter<u64>,
    lease_expired: Counter<u64>,
    fenced: Counter<u64>,
    hops_broken: Counter<u64>,
    commit_retries: Counter<u64>,
    commits: Counter<u64>,
    unchanged: Counter<u64>,
    recounts: Counter<u64>,
    comparisons: Counter<u64>,
    deleted: Counter<u64>,
    window_duration: Histogram<f64>,
    groups: Counter<u64>,
    compacted: Counter<u64>,
    table_files: Gauge<u64>,
    small_files: Gauge<u64>,
    fullest_partition: Gauge<u64>,
    gathering: Gauge<u64>,
    gathering_age: Gauge<f64>,
    violations: Counter<u64>,
    windows: Gauge<u64>,
    parked: Gauge<u64>,
    overdue: Gauge<u64>,
    untold: Gauge<u64>,
    backlog: Gauge<u64>,
    freshness: Gauge<f64>,
    build: Gauge<u64>,
}

/// From what a person waits for to what a night's work takes, in seconds.
const DURATIONS: [f64; 15] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

impl Metrics {
    /// Counters without labels are there from the start, at 0: what appears only with its first event cannot be told from
    /// what is not measured.
    pub(crate) fn new() -> Self {
        let meter = global::meter("windrow");
        let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let gauge = |name: &'static str, what: &'static str| meter.u64_gauge(name).with_description(what).build();
        let metrics = Self {
            claims: counter("windrow_claims", "Tasks given to workers"),
            claim_conflicts: counter(
                "windrow_claim_conflicts",
                "Claims that met another: refused by the store, or brought back by a worker after they had passed on",
            ),
            lease_expired: counter("windrow_lease_expired", "Claims lost because nothing was heard of their worker"),
            fenced: counter("windrow_fenced_writes", "Seals refused because the claim had passed on"),
            hops_broken: counter("windrow_broken_hops", "Attempts whose stream to the sink worker broke"),
            commit_retries: counter("windrow_commit_retries", "Commits asked for again"),
            commits: counter("windrow_commits", "Intents published"),
            unchanged: counter("windrow_unchanged_loads", "Full loads left out: their source was proven unchanged"),
            recounts: counter(
                "windrow_recounts",
                "Published windows counted again, by result: same, or stale and loaded again",
            ),
            comparisons: counter("windrow_comparisons", "Comparisons of keys published"),
            deleted: counter("windrow_rows_deleted", "Rows whose keys a comparison found gone at the source; of those it deletes what nobody has written meanwhile"),
            window_duration: meter
                .f64_histogram("windrow_window_duration_seconds")
                .with_description("Time from planning to publishing, per task: one window, or a run of them")
                .with_boundaries(DURATIONS.to_vec())
                .build(),
            groups: counter("windrow_compaction_groups", "Groups of files to be rewritten, by what became of them"),
            compacted: counter("windrow_compacted_bytes", "Bytes of files that rewritten ones have replaced"),
            table_files: gauge("windrow_table_files", "Data files of a table that is compacted, when it was last looked at"),
            small_files: gauge("windrow_table_small_files", "Those of them that are small"),
            fullest_partition: gauge("windrow_table_files_in_fullest_partition", "Data files of the partition that has the most"),
            gathering: gauge("windrow_gathering_bytes", "Bytes that are sealed and wait for more of them before they are committed"),
            gathering_age: meter
                .f64_gauge("windrow_gathering_oldest_seconds")
                .with_description("Time since the first of them was sealed")
                .build(),
            parked: gauge("windrow_parked_windows", "Windows given up until somebody looks: quarantined"),
            overdue: gauge(
                "windrow_overdue_windows",
                "Windows that have waited for their input longer than their pipeline has them wait",
            ),
            untold: gauge("windrow_untold_commits", "Commits that the pipeline's receiver of events has not heard of"),
            violations: counter("windrow_invariant_violations", "Changes that broke what must always hold"),
            windows: gauge("windrow_windows", "Windows by state"),
            backlog: gauge("windrow_backlog_windows", "Windows that are due and not published"),
            freshness: meter
                .f64_gauge("windrow_freshness_seconds")
                .with_description("Time since the end of the newest window before which everything is published, up to the pipeline's end")
                .build(),
            build: gauge("windrow_build_info", "1, with the version"),
        };
        let from_zero = [&metrics.claims, &metrics.claim_conflicts, &metrics.lease_expired, &metrics.fenced];
        for counter in from_zero.into_iter().chain([&metrics.hops_broken, &metrics.commit_retries]) {
            counter.add(0, &[]);
        }
        metrics
    }

    pub(crate) fn claims(&self, count: usize) {
        self.claims.add(count as u64, &[]);
    }

    pub(crate) fn claim_conflicts(&self, count: usize) {
        self.claim_conflicts.add(count as u64, &[]);
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

    /// An intent of these tasks is published.
    pub(crate) fn published(&self, sink: &SinkId, tasks: &[Task], now: Timestamp) {
        self.commits.add(1, &[KeyValue::new("sink", sink.to_string())]);
        for task in tasks.iter().filter(|task| task.lane == Lane::Compact) {
            self.group(sink, "done", 1);
            let bytes = task.group().map_or(0, |group| group.bytes);
            self.compacted.add(bytes, &[KeyValue::new("sink", sink.to_string())]);
        }
        for task in tasks.iter().filter(|task| task.lane == Lane::Compare) {
            let pipeline = [KeyValue::new("pipeline", task.pipeline.to_string())];
            self.comparisons.add(1, &pipeline);
            if let TaskState::Sealed { manifest, .. } = &task.state {
                self.deleted.add(manifest.counts.rows_deleted, &pipeline);
            }
        }
        let moves = |task: &&Task| task.shard == 0 && !matches!(task.lane, Lane::Compact | Lane::Compare);
        for task in tasks.iter().filter(moves) {
            let took = now.as_microsecond().saturating_sub(task.created.as_microsecond()).max(0) as f64 / 1e6;
            self.window_duration.record(took, &[KeyValue::new("pipeline", task.pipeline.to_string())]);
        }
    }

    /// A full load was left out, for it would have changed nothing.
    pub(crate) fn unchanged(&self, pipeline: &PipelineName) {
        self.unchanged.add(1, &[KeyValue::new("pipeline", pipeline.to_string())]);
    }

    /// A published window was counted again.
    pub(crate) fn recounted(&self, pipeline: &PipelineName, result: &'static str) {
        let labels = [KeyValue::new("pipeline", pipeline.to_string()), KeyValue::new("result", result)];
        self.recounts.add(1, &labels);
    }

    pub(crate) fn groups_planned(&self, sink: &SinkId, count: usize) {
        self.group(sink, "planned", count as u64);
    }

    /// A group came to nothing, because its files changed meanwhile.
    pub(crate) fn group_discarded(&self, sink: &SinkId) {
        self.group(sink, "discarded", 1);
    }

    fn group(&self, sink: &SinkId, what: &'static str, count: u64) {
        self.groups.add(count, &[KeyValue::new("sink", sink.to_string()), KeyValue::new("became", what)]);
    }

    /// How a table's files lie.
    pub(crate) fn layout(&self, sink: &SinkId, layout: &FileLayout) {
        let sink = [KeyValue::new("sink", sink.to_string())];
        self.table_files.record(layout.files, &sink);
        self.small_files.record(layout.small_files, &sink);
        self.fullest_partition.record(layout.most_in_partition, &sink);
    }

    /// What waits for more of it before it is committed to a sink.
    pub(crate) fn gathering<'a>(&self, sink: &SinkId, found: impl Iterator<Item = &'a Gathering>, now: Now) {
        let (bytes, first) = found.fold((0, now.wall), |(bytes, first), one| (bytes + one.bytes, first.min(one.since)));
        let sink = [KeyValue::new("sink", sink.to_string())];
        self.gathering.record(bytes, &sink);
        self.gathering_age.record(now.wall.duration_since(first).as_secs_f64(), &sink);
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
        self.parked.record(report.quarantined, std::slice::from_ref(&pipeline));
        self.overdue.record(report.overdue, std::slice::from_ref(&pipeline));
        self.untold.record(report.untold.unwrap_or_default(), std::slice::from_ref(&pipeline));
        self.backlog.record(report.unsettled(), std::slice::from_ref(&pipeline));
        if let Some(behind) = report::behind(entry, report, now) {
            self.freshness.record(behind.as_secs_f64(), &[pipeline]);
        }
        self.build.record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    }
}
