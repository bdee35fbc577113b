//! A large table read by several workers at once, as it was at one moment, while it changes, while a worker dies and while
//! the one dies whose snapshot the others read from.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use serde_json::json;
use windrow_common::{error, window::Window};
use windrow_tests::{cluster::Cluster, postgres::Psql, reader, skip::skip};
use windrow_worker::{
    error::Result,
    source::{Chunk, Slice, Source},
};

use super::{Project, URL, delta, server, source};
use crate::{cluster::TURN, demo::rows_by_log};

const ROWS: u64 = 200_000;
/// Slow enough that there is a middle.
const RATE: u32 = 30_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Every row gets a new version in one transaction, again and again: rows of two moments have two.
fn change(mut session: Psql, stop: Arc<AtomicBool>) -> thread::JoinHandle<u32> {
    thread::spawn(move || {
        let mut times = 0;
        while !stop.load(Ordering::Relaxed) {
            session.run("UPDATE visits SET version = version + 1").unwrap();
            times += 1;
        }
        times
    })
}

/// A pipeline that loads the visits whole, in about so many shards of so many rows.
fn loading(url: &str, name: &str) -> Project {
    let shards = format!("shards: {{ rows: {}, most: 6 }}", ROWS / 6);
    let pipeline = format!(
        "  {name}:\n    pattern: full\n    source: {{ from: shop, table: visits, {shards} }}\n    sink: {{ to: lake, format: delta, path: {name} }}\n"
    );
    Project::with_shop(url, &format!("limits: {{ rows_per_s: {RATE} }}"), &pipeline)
}

/// Claimed shards of a pipeline and the processes that have them; 0 is whoever cut.
fn readers(cluster: &Cluster, pipeline: &str) -> Vec<(u64, usize)> {
    let tasks = cluster.ask(&["get", "tasks", pipeline]).unwrap_or_default();
    let claimed = tasks.as_array().cloned().unwrap_or_default().into_iter().filter(|task| task["state"] == "claimed");
    let reader =
        |task: serde_json::Value| Some((task["shard"].as_u64()?, cluster.worker_of(task["worker"].as_str()?).ok()?));
    claimed.filter_map(reader).collect()
}

async fn wait(cluster: &Cluster, what: &str, done: impl Fn() -> bool) {
    found(cluster, what, || done().then_some(())).await;
}

/// The first answer there is.
async fn found<T>(cluster: &Cluster, what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} takes too long\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Proves FL3. Three loads in turn: nobody is disturbed; a worker dies in its shard; the one dies that keeps the snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_table_is_read_by_many_workers_as_of_one_moment() {
    let test = "a_large_table_is_read_by_many_workers_as_of_one_moment";
    let _turn = TURN.lock().await;
    let Some(postgres) = server(test) else { return };
    postgres
        .psql(&format!(
            "CREATE TABLE visits AS SELECT n AS id, 1 AS version, md5(n::text) AS page FROM generate_series(1, {ROWS}) n;
             ANALYZE visits"
        ))
        .unwrap();
    let environment = vec![
        (URL.to_owned(), postgres.url()),
        ("WINDROW_LOG".to_owned(), "info,windrow_worker::attempt=debug".to_owned()),
    ];
    let Some(mut cluster) = Cluster::start_in(environment, 1, 3).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    let (stop, session) = (Arc::new(AtomicBool::new(false)), postgres.session().unwrap());
    let changing = change(session, stop.clone());
    let tables = ["whole", "killed", "lost"].map(|name| loading(&postgres.url(), name));
    let loaded = |table: usize| rows_by_log(&tables[table].table(["whole", "killed", "lost"][table])) == Some(ROWS);

    cluster.apply(tables[0].arg()).unwrap();
    wait(&cluster, "a load", || loaded(0)).await;
    for (name, worker) in &cluster.workers {
        assert!(worker.log().contains("\"message\":\"sealed\""), "{name} took no part\n{}", cluster.logs());
    }

    cluster.apply(tables[1].arg()).unwrap();
    let shard = |cluster: &Cluster| {
        let found = readers(cluster, "killed");
        let cutter = found.iter().find(|(shard, _)| *shard == 0)?.1;
        // The committer's death is another test's matter.
        found.iter().map(|(_, worker)| *worker).find(|worker| *worker != cutter && *worker != 0)
    };
    let victim = found(&cluster, "another reader", || shard(&cluster)).await;
    cluster.workers[victim].1.kill().unwrap();
    cluster.add_worker("w4").unwrap();
    wait(&cluster, "a load with a killed worker", || loaded(1)).await;

    cluster.apply(tables[2].arg()).unwrap();
    let both = |cluster: &Cluster| {
        let found = readers(cluster, "lost");
        let cutter = found.iter().find(|(shard, _)| *shard == 0)?.1;
        found.iter().any(|(shard, _)| *shard > 0).then_some(cutter)
    };
    let cutter = found(&cluster, "a cut", || both(&cluster)).await;
    cluster.workers[cutter].1.kill().unwrap();
    cluster.add_worker("w5").unwrap();
    wait(&cluster, "a load whose snapshot was lost", || loaded(2)).await;

    stop.store(true, Ordering::Relaxed);
    let cuts = cluster.coordinators[0].process.log().matches("\"message\":\"is cut\"").count();
    println!("the table changed {} times, windows were cut {cuts} times", changing.join().unwrap());
    assert!(cuts >= 4, "each load was cut, the last one twice: {cuts}\n{}", cluster.logs());
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    for (project, name) in tables.iter().zip(["whole", "killed", "lost"]) {
        let query = "SELECT count(*), count(DISTINCT id), sum(id)::BIGINT, count(DISTINCT version), sum(length(page))::BIGINT FROM t";
        let found = delta(&python, &project.table(name), query).join("|");
        assert_eq!(found, format!("{ROWS}|{ROWS}|{}|1|{}", ROWS * (ROWS + 1) / 2, 32 * ROWS), "{name}");
    }
}

async fn count(source: &Arc<dyn Source>, slice: &Slice) -> Result<usize> {
    let chunks: Vec<Chunk> = source.read(slice, &Window::version(1)).await?.try_collect().await?;
    let rows = chunks.iter().map(|chunk| match chunk {
        Chunk::Rows(batch) => batch.num_rows(),
        Chunk::Rejected(_) => 0,
    });
    Ok(rows.sum())
}

/// Proves FL3. What a source alone does: who cut and who reads are two workers here, and the table is emptied between the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_all_of_a_table_as_it_was_when_it_was_cut() {
    let Some(postgres) = server("shards_are_all_of_a_table_as_it_was_when_it_was_cut") else { return };
    postgres
        .psql(
            "CREATE TABLE events (id int, day date NOT NULL) PARTITION BY RANGE (day);
             CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-01-10');
             CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2024-01-10') TO ('2024-03-01');
             INSERT INTO events SELECT n, date '2024-01-01' + n % 59 FROM generate_series(1, 30000) n;
             CREATE TABLE visits AS SELECT * FROM events; CREATE MATERIALIZED VIEW seen AS SELECT * FROM events;
             CREATE TABLE few AS SELECT 1 AS id; CREATE VIEW shown AS SELECT * FROM events; ANALYZE",
        )
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let open = |params: serde_json::Value| source(&postgres.url(), folder.path(), params, None);
    let window = Window::version(1);
    for relation in ["events", "visits", "seen"] {
        let params = json!({ "table": relation, "shards": { "rows": 5_000, "most": 4 } });
        let (cutter, other) = (open(params.clone()), open(params));
        let whole = cutter.resolve(&window).await.unwrap().remove(0);
        let shards = cutter.cut(&whole, &window).await.unwrap();
        drop(whole);
        assert_eq!(shards.len(), 4, "{relation}");
        if relation != "seen" {
            let change =
                format!("DELETE FROM {relation} WHERE id > 10; INSERT INTO {relation} SELECT -1, '2024-01-02'");
            postgres.psql(&change).unwrap();
        }
        let mut counts = vec![count(&cutter, &shards[0]).await.unwrap()];
        for shard in &shards[1..] {
            let shard = other.shard(shard.part.as_deref().unwrap()).await.unwrap();
            counts.push(count(&other, &shard).await.unwrap());
        }
        assert_eq!(counts.iter().sum::<usize>(), 30_000, "{relation}: {counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{relation}: {counts:?}");

        let part = shards[1].part.clone().unwrap();
        drop(shards);
        let (began, mut lost) = (Instant::now(), None);
        while lost.is_none() && began.elapsed() < PATIENCE {
            let shard = other.shard(&part).await.unwrap();
            lost = count(&other, &shard).await.err();
        }
        assert_eq!(lost.unwrap().code(), error::SNAPSHOT_LOST, "{relation}");
    }
    // Where nobody else reads, or it is not worth it, the slice is read as it stands.
    for (params, rows) in [
        (json!({ "table": "events", "shards": { "rows": 1, "most": 4 } }), 11),
        (json!({ "table": "few", "shards": { "rows": 1 } }), 1),
        (json!({ "table": "shown", "shards": { "rows": 1 } }), 11),
        (json!({ "table": "seen", "shards": { "rows": 1, "most": 1 } }), 30_000),
    ] {
        let source = open(params.clone());
        let whole = source.resolve(&window).await.unwrap().remove(0);
        let shards = source.cut(&whole, &window).await.unwrap();
        assert_eq!(shards.is_empty(), params["table"] != "events", "{params}");
        drop(shards);
        assert_eq!(count(&source, &whole).await.unwrap(), rows, "{params}");
    }
}
