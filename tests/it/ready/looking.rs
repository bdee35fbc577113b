//! Windows that wait for their files in a bucket: what that costs the bucket, and what it costs the workers.

use std::{fs, path::Path, time::Duration};

use object_store::ObjectStoreExt;
use windrow_tests::{
    fault::{FaultProxy, Speaks},
    process::{Process, run, run_json, said},
    s3::{BUCKET, S3},
};

use super::rows_in;
use crate::lake::{connection, server};

const WINDOWS: u64 = 500;
/// Longer than three looks are apart.
const WATCHED: Duration = Duration::from_secs(33);

fn project(folder: &Path, address: &str) {
    let drop = connection(folder, address, BUCKET);
    let text = format!(
        "version: 1
connections:
  drop: {drop}
  here: {{ type: local, root: . }}
pipelines:
  hours:
    pattern: incremental
    source: {{ from: drop, path: 'in/{{window.start:%FT%H}}/*.csv', schema: {{ id: int }} }}
    window: {{ every: 1h, start: 2024-01-01T00:00, end: 2024-01-21T20:00 }}
    readiness: {{ require: {{ all: [{{ marker: _SUCCESS }}] }} }}
    sink: {{ to: here, format: json, path: out }}
"
    );
    fs::write(folder.join("pipelines.yaml"), text).unwrap();
}

/// Puts an hour's rows in the bucket, and with them the marker or not.
async fn deliver(s3: &S3, hour: &str, complete: bool) {
    let client = s3.client().unwrap();
    client.put(&format!("in/2024-01-{hour}/a.csv").into(), "id\n1\n2\n".into()).await.unwrap();
    if complete {
        client.put(&format!("in/2024-01-{hour}/_SUCCESS").into(), "".into()).await.unwrap();
    }
}

/// Proves IL10, IL11, RM7. Five hundred windows wait for half a minute: a listing every ten seconds, and no window is given to a worker.
/// Then those go that have their marker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_windows_wait_for_their_markers_by_one_listing_every_ten_seconds() {
    let Some(s3) = server("five_hundred_windows_wait_for_their_markers") else { return };
    let proxy = FaultProxy::start(s3.address(), Speaks::Http1, 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arg = folder.path().to_str().unwrap();
    project(folder.path(), &proxy.address());
    deliver(&s3, "03T07", false).await;
    let mut windrow = Process::start(&["dev", arg], &folder.path().join("dev.log")).unwrap();
    tokio::time::sleep(WATCHED).await;
    windrow.terminate().unwrap();
    while windrow.ended().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = proxy.seen();
    let listed = asked.iter().filter(|seen| seen.method == "GET" && seen.path.contains("list-type=2")).count();
    assert_eq!(listed, asked.len(), "{asked:?}");
    // A few at the start, for windows that were planned between two looks.
    assert!((3..=8).contains(&listed), "{listed} requests: {asked:?}\n{}", windrow.log());
    let found = run_json(&["get", "pipelines", "-o", "json", "--local", arg]).unwrap();
    assert_eq!(found[0]["windows"]["published"], 0, "{found}");
    let tasks = run_json(&["get", "tasks", "-o", "json", "--local", arg]).unwrap();
    let tasks = tasks.as_array().unwrap();
    assert_eq!(tasks.len() as u64, WINDOWS);
    assert!(tasks.iter().all(|task| task["attempts"] == 0), "{tasks:?}");

    for hour in ["01T00", "09T13", "21T19"] {
        deliver(&s3, hour, true).await;
    }
    let ran = run(&["run", arg]).unwrap();
    assert!(ran.status.success(), "{}", said(&ran));
    assert!(said(&ran).contains("497 windows wait for their source"), "{}", said(&ran));
    assert!(said(&ran).contains("there is no \"in/{window.start:%FT%H}/_SUCCESS\" yet"), "{}", said(&ran));
    assert_eq!(rows_in(&folder.path().join("out")).unwrap().len(), 6);
}
