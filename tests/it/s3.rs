//! S3 for real: what the server itself promises, the year of flights from bucket to bucket, the sinks' own tests on
//! S3, and what dead attempts leave there.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion, multipart::MultipartStore, path::Path,
};
use serde_json::json;
use windrow_common::{
    claim::Token,
    clock::{Clock, SystemClock},
    id::TaskId,
    pipeline::Pipeline,
};
use windrow_tests::{
    example::Example,
    process::{run, said},
    reader,
    s3::{self, S3},
    skip::skip,
};
use windrow_worker::{
    sink::{self, Sink},
    sweep::{self, LiveSet},
};

use crate::lake::{connection, edit, server, upload};

/// What everything here rests on, of the server alone: a second create fails, of many at once one succeeds, and an
/// update of what has changed fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_honours_conditions_on_writes() {
    let Some(s3) = server("the_server_honours_conditions_on_writes") else { return };
    let store = std::sync::Arc::new(s3.client().unwrap());
    let create = |key: Path, text: String| {
        let store = store.clone();
        async move { store.put_opts(&key, PutPayload::from(text), PutMode::Create.into()).await }
    };
    let first = create("once".into(), "first".to_owned()).await.unwrap();
    let second = create("once".into(), "second".to_owned()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get(&"once".into()).await.unwrap().bytes().await.unwrap(), "first");

    let update = |tag: Option<String>, text: &'static str| {
        let mode = PutMode::Update(UpdateVersion { e_tag: tag, version: None });
        let store = store.clone();
        async move { store.put_opts(&"once".into(), PutPayload::from(text), mode.into()).await }
    };
    update(first.e_tag.clone(), "third").await.unwrap();
    let stale = update(first.e_tag, "fourth").await;
    assert!(matches!(stale, Err(Error::Precondition { .. })), "{stale:?}");

    for key in 0..20 {
        let racers = (0..16).map(|racer| tokio::spawn(create(format!("race/{key}").into(), format!("{racer}"))));
        let outcomes = futures(racers).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::AlreadyExists { .. }))).count();
        assert_eq!((won, lost), (1, 15));
    }
}

async fn futures<T>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut outcomes = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// The flights example with its data in the bucket and its sinks there too.
async fn flights_on(s3: &S3) -> Example {
    let example = Example::new().unwrap();
    for file in ["data/flights.csv.gz", "data/planes.csv"] {
        upload(s3, &example.path().join(file), &format!("drop/{file}")).await;
    }
    let source = connection(example.path(), &s3.address(), "lake/drop");
    let lake = connection(example.path(), &s3.address(), "lake/out");
    edit(&example.pipelines(), "{ type: local, root: . }", &source);
    edit(&example.pipelines(), "{ type: local, root: ./lake }", &lake);
    example
}

/// Proves IL1, IL3, IL4, IL9, IL15. From bucket to Delta table in the bucket; nothing to do after; February again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_of_flights_goes_from_bucket_to_table_once() {
    let test = "a_year_of_flights_goes_from_bucket_to_table_once";
    let Some(s3) = server(test) else { return };
    let example = flights_on(&s3).await;
    there_and_back(test, &s3, &example, reader::flights_in);
}

/// Proves IL3, IL15. The same into a folder of Parquet files, read by somebody who knows no log of commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_of_flights_goes_from_bucket_to_files_once() {
    let test = "a_year_of_flights_goes_from_bucket_to_files_once";
    let Some(s3) = server(test) else { return };
    let example = flights_on(&s3).await;
    edit(&example.pipelines(), "format: delta, path: flights", "format: parquet, path: flights");
    there_and_back(test, &s3, &example, reader::flights_in_files);
}

type Reader = fn(&S3, &std::path::Path, &str) -> anyhow::Result<reader::Flights>;

fn there_and_back(test: &str, s3: &S3, example: &Example, read: Reader) {
    let first = run(&["run", example.arg()]).unwrap();
    assert!(first.status.success(), "{}", said(&first));
    assert!(said(&first).contains("336,776"), "{}", said(&first));
    let python = reader::python();
    let before = python.as_ref().ok().map(|python| read(s3, python, "out/flights").unwrap());
    if let Some(before) = &before {
        before.check_year().unwrap();
    }
    let second = run(&["run", example.arg()]).unwrap();
    assert!(said(&second).contains("nothing to do"), "{}", said(&second));
    let create = ["backfill", "create", "flights", "--from", "2013-02-01", "--to", "2013-03-01", "--reprocess", "all"];
    let backfill = run(&[create.as_slice(), &["--local", example.arg()]].concat()).unwrap();
    assert!(said(&backfill).contains("672/672 windows, succeeded"), "{}", said(&backfill));
    match (python, before) {
        (Ok(python), Some(before)) => {
            let after = read(s3, &python, "out/flights").unwrap();
            after.check_year().unwrap();
            assert_eq!(after.digest, before.digest);
        }
        (python, _) => skip(test, &python.err().unwrap_or_default()),
    }
    assert_eq!(s3.unfinished_uploads().unwrap(), 0);
}

/// The worker's own tests of storage, staging, sinks and committers, all of them, with a bucket in the place of a folder.
#[test]
fn what_sinks_promise_on_folders_they_promise_on_s3() {
    let test = "what_sinks_promise_on_folders_they_promise_on_s3";
    let Some(s3) = server(test) else { return };
    let Some(tests) = worker_tests() else { return skip(test, "the worker's tests are not built") };
    let output = Command::new(tests)
        .args(["sink::", "stage::", "commit::"])
        .env("WINDROW_TEST_S3", format!("http://{}", s3.address()))
        .env("WINDROW_TEST_S3_BUCKET", s3.bucket())
        .env("WINDROW_TEST_S3_KEY_ID", s3::KEY_ID)
        .env("WINDROW_TEST_S3_SECRET", s3::SECRET)
        .output()
        .unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let passed = said.split("test result: ok. ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed >= 100), "{passed:?} tests ran on S3");
}

/// The newest build of the worker's unit tests, which lies beside this one.
pub(crate) fn worker_tests() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let candidates = here.parent()?.read_dir().ok()?.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("windrow_worker-") && !name.contains('.')
    });
    let written = |entry: &std::fs::DirEntry| entry.metadata().and_then(|about| about.modified());
    candidates.max_by_key(|entry| written(entry).unwrap_or(SystemTime::UNIX_EPOCH)).map(|entry| entry.path())
}

fn sink_on(s3: &S3, folder: &std::path::Path, format: &str) -> std::sync::Arc<dyn Sink> {
    std::fs::write(folder.join("secret"), s3::SECRET).unwrap();
    let pipeline: Pipeline = serde_json::from_value(json!({
        "name": "visits",
        "pattern": "incremental",
        "source": { "from": { "name": "s", "type": "synthetic" }, "cursor": "at" },
        "sink": {
            "to": {
                "name": "lake", "type": "s3", "root": format!("s3://{}/swept", s3::BUCKET), "region": s3::REGION,
                "endpoint": format!("http://{}", s3.address()), "access_key_id": s3::KEY_ID,
                "secret_access_key": format!("${{file:{}}}", folder.join("secret").display()),
            },
            "format": format, "write": "append", "path": "visits",
        },
    }))
    .unwrap();
    (sink::find(&pipeline.sink).unwrap().build)(&pipeline).unwrap()
}

/// Proves CL3. On S3 an attempt that died leaves files and parts of uploads; both go, a live attempt's stay, and so does
/// what is not windrow's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dead_attempts_left_in_a_bucket_is_swept() {
    let Some(s3) = server("what_dead_attempts_left_in_a_bucket_is_swept") else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = s3.client().unwrap();
    for format in ["delta", "parquet"] {
        let (dead, live) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        let token = Token { epoch: 1, revision: 7 };
        let name = |task: &TaskId, number: u32| {
            let unique = "00000000-0000-4000-8000-000000000000";
            Path::from(format!("swept/visits/day=1/part-{}-{token}-{number}-{unique}.parquet", task.short()))
        };
        for task in [&dead, &live] {
            store.put(&name(task, 0), PutPayload::from_static(b"staged")).await.unwrap();
            let upload = store.create_multipart(&name(task, 1)).await.unwrap();
            store.put_part(&name(task, 1), &upload, 0, PutPayload::from(vec![1; 6 << 20])).await.unwrap();
        }
        store.put(&"swept/visits/theirs.parquet".into(), PutPayload::from_static(b"theirs")).await.unwrap();
        let theirs = store.create_multipart(&"swept/visits/theirs-too.parquet".into()).await.unwrap();
        let elsewhere = store.create_multipart(&"elsewhere/part-x".into()).await.unwrap();
        assert_eq!(s3.unfinished_uploads().unwrap(), 4);

        let sink = sink_on(&s3, folder.path(), format);
        let now = SystemClock::new().now();
        let young = sweep::list(sink.as_ref(), now, Duration::from_secs(3_600)).await.unwrap();
        assert!(young.is_empty(), "{young:?}");
        let later = now + Duration::from_secs(7_200);
        let listed = sweep::list(sink.as_ref(), later, Duration::from_secs(3_600)).await.unwrap();
        assert_eq!(listed.len(), 4, "{listed:?}");
        let live_set: LiveSet = [(live, token)].into_iter().collect();
        let kept = sweep::kept(sink.as_ref(), &[]).await.unwrap();
        let swept = sweep::take_away(sink.as_ref(), &listed, &live_set, &kept).await.unwrap();
        assert_eq!(swept.files, 2);
        let left: Vec<String> = s3.keys().unwrap().into_iter().filter(|key| key.contains("swept/visits/")).collect();
        assert_eq!(left, [name(&live, 0).to_string(), "swept/visits/theirs.parquet".to_owned()]);
        assert_eq!(s3.unfinished_uploads().unwrap(), 3, "the live attempt's and two that are not windrow's");

        store.abort_multipart(&name(&live, 1), &unfinished(sink.as_ref()).await).await.unwrap();
        store.abort_multipart(&"swept/visits/theirs-too.parquet".into(), &theirs).await.unwrap();
        store.abort_multipart(&"elsewhere/part-x".into(), &elsewhere).await.unwrap();
        for key in left {
            store.delete(&key.into()).await.unwrap();
        }
    }
}

/// The id of the one staged file's upload that is left.
async fn unfinished(sink: &dyn Sink) -> String {
    let uploads = sink.storage().unfinished_uploads().await.unwrap();
    uploads.into_iter().find(|upload| upload.path.contains("part-")).unwrap().id
}
