//! Between windrow and its bucket stands a network: replies that are lost after the work was done, errors, cuts, delays
//! and an endpoint that is away. Whatever it does, every row arrives once.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use windrow_tests::{
    fault::{Fault, FaultProxy, Rule, Speaks},
    process::{Process, run, run_json, said},
    s3::{BUCKET, S3},
};

use crate::{
    lake::{connection, edit, rows_by_log, server},
    visits::{ROWS, Visits, WINDOWS},
};

/// `visits` from a local file into `format` on S3, through a proxy.
struct Faulted {
    s3: S3,
    proxy: FaultProxy,
}

impl Faulted {
    async fn new(test: &str, seed: u64) -> Option<Self> {
        let s3 = server(test)?;
        let proxy = FaultProxy::start(s3.address(), Speaks::Http1, seed).await.unwrap();
        Some(Self { s3, proxy })
    }

    fn visits(&self, format: &str, table: &str) -> Visits {
        let visits = Visits::new();
        let pipelines = visits.path().join("pipelines.yaml");
        let lake = connection(visits.path(), &self.proxy.address(), BUCKET);
        edit(&pipelines, "{ type: local, root: ./lake }", &lake);
        edit(&pipelines, "format: delta, path: visits", &format!("format: {format}, path: {table}"));
        edit(&pipelines, "attempts: 2, backoff: 10ms", "attempts: 20, backoff: 50ms");
        visits
    }

    /// All windows are published, and every row is in the table once.
    async fn check(&self, visits: &Visits, format: &str, table: &str) {
        let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", visits.arg()]).unwrap();
        assert_eq!(pipelines[0]["windows"]["published"].as_u64(), Some(WINDOWS), "{pipelines}");
        match format {
            "delta" => assert_eq!(rows_by_log(&self.s3.client().unwrap(), table).await, ROWS),
            _ => assert_eq!(lines_of(&self.s3.bucket().join(table)), (ROWS, ROWS)),
        }
    }
}

/// Lines of all JSON files a reader of the folder sees, and how many of them differ.
fn lines_of(folder: &Path) -> (u64, u64) {
    let files = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let lines: Vec<String> = files
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let distinct: BTreeSet<&String> = lines.iter().collect();
    (lines.len() as u64, distinct.len() as u64)
}

const SINKS: [(&str, &str); 2] = [("delta", "_delta_log/"), ("json", "_windrow/log/")];

fn ran(visits: &Visits) -> String {
    let output = run(&["run", visits.arg()]).unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    said
}

/// Proves CL2. The commit is made and its reply is lost, in every way a reply can be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_reply_was_lost_is_made_once() {
    let Some(faulted) = Faulted::new("a_commit_whose_reply_was_lost_is_made_once", 1).await else { return };
    let faults = [Fault::LoseReply, Fault::FailReply(500), Fault::FailReply(503), Fault::CutReply, Fault::HalfClose];
    let mut resolved = 0;
    for (format, log) in SINKS {
        for (number, fault) in faults.iter().enumerate() {
            let table = format!("{format}-{number}");
            let visits = faulted.visits(format, &table);
            let path = format!("{table}/{log}");
            // The first creates the table or its log, the second commits.
            let rule = Rule::on("PUT", &path).having("if-none-match").times(2).with(fault.clone());
            let met = faulted.proxy.meet(rule).unwrap();
            ran(&visits);
            assert!(met.times() >= 1, "{table}: no commit met {fault:?}");
            resolved += met.times();
            faulted.check(&visits, format, &table).await;
            assert!(ran(&visits).contains("nothing to do"));
            if let Fault::FailReply(_) = fault {
                let seen = faulted.proxy.seen();
                let puts = seen.iter().filter(|seen| seen.method == "PUT" && seen.path.contains(&path));
                assert!(puts.clone().any(|put| put.answer == Some(412) && put.fault.is_none()), "the client's echo");
            }
            faulted.proxy.heal();
        }
    }
    println!("lost replies of commits: {resolved}, all resolved, {} rows each time", ROWS);
}

/// Proves CL2. S3 may answer a create with 409 when another is on its way; nothing was made then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_that_is_none_is_seen_through() {
    let Some(faulted) = Faulted::new("a_conflict_that_is_none_is_seen_through", 1).await else { return };
    for (format, log) in SINKS {
        let visits = faulted.visits(format, format);
        let rule = Rule::on("PUT", &format!("{format}/{log}")).having("if-none-match").times(2);
        let met = faulted.proxy.meet(rule.with(Fault::Refuse(409))).unwrap();
        ran(&visits);
        assert_eq!(met.times(), 2);
        faulted.check(&visits, format, format).await;
    }
}

/// Proves CL2, IL3. Everything at once, at random, by seeds: during the load and while all of it is loaded again.
/// `WINDROW_TEST_STORMS` tells how many seeds; one takes about a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_faults_every_row_arrives_once() {
    let storms = std::env::var("WINDROW_TEST_STORMS").ok().and_then(|storms| storms.parse().ok()).unwrap_or(1);
    for seed in 1..=storms {
        let Some(faulted) = Faulted::new("in_a_storm_of_faults_every_row_arrives_once", seed).await else { return };
        let storm = [
            (0.30, Fault::Delay(Duration::ZERO, Duration::from_millis(40))),
            (0.04, Fault::LoseReply),
            (0.04, Fault::FailReply(500)),
            (0.05, Fault::Refuse(503)),
            (0.03, Fault::Refuse(429)),
            (0.03, Fault::Cut),
            (0.02, Fault::CutRequest),
            (0.02, Fault::CutReply),
            (0.02, Fault::Slow(50_000)),
        ];
        let met = storm.map(|(chance, fault)| faulted.proxy.meet(Rule::always().chance(chance).with(fault)).unwrap());
        for (format, _) in SINKS {
            let visits = faulted.visits(format, format);
            ran(&visits);
            faulted.check(&visits, format, format).await;
            let again = ["backfill", "create", "visits", "--reprocess", "all", "--local", visits.arg()];
            let output = run(&again).unwrap();
            assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
            faulted.check(&visits, format, format).await;
        }
        let injected: Vec<u64> = met.iter().map(|met| met.times()).collect();
        assert!(injected.iter().all(|times| *times > 0), "seed {seed}: {injected:?}");
        println!(
            "seed {seed}: {} requests, faults met {injected:?}, rows lost 0, doubled 0",
            faulted.proxy.seen().len()
        );
    }
}

/// The endpoint goes away in the middle, for longer than a connection is tried once, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_away_for_twenty_seconds_loses_nothing() {
    let test = "an_endpoint_that_is_away_for_twenty_seconds_loses_nothing";
    let Some(faulted) = Faulted::new(test, 1).await else { return };
    let visits = faulted.visits("delta", "visits");
    // As patient as everybody is.
    visits.edit("    retries: { attempts: 20, backoff: 50ms }\n", "");
    let slow = Fault::Delay(Duration::from_millis(30), Duration::from_millis(60));
    faulted.proxy.meet(Rule::always().with(slow)).unwrap();
    let mut running = Process::start(&["run", visits.arg()], &visits.path().join("run.log")).unwrap();
    wait_until(|| faulted.proxy.seen().iter().any(|seen| seen.path.contains(".parquet"))).await;
    faulted.proxy.down().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(running.ended().unwrap().is_none(), "it ended without its sink: {}", running.log());
    faulted.proxy.up().await.unwrap();
    wait_until(|| running.ended().unwrap().is_some()).await;
    assert!(running.ended().unwrap().unwrap().success(), "{}", running.log());
    faulted.check(&visits, "delta", "visits").await;
}

/// The server is killed in the middle of the load and started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_in_the_middle_loses_nothing() {
    let Some(mut faulted) = Faulted::new("a_server_that_dies_in_the_middle_loses_nothing", 1).await else { return };
    let visits = faulted.visits("json", "visits");
    let slow = Fault::Delay(Duration::from_millis(30), Duration::from_millis(60));
    faulted.proxy.meet(Rule::always().with(slow)).unwrap();
    let mut running = Process::start(&["run", visits.arg()], &visits.path().join("run.log")).unwrap();
    wait_until(|| faulted.proxy.seen().iter().any(|seen| seen.path.contains(".jsonl"))).await;
    faulted.s3.restart().unwrap();
    wait_until(|| running.ended().unwrap().is_some()).await;
    assert!(running.ended().unwrap().unwrap().success(), "{}", running.log());
    faulted.check(&visits, "json", "visits").await;
}

async fn wait_until(mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(120), waited).await.is_ok(), "two minutes were not enough");
}
