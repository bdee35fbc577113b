//! Metrics as Prometheus scrapes them from real processes.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use windrow_tests::{cluster::Cluster, http, process::free_port, skip::skip};

use crate::{
    cluster::TURN,
    visits::{Visits, WINDOWS, told},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// The metrics docs/operations.md tells of.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `windrow_")?.split('`').next());
    rows.map(|name| format!("windrow_{name}")).collect()
}

/// The metrics on a page, by the lines that say their type.
fn on(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    types.filter(|name| name.starts_with("windrow_")).map(str::to_owned).collect()
}

/// The value of the one sample whose line begins so and has these labels.
fn sample(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let has = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let mut found = page.lines().filter(has);
    let value = found.next()?.rsplit(' ').next()?.parse().ok();
    assert_eq!(found.next(), None, "{name} {labels:?} is there twice");
    value
}

/// How the table's files lie is seen before and after they are rewritten; the leader's page in the end.
async fn compacted(cluster: &Cluster, declared: &Visits, coordinator: &str) -> String {
    let path = declared.path().join("pipelines.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let compaction = "    compaction: { min_files: 2, target_size: 1MiB, when: inline }\n";
    fs::write(path, format!("{text}{compaction}")).unwrap();
    cluster.apply(declared.arg()).unwrap();
    let scrape = || http::get(coordinator, "/metrics").unwrap().body;
    let mut seen = Vec::new();
    let all = async {
        while seen.last() != Some(&1.0) {
            let found = sample(&scrape(), "windrow_table_files", &[]);
            seen.extend(found.filter(|found| seen.last() != Some(found)));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "{seen:?}\n{}", cluster.logs());
    let page = scrape();
    let of = |name: &str, labels: &[&str]| sample(&page, name, labels).unwrap_or_else(|| panic!("no {name}:\n{page}"));
    assert!(seen.len() == 2 && seen[0] > 1.0, "{seen:?}");
    assert_eq!(of("windrow_table_files_in_fullest_partition", &[]), 1.0);
    assert_eq!(of("windrow_table_small_files", &[]), 1.0, "one file of 240 rows is small, and alone");
    assert!(of("windrow_compacted_bytes_total", &[]) > 0.0);
    for became in ["planned", "done"] {
        assert_eq!(of("windrow_compaction_groups_total", &[&format!("became=\"{became}\"")]), 1.0);
    }
    page
}

/// Proves CO16.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_documented_can_be_scraped_and_what_can_be_scraped_is_documented() {
    let test = "what_is_documented_can_be_scraped_and_what_can_be_scraped_is_documented";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(1, 0).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    let worker = format!("127.0.0.1:{}", free_port().unwrap());
    cluster.add_worker_with("w1", &["--slots", "1", "--metrics", &worker]).unwrap();
    let declared = Visits::new();
    cluster.apply(declared.arg()).unwrap();
    let coordinator = cluster.coordinators[0].metrics.clone();
    // States are measured now and then.
    let measured =
        || sample(&http::get(&coordinator, "/metrics").ok()?.body, "windrow_windows", &["state=\"published\""]);
    let all = async {
        while measured() != Some(WINDOWS as f64) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "{:?}\n{}", told(&cluster), cluster.logs());

    let leader = http::get(&coordinator, "/metrics").unwrap();
    assert!(leader.content_type.starts_with("text/plain; version=0.0.4"), "{}", leader.content_type);
    let page = leader.body;
    let of = |name: &str, labels: &[&str]| sample(&page, name, labels).unwrap_or_else(|| panic!("no {name}:\n{page}"));
    let visits = "pipeline=\"visits\"";
    assert_eq!(of("windrow_window_duration_seconds_count", &[visits]), WINDOWS as f64);
    assert!(of("windrow_window_duration_seconds_sum", &[visits]) > 0.0);
    assert_eq!(of("windrow_window_duration_seconds_bucket", &[visits, "le=\"+Inf\""]), WINDOWS as f64);
    assert_eq!(of("windrow_parked_windows", &[visits]), 0.0);
    assert_eq!(of("windrow_backlog_windows", &[visits]), 0.0);
    assert_eq!(of("windrow_claims_total", &[]), WINDOWS as f64);
    for nothing_yet in ["claim_conflicts", "lease_expired", "fenced_writes", "broken_hops", "commit_retries"] {
        assert_eq!(of(&format!("windrow_{nothing_yet}_total"), &[]), 0.0);
    }
    let worker_page = http::get(&worker, "/metrics").unwrap().body;
    assert_eq!(sample(&worker_page, "windrow_rows_total", &[visits, "direction=\"written\""]), Some(240.0));
    assert_eq!(sample(&worker_page, "windrow_attempts_total", &[visits, "result=\"sealed\""]), Some(WINDOWS as f64));
    assert!(sample(&worker_page, "windrow_attempt_seconds_total", &[visits]).is_some_and(|took| took > 0.0));
    let page = compacted(&cluster, &declared, &coordinator).await;
    let scraped: BTreeSet<String> = on(&page).union(&on(&worker_page)).cloned().collect();
    let mut documented = documented();
    assert!(documented.remove("windrow_invariant_violations_total"), "its only samples are violations");
    for cleaned in ["cleaned_files_total", "cleaned_bytes_total", "vacuums_total", "dead_rows"] {
        assert!(documented.remove(&format!("windrow_{cleaned}")), "its first samples come with something to clean");
    }
    for proven in ["unchanged_loads_total", "recounts_total"] {
        assert!(documented.remove(&format!("windrow_{proven}")), "its first samples come with a proof");
    }
    for compared in ["comparisons_total", "rows_deleted_total"] {
        assert!(documented.remove(&format!("windrow_{compared}")), "its first samples come with a comparison of keys");
    }
    assert_eq!(scraped, documented);
}
