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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_documented_can_be_scraped_and_what_can_be_scraped_is_documented() {
    let test = "what_is_documented_can_be_scraped_and_what_can_be_scraped_is_documented";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(1, 0).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    let worker = format!("127.0.0.1:{}", free_port().unwrap());
    cluster.add_worker_with("w1", &["--slots", "1", "--metrics", &worker]).unwrap();
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
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
    let worker = http::get(&worker, "/metrics").unwrap().body;
    assert_eq!(sample(&worker, "windrow_rows_total", &[visits, "direction=\"written\""]), Some(240.0));
    assert_eq!(sample(&worker, "windrow_attempts_total", &[visits, "result=\"sealed\""]), Some(WINDOWS as f64));
    let scraped: BTreeSet<String> = on(&page).union(&on(&worker)).cloned().collect();
    let mut documented = documented();
    assert!(documented.remove("windrow_invariant_violations_total"), "its only samples are violations");
    for cleaned in ["cleaned_files_total", "cleaned_bytes_total", "vacuums_total", "dead_rows"] {
        assert!(documented.remove(&format!("windrow_{cleaned}")), "its first samples come with something to clean");
    }
    assert_eq!(scraped, documented);
}
