//! Attempts over real files: a CSV becomes staged files and a sealed manifest.

use sha2::{Digest as _, Sha256};
use windrow_common::closed::Beside;

use super::*;

const CSV: &str = "at,carrier\n1970-01-01T00:00:00.000001Z,UA\n1970-01-01T00:00:00.000005Z,AA\n\
                   nonsense,DL\n1970-01-01T00:00:00.000010Z,B6\n";

fn source(folder: &Path) -> Value {
    json!({
        "from": { "name": "drop", "type": "local", "root": folder },
        "cursor": "at", "path": "flights.csv",
        "schema": { "at": "timestamp", "carrier": "string" },
    })
}

/// Proves IL2. The row on the edge belongs to the next window.
#[tokio::test]
async fn a_csv_becomes_staged_files_and_a_seal_that_counts_every_row() {
    let mut bench = Bench::start();
    let drop = tempfile::tempdir().unwrap();
    std::fs::write(drop.path().join("flights.csv"), CSV).unwrap();
    let more = json!({
        "transform": [{ "sql": "SELECT at, lower(carrier) AS carrier FROM input" }],
        "limits": { "max_rejected": 0.5 },
    });
    let pipeline = bench.pipeline(source(drop.path()), &more);
    let (mut peer, _) = bench.fake.welcomed().await;
    peer.say(Heard::Assign(bench.assign(1, &pipeline))).await;
    let seal = hear_seal(&mut peer).await;
    peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: true })).await;
    assert_eq!(bench.results.recv().await, Some(AttemptResult::Sealed));
    let sealed = seal.manifest.unwrap();
    let counts = sealed.counts.unwrap();
    assert_eq!((counts.rows_read, counts.rows_written, counts.rows_rejected, counts.files), (3, 2, 1, 1));
    let lake = bench.lake.path().join("flights");
    let manifest: windrow_common::manifest::Manifest =
        serde_json::from_slice(&std::fs::read(lake.join(&sealed.path)).unwrap()).unwrap();
    let rows = std::fs::read_to_string(lake.join(&manifest.files[0].path)).unwrap();
    assert!(rows.contains("\"ua\"") && rows.contains("\"aa\"") && !rows.contains("b6"), "{rows}");
    let letters = std::fs::read_to_string(lake.join(&manifest.dead_letters[0].path)).unwrap();
    assert!(letters.contains("nonsense"), "{letters}");
    assert_eq!(manifest.inputs.len(), 1);
}

/// Proves IL10. The task waits without holding a slot.
#[tokio::test]
async fn a_partition_that_is_not_there_yet_keeps_the_task_waiting() {
    let mut bench = Bench::start();
    let drop = tempfile::tempdir().unwrap();
    let partition = json!({
        "from": { "name": "drop", "type": "local", "root": drop.path() },
        "path": "dt={window.start:%Y-%m-%d}/flights.csv",
    });
    let pipeline = bench.pipeline(partition, &json!({}));
    let (fail, result) = bench.failure(bench.assign(1, &pipeline)).await;
    assert!(fail.not_ready, "{fail:?}");
    assert_eq!(result, AttemptResult::NotReady);
}

/// Proves IL10, IL11. A window whose files are there waits for the file that says they are complete, or for the next window's.
#[tokio::test]
async fn a_partition_that_is_still_being_written_keeps_the_task_waiting() {
    let mut bench = Bench::start();
    let drop = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = drop.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let partition = json!({
        "from": { "name": "drop", "type": "local", "root": drop.path() },
        "path": "us={window.start:%6f}/*.csv",
    });
    write("us=000000/a.csv", "id\n1\n");
    let success = json!({ "marker": "_SUCCESS" });
    let required = |require: Value| json!({ "readiness": { "require": require } });
    let both = required(json!({ "all": [success, { "next_partition": true }] }));
    let either = required(json!({ "any": [success, { "next_partition": true }] }));
    let (both, either) = (bench.pipeline(partition.clone(), &both), bench.pipeline(partition, &either));

    for pipeline in [&both, &either] {
        let (fail, result) = bench.failure(bench.assign(1, pipeline)).await;
        assert!(fail.not_ready, "{fail:?}");
        let failure = fail.failure.unwrap();
        assert_eq!(failure.code, error::NOT_READY.code);
        assert!(failure.message.contains("\"us=000000/_SUCCESS\""), "{failure:?}");
        assert_eq!(result, AttemptResult::NotReady);
    }
    // The window is [0, 10): the next one begins at the tenth microsecond.
    write("us=000010/b.csv", "id\n2\n");
    let (fail, _) = bench.failure(bench.assign(1, &both)).await;
    assert!(fail.not_ready, "{fail:?}");
    bench.sealed(bench.assign(1, &either)).await;
    write("us=000000/_SUCCESS", "");
    bench.sealed(bench.assign(1, &both)).await;
}

/// Proves RM9. What came late is read alone; an object that is another than it was cannot be told apart. And what was declared
/// complete is read by nobody.
#[tokio::test]
async fn what_came_late_to_a_window_is_read_alone() {
    let mut bench = Bench::start();
    let drop = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(drop.path().join("us=000000")).unwrap();
        std::fs::write(drop.path().join("us=000000").join(name), text).unwrap();
    };
    write("a.csv", "id\n1\n2\n");
    let partition = json!({
        "from": { "name": "drop", "type": "local", "root": drop.path() },
        "path": "us={window.start:%6f}/*.csv",
    });
    let closed = bench.pipeline(partition, &json!({}));
    let first = bench.manifest(bench.assign(1, &closed)).await;
    assert_eq!((first.inputs.len(), first.counts.rows_read), (1, 2));
    let sha256 = Sha256::digest(serde_json::to_vec(&first).unwrap()).to_vec();

    write("b.csv", "id\n3\n");
    let mut beside = closed.clone();
    beside.name = "flights.late".parse().unwrap();
    beside.sink.params.insert("path".to_owned(), json!("flights_late"));
    beside.beside = Some(Box::new(Beside { of: closed.name.clone(), sink: closed.sink.clone() }));
    let late = |bench: &Bench| v1::Assign { loaded: sha256.clone(), ..bench.assign(2, &beside) };
    let found = bench.manifest(late(&bench)).await;
    assert_eq!((found.inputs.len(), found.counts.rows_read), (1, 1));
    assert!(found.inputs[0].name.ends_with("b.csv"), "{:?}", found.inputs);

    write("a.csv", "id\n1\n2\n4\n");
    let (fail, _) = bench.failure(late(&bench)).await;
    assert_eq!(code_of(&fail), (error::LATE_MIXED.code, v1::RetryAdvice::Never));
    let other = v1::Assign { loaded: vec![9; 32], ..bench.assign(2, &beside) };
    let (fail, _) = bench.failure(other).await;
    assert_eq!(code_of(&fail).0, error::STAGED_FILE_BAD.code);

    let declared = v1::Assign { declared: true, waited_enough: true, ..bench.assign(3, &closed) };
    let empty = bench.manifest(declared).await;
    assert_eq!((empty.inputs.len(), empty.files.len(), empty.counts.rows_read), (0, 0, 0));
}

/// Proves CL3. A zombie's files carry its token, so they collide with nobody's.
#[tokio::test]
async fn two_attempts_at_one_task_stage_side_by_side() {
    let mut bench = Bench::start();
    let pipeline = bench.pipeline_of(Odd { then: Then::End }, &json!({}));
    let mut paths = Vec::new();
    for _ in 0..2 {
        let (mut peer, _) = bench.fake.welcomed().await;
        peer.say(Heard::Assign(bench.assign(1, &pipeline))).await;
        let seal = hear_seal(&mut peer).await;
        peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: true })).await;
        bench.results.recv().await.unwrap();
        paths.push(seal.manifest.unwrap().path);
    }
    assert_ne!(paths[0], paths[1]);
    assert_eq!(read_all(bench.lake.path()).matches("{\"at\":3}").count(), 2);
}
