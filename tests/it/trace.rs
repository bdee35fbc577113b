//! Traces as real processes export them: a backfill is one trace from the command to its last window, on whichever
//! workers; scheduled windows have traces of their own; large backfills keep theirs small.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use tempfile::TempDir;
use windrow_proto::v1::{self, session_request::Message as Say};
use windrow_tests::{
    cluster::Cluster,
    jaeger::Jaeger,
    otlp::{Receiver, Span},
    process::run_in,
    skip::skip,
};

use crate::{
    cluster::TURN,
    visits::{Visits, WINDOWS, told},
    zombie::Session,
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Until what has ended has been exported, by far.
const EXPORT: Duration = Duration::from_secs(2);
/// Most spans of one attempt, its claim and its settling included.
const MOST_PER_ATTEMPT: usize = 8;

const CREATE: &str = "windrow.v1.AdminService/CreateBackfill";
const DO_PUT: &str = "arrow.flight.protocol.FlightService/DoPut";
const DO_ACTION: &str = "arrow.flight.protocol.FlightService/DoAction";

type Environment = Vec<(String, String)>;

fn and(environment: &[(String, String)], more: &[(&str, &str)]) -> Environment {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    environment.iter().cloned().chain(more).collect()
}

/// A coordinator, a worker that reads and a worker that writes; `None` after saying why there are none.
async fn start(test: &str, environment: &[(String, String)]) -> Option<Cluster> {
    let environment = and(environment, &[("WINDROW_LOG", "info,windrow=debug")]);
    let Some(mut cluster) = Cluster::start_in(environment, 1, 0).await.unwrap() else {
        skip(test, "there is no etcd");
        return None;
    };
    cluster.add_worker_with("writer", &["--role", "sink"]).unwrap();
    cluster.add_worker_with("reader", &["--role", "ingest", "--slots", "1"]).unwrap();
    Some(cluster)
}

async fn published(cluster: &Cluster, pipeline: &str, windows: u64) {
    let all = async {
        loop {
            let found = cluster.ask(&["get", "pipelines"]).ok();
            let found = found.as_ref().and_then(|all| all.as_array()?.iter().find(|one| one["name"] == pipeline));
            if found.is_some_and(|one| one["windows"]["published"].as_u64() >= Some(windows)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "{}", cluster.logs());
}

/// Loads everything of a pipeline again and waits for its end; the id of the trace, and all the command said.
fn backfill(cluster: &Cluster, pipeline: &str, environment: &[(String, String)]) -> (String, String) {
    let addresses = cluster.addresses();
    let args = ["backfill", "create", pipeline, "--reprocess", "all", "--coordinator", &addresses];
    let output = run_in(&args, environment).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{}", cluster.logs());
    let line = said.lines().find_map(|line| line.strip_prefix("trace ")).unwrap_or_else(|| panic!("{said}"));
    (line.split(' ').next().unwrap().to_owned(), said)
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0]
}

fn children<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent == parent.id && span.trace == parent.trace).collect()
}

/// The one child of that name.
fn child<'a>(spans: &'a [Span], parent: &Span, name: &str) -> &'a Span {
    let found: Vec<&Span> = children(spans, parent).into_iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} below {parent:?}: {found:?}");
    found[0]
}

/// The span that ends the task of an attempt.
fn settling<'a>(spans: &'a [Span], attempt: &Span) -> &'a Span {
    let ended: Vec<&Span> = named(spans, "settle visits").into_iter().filter(|span| span.links_to(attempt)).collect();
    assert_eq!(ended.len(), 1, "the end of {attempt:?}: {ended:?}");
    ended[0]
}

/// Whether every span's parent is there, but for the root's; the root.
fn root(spans: &[Span]) -> &Span {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "no span is told twice");
    let roots: Vec<&Span> = spans.iter().filter(|span| !ids.contains(span.parent.as_str())).collect();
    assert_eq!(roots.len(), 1, "one span without a parent in the trace: {roots:?}");
    roots[0]
}

/// What happens in an attempt, read by one worker and written by another, is below `inside` and within its time.
fn assert_whole(spans: &[Span], inside: &Span) {
    let put = child(spans, inside, DO_PUT);
    let received = child(spans, put, DO_PUT);
    let finished = child(spans, inside, DO_ACTION);
    assert_eq!((format!("{:?}", put.kind), format!("{:?}", received.kind)), ("Client".to_owned(), "Server".to_owned()));
    assert_ne!(put.resource["service.instance.id"], received.resource["service.instance.id"], "two processes");
    assert_eq!(received.attribute("windrow.fence"), finished.attribute("windrow.fence"));
    for span in [child(spans, inside, "read"), child(spans, inside, "transform"), put, received, finished] {
        assert_eq!(span.service, "windrow-worker");
        let within = inside.start_ns <= span.start_ns && span.end_ns <= inside.end_ns;
        assert!(within, "a span outlasts its attempt: {span:?} of {inside:?}");
    }
}

/// Proves CL16. The command, the coordinator and two workers are processes of their own, and what they export is all
/// there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_is_one_trace_from_the_command_to_its_last_window() {
    let test = "a_backfill_is_one_trace_from_the_command_to_its_last_window";
    let _turn = TURN.lock().await;
    let receiver = Receiver::start().await.unwrap();
    let environment = receiver.environment();
    let Some(cluster) = start(test, &environment).await else { return };
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    published(&cluster, "visits", WINDOWS).await;
    let shown = and(&environment, &[("WINDROW_TRACE_URL", "http://jaeger/trace/{trace_id}?ui=1")]);
    let (id, said) = backfill(&cluster, "visits", &shown);
    assert!(said.contains(&format!("trace {id}  http://jaeger/trace/{id}?ui=1\n")), "{said}");
    let settled = |spans: &[Span]| spans.iter().filter(|span| span.trace == id && span.name == "settle visits").count();
    receiver.wait_until(PATIENCE, |spans| settled(spans) as u64 == WINDOWS).await.unwrap();
    tokio::time::sleep(EXPORT).await;

    let spans = receiver.trace(&id);
    assert_request(&spans);
    assert_attempts(&spans);
    assert_commits(&spans);
    for span in &spans {
        assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert!(!span.resource["service.instance.id"].is_empty() && !span.failed, "{span:?}");
        assert!(span.end_ns - span.start_ns < PATIENCE.as_nanos() as u64, "no span stays open: {span:?}");
    }
    assert_scheduled(&receiver.spans());
    assert_logs_say_where(&cluster, &id);
    let metrics = receiver.metrics();
    assert!(metrics.contains("windrow_rows") && metrics.contains("windrow_claims"), "{metrics:?}");
    assert_callers_trace_is_continued(&cluster, &receiver, &environment).await;
}

/// The command asks, the coordinator answers and publishes.
fn assert_request(spans: &[Span]) {
    let root = root(spans);
    let told = |span: &Span| (span.service.clone(), span.name.clone(), format!("{:?}", span.kind));
    let owned = |service: &str, name: &str, kind: &str| (service.to_owned(), name.to_owned(), kind.to_owned());
    assert_eq!(told(root), owned("windrow-cli", "windrow backfill create", "Client"));
    let request = child(spans, root, CREATE);
    assert_eq!(told(request), owned("windrow-coordinator", CREATE, "Server"));
    let publish = child(spans, request, "publish visits");
    assert_eq!(told(publish), owned("windrow-coordinator", "publish visits", "Producer"));
    assert_eq!(request.attribute("windrow.windows"), WINDOWS.to_string());
    assert!(publish.attribute("windrow.backfill.id").starts_with("bf-"));
    assert!(request.end_ns <= root.end_ns + 1_000_000, "the command's span ends with the answer");
}

/// Each window has its attempt, with all that is done in it, its claim linked, and the end it came to.
fn assert_attempts(spans: &[Span]) {
    let publish = only(spans, "publish visits");
    let attempts = named(spans, "process visits");
    let starts: BTreeSet<&str> = attempts.iter().map(|span| span.attribute("windrow.window.start")).collect();
    assert_eq!((attempts.len() as u64, starts.len() as u64), (WINDOWS, WINDOWS));
    let claims = named(spans, "claim");
    for attempt in &attempts {
        assert_eq!(
            (attempt.service.as_str(), format!("{:?}", attempt.kind)),
            ("windrow-worker", "Consumer".to_owned())
        );
        assert_eq!(attempt.parent, publish.id);
        assert_eq!((attempt.attribute("windrow.pipeline"), attempt.attribute("windrow.attempt")), ("visits", "1"));
        assert_eq!(attempt.attribute("windrow.backfill.id"), publish.attribute("windrow.backfill.id"));
        assert_eq!(attempt.attribute("windrow.result"), "sealed");
        assert!(!attempt.attribute("windrow.fence").is_empty() && !attempt.attribute("windrow.task.id").is_empty());
        assert!(claims.iter().any(|claim| attempt.links_to(claim)), "its claim is linked: {attempt:?}");
        assert_whole(spans, attempt);
        let settle = settling(spans, attempt);
        assert_eq!((settle.service.as_str(), settle.parent.as_str()), ("windrow-coordinator", publish.id.as_str()));
        assert_eq!(settle.attribute("windrow.rows.written"), "10");
        assert_eq!(settle.attribute("windrow.task.id"), attempt.attribute("windrow.task.id"));
        // When the two end depends on when the worker hears of its seal.
        assert!(settle.end_ns >= attempt.start_ns);
    }
    let apart = ["prepare", "commit"].iter().map(|name| named(spans, name).len()).sum::<usize>() + 3;
    assert!(spans.len() - apart <= MOST_PER_ATTEMPT * attempts.len(), "{} spans", spans.len());
}

/// Commits are for many windows: they link the attempts they publish, and are linked by what they settle.
fn assert_commits(spans: &[Span]) {
    let commits = named(spans, "commit");
    for attempt in named(spans, "process visits") {
        let settle = settling(spans, attempt);
        let by: Vec<&&Span> = commits.iter().filter(|commit| commit.links_to(attempt)).collect();
        assert_eq!(by.len(), 1, "one commit publishes {attempt:?}");
        assert!(settle.links_to(by[0]), "{settle:?}");
        assert_eq!(settle.attribute("windrow.seq"), by[0].attribute("windrow.seq"));
    }
}

/// What the schedule asked for has a trace per task.
fn assert_scheduled(spans: &[Span]) {
    let mut traces: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(span.trace.as_str()).or_default().push(span.clone());
    }
    let scheduled =
        |spans: &&Vec<Span>| spans.iter().any(|span| span.name == "publish visits" && span.parent.is_empty());
    let scheduled: Vec<&Vec<Span>> = traces.values().filter(scheduled).collect();
    assert_eq!(scheduled.len() as u64, WINDOWS);
    for spans in scheduled {
        assert_eq!(root(spans).name, "publish visits");
        let attempt = only(spans, "process visits");
        assert_eq!(attempt.attribute("windrow.backfill.id"), "");
        assert_whole(spans, attempt);
        settling(spans, attempt);
    }
}

/// Lines of the log that are written in an attempt name its trace and its span.
fn assert_logs_say_where(cluster: &Cluster, id: &str) {
    let (_, reader) = cluster.workers.iter().find(|(name, _)| name == "reader").unwrap();
    let log = reader.log();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sealed = lines.filter(|line| line["message"] == "sealed" && line["trace_id"] == id).count() as u64;
    assert_eq!(sealed, WINDOWS, "{log}");
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert!(first["trace_id"].is_null(), "no span is active when the worker starts: {first}");
}

/// A caller's trace goes on in the backfill's if it is kept, and nothing is exported if it is not.
async fn assert_callers_trace_is_continued(cluster: &Cluster, receiver: &Receiver, environment: &[(String, String)]) {
    let (trace, span) = ("5af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let id_of_unkept = format!("6{}", &trace[1..]);
    let unkept = format!("00-{id_of_unkept}-{span}-00");
    let (id, _) = backfill(cluster, "visits", &and(environment, &[("TRACEPARENT", &unkept)]));
    assert_eq!(id, id_of_unkept);
    let kept = format!("00-{trace}-{span}-01");
    let (id, _) = backfill(cluster, "visits", &and(environment, &[("TRACEPARENT", &kept)]));
    assert_eq!(id, trace);
    let settled =
        |spans: &[Span]| spans.iter().filter(|span| span.trace == trace && span.name == "settle visits").count();
    receiver.wait_until(PATIENCE, |spans| settled(spans) as u64 == WINDOWS).await.unwrap();
    tokio::time::sleep(EXPORT).await;
    let spans = receiver.trace(trace);
    assert_eq!((root(&spans).name.as_str(), root(&spans).parent.as_str()), ("windrow backfill create", span));
    let unkept = receiver.trace(&id_of_unkept);
    assert!(unkept.is_empty(), "not sampled by the caller, nor by anybody after it: {unkept:?}");
}

/// A pipeline of minutes, one row each.
fn ticks(minutes: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |minute: u64| format!("2024-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
    let rows = (0..minutes).map(|minute| format!("{minute},{}\n", at(minute)));
    fs::write(folder.path().join("ticks.csv"), rows.fold("id,at\n".to_owned(), |text, row| text + &row)).unwrap();
    let end = at(minutes).replace(":00Z", "");
    let pipeline = format!(
        "version: 1
connections:
  here: {{ type: local, root: . }}
  lake: {{ type: local, root: ./lake }}
pipelines:
  ticks:
    pattern: incremental
    source: {{ from: here, path: ticks.csv, format: csv, cursor: at, schema: {{ id: string, at: timestamp }} }}
    window: {{ every: 1m, start: 2024-01-01T00:00, end: {end}, per_task: 1 }}
    sink: {{ to: lake, format: delta, path: ticks }}
"
    );
    fs::write(folder.path().join("pipelines.yaml"), pipeline).unwrap();
    folder
}

/// Proves CL16. Pages that show traces get slow past some thousand spans.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_backfills_trace_has_one_span_per_attempt_and_leads_to_the_rest() {
    const MINUTES: usize = 252;
    let test = "a_large_backfills_trace_has_one_span_per_attempt_and_leads_to_the_rest";
    let _turn = TURN.lock().await;
    let receiver = Receiver::start().await.unwrap();
    let Some(cluster) = start(test, &receiver.environment()).await else { return };
    let ticks = ticks(MINUTES as u64);
    cluster.apply(ticks.path().to_str().unwrap()).unwrap();
    published(&cluster, "ticks", MINUTES as u64).await;
    let (id, _) = backfill(&cluster, "ticks", &receiver.environment());
    // Once by schedule, once by the backfill.
    let settled = |spans: &[Span]| named(spans, "settle ticks").len();
    receiver.wait_until(PATIENCE, |spans| settled(spans) == 2 * MINUTES).await.unwrap();
    tokio::time::sleep(EXPORT).await;

    let spans = receiver.trace(&id);
    root(&spans);
    let attempts = named(&spans, "process ticks");
    assert_eq!((attempts.len(), spans.len()), (MINUTES, MINUTES + 3), "the request's three, and one per attempt");
    let all = receiver.spans();
    let mut rest: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for span in &all {
        rest.entry(span.trace.as_str()).or_default().push(span.clone());
    }
    let mut traces = BTreeSet::new();
    for attempt in attempts {
        let details: Vec<&Vec<Span>> = attempt.links.iter().filter_map(|link| rest.get(link.0.as_str())).collect();
        let detail = details.iter().find(|spans| root(spans).name == "attempt ticks").unwrap();
        let inside = root(detail);
        assert!(inside.links_to(attempt) && attempt.links_to(inside), "both ways: {inside:?}");
        assert_whole(detail, inside);
        child(detail, inside, "settle ticks");
        assert!(detail.len() < MOST_PER_ATTEMPT);
        traces.insert(inside.trace.clone());
    }
    assert_eq!(traces.len(), MINUTES, "a trace each");
}

fn links(span: &Span, (trace, id): (&str, &str)) -> bool {
    span.links.iter().any(|link| link.0 == trace && link.1 == id)
}

/// Proves CL16. The first attempt is the test's own, to know its span.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_links_the_one_before_it() {
    let test = "an_attempt_links_the_one_before_it";
    let _turn = TURN.lock().await;
    let receiver = Receiver::start().await.unwrap();
    let Some(mut cluster) = Cluster::start_in(receiver.environment(), 1, 0).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    let mut first = Session::open(&cluster, Vec::new()).await;
    cluster.add_worker_with("writer", &["--role", "sink"]).unwrap();
    let assign = first.assigned().await;
    let (trace, span) = ("7af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let failure = v1::Failure {
        code: windrow_common::error::SOURCE_UNREADABLE.code.to_owned(),
        message: "the test reads nothing".to_owned(),
        retry: v1::RetryAdvice::Later.into(),
        ..v1::Failure::default()
    };
    let fail = v1::Fail {
        request: 1,
        task: assign.task,
        token: assign.token,
        failure: Some(failure),
        not_ready: false,
        trace: format!("00-{trace}-{span}-01"),
    };
    first.say(Say::Fail(fail)).await;
    first.say(Say::Goodbye(v1::Goodbye {})).await;
    cluster.add_worker_with("reader", &["--role", "ingest", "--slots", "1"]).unwrap();
    let done = async {
        while told(&cluster).is_none_or(|(published, _)| published < WINDOWS) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, done).await.is_ok(), "{}", cluster.logs());
    let again = |spans: &[Span]| named(spans, "process visits").iter().filter(|one| links(one, (trace, span))).count();
    let spans = receiver.wait_until(PATIENCE, |spans| again(spans) == 1).await.unwrap();
    let attempts = named(&spans, "process visits");
    let second = attempts.iter().find(|one| links(one, (trace, span))).unwrap();
    assert_eq!(second.attribute("windrow.attempt"), "2");
    assert_ne!(second.trace, trace, "it is in the trace of its window, whatever the first attempt's was");
}

/// Proves CL16. As somebody sees it who opens the trace in Jaeger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jaeger_shows_a_backfill_as_one_trace() {
    let test = "jaeger_shows_a_backfill_as_one_trace";
    let _turn = TURN.lock().await;
    let Some(jaeger) = Jaeger::start().await.unwrap() else {
        return skip(test, "there is no Jaeger; `make tools-jaeger` builds one");
    };
    let environment = and(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp()), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let Some(cluster) = start(test, &environment).await else { return };
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    published(&cluster, "visits", WINDOWS).await;
    let (id, _) = backfill(&cluster, "visits", &environment);
    tokio::time::sleep(EXPORT).await;
    let traces = jaeger.trace(&id).unwrap();
    let [trace] = traces.as_array().unwrap().as_slice() else { panic!("not one trace: {traces}") };
    let services: BTreeSet<&str> =
        trace["processes"].as_object().unwrap().values().map(|one| one["serviceName"].as_str().unwrap()).collect();
    assert_eq!(services, BTreeSet::from(["windrow-cli", "windrow-coordinator", "windrow-worker"]));
    let spans = trace["spans"].as_array().unwrap();
    let settled = spans.iter().filter(|span| span["operationName"] == "settle visits").count() as u64;
    assert_eq!(settled, WINDOWS, "{} spans", spans.len());
    for warning in spans.iter().filter_map(|span| span["warnings"].as_array()).flatten() {
        // That something comes after what caused it, as all work behind a queue does, it takes for a clock that is off.
        assert!(warning.as_str().unwrap().starts_with("clock skew"), "Jaeger wonders: {warning}");
    }
    if let Ok(seconds) = std::env::var("WINDROW_LOOK_SECONDS") {
        // For a person: the trace stays to be looked at.
        println!("{}/trace/{id}", jaeger.url());
        tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
    }
}
