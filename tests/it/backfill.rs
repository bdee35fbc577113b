//! Backfills by the API, as a program without our command line does them: submitted twice, paused, resumed, watched,
//! cancelled; and what else a stranger's client relies on: errors it can read, health, reflection.

use std::time::Duration;

use tokio_stream::StreamExt;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;
use windrow_proto::{
    status::{RemoteError, remote_error},
    v1::{self, BackfillChoice, BackfillOrder, BackfillState, WindowState, admin_service_client::AdminServiceClient},
};
use windrow_tests::{cluster::Cluster, skip::skip};

use crate::{
    cluster::TURN,
    visits::{ROWS, Visits, WINDOWS, rows_of, told},
};

type Admin = AdminServiceClient<Channel>;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(test: &str, workers: usize) -> Option<Cluster> {
    let cluster = Cluster::start(2, workers).await.unwrap();
    if cluster.is_none() {
        skip(test, "there is no etcd");
    }
    cluster
}

/// The leader's address, once there is one.
async fn leader(cluster: &Cluster) -> Channel {
    let found = async {
        loop {
            for coordinator in &cluster.coordinators {
                let endpoint = Channel::from_shared(format!("http://{}", coordinator.address)).unwrap();
                let Ok(channel) = endpoint.connect().await else { continue };
                let mut admin = Admin::new(channel.clone());
                let asked = admin.list_pipelines(v1::ListPipelinesRequest {});
                if matches!(tokio::time::timeout(Duration::from_secs(5), asked).await, Ok(Ok(_))) {
                    return channel;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("nobody leads: {}", cluster.logs()))
}

async fn wait_until_published(cluster: &Cluster, windows: u64) {
    let published = async {
        while told(cluster).is_none_or(|(published, _)| published < windows) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, published).await.is_ok(), "{:?}\n{}", told(cluster), cluster.logs());
}

/// Everything of `visits`, again.
fn all() -> v1::BackfillSpec {
    v1::BackfillSpec {
        pipeline: "visits".to_owned(),
        range: None,
        choice: BackfillChoice::All.into(),
        order: BackfillOrder::OldestFirst.into(),
        concurrency: 0,
        force: false,
        accept: false,
    }
}

async fn create(admin: &mut Admin, request_id: &str, validate_only: bool) -> v1::Backfill {
    let request = v1::CreateBackfillRequest { request_id: request_id.to_owned(), spec: Some(all()), validate_only };
    admin.create_backfill(request).await.unwrap().into_inner().backfill.unwrap()
}

async fn set(admin: &mut Admin, id: &str, state: BackfillState) -> Result<BackfillState, Status> {
    let request = v1::SetBackfillStateRequest { id: id.to_owned(), state: state.into() };
    Ok(admin.set_backfill_state(request).await?.into_inner().backfill.unwrap().state())
}

async fn listed(admin: &mut Admin) -> Vec<v1::Backfill> {
    let request = v1::ListBackfillsRequest { pipeline: "visits".to_owned() };
    admin.list_backfills(request).await.unwrap().into_inner().backfills
}

/// Follows a backfill until its stream ends.
async fn follow(mut admin: Admin, id: String) -> Vec<v1::Backfill> {
    let stream = admin.watch_backfill(v1::WatchBackfillRequest { id }).await.unwrap().into_inner();
    let told = stream.map(|update| update.unwrap().backfill.unwrap()).collect();
    tokio::time::timeout(PATIENCE, told).await.unwrap()
}

/// Proves CL10, IL3, IL9. The only worker sleeps while backfills are submitted and steered, so that nothing depends on
/// how fast it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_is_submitted_once_steered_and_watched_to_its_end() {
    let _turn = TURN.lock().await;
    let Some(mut cluster) = start("a_backfill_is_submitted_once_steered_and_watched_to_its_end", 1).await else {
        return;
    };
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    wait_until_published(&cluster, WINDOWS).await;
    assert_eq!(rows_of(&visits.table()), ROWS);
    let mut admin = Admin::new(leader(&cluster).await);
    cluster.workers[0].1.stop().unwrap();

    let spec = Some(all());
    let preview = admin.preview_backfill(v1::PreviewBackfillRequest { spec }).await.unwrap().into_inner();
    assert_eq!((preview.windows.len() as u64, preview.published), (WINDOWS, WINDOWS));
    assert!(preview.windows.iter().all(|one| one.will_run && one.state() == WindowState::Published));

    let id = "0b9f2f2e-65c7-4a55-9d7b-0c6a3d0f7f01";
    create(&mut admin, id, true).await;
    assert!(listed(&mut admin).await.is_empty(), "a dry run leaves nothing");
    let first = create(&mut admin, id, false).await;
    let again = create(&mut admin, id, false).await;
    assert_eq!((first.id.as_str(), first.windows), (again.id.as_str(), WINDOWS));
    assert_eq!(listed(&mut admin).await.len(), 1, "the same request makes one backfill");

    let watched = tokio::spawn(follow(admin.clone(), first.id.clone()));
    assert_eq!(set(&mut admin, &first.id, BackfillState::Paused).await.unwrap(), BackfillState::Paused);
    assert_eq!(set(&mut admin, &first.id, BackfillState::Paused).await.unwrap(), BackfillState::Paused, "as it was");
    assert_eq!(set(&mut admin, &first.id, BackfillState::Running).await.unwrap(), BackfillState::Running);
    cluster.workers[0].1.cont().unwrap();
    let states = watched.await.unwrap();
    let last = states.last().unwrap();
    assert_eq!((last.state(), last.published), (BackfillState::Succeeded, WINDOWS), "{}", cluster.logs());
    assert!(states.is_sorted_by_key(|backfill| backfill.published), "progress goes one way");
    assert_eq!(rows_of(&visits.table()), ROWS, "what was there is replaced");

    cluster.workers[0].1.stop().unwrap();
    let second = create(&mut admin, "0b9f2f2e-65c7-4a55-9d7b-0c6a3d0f7f02", false).await;
    assert_eq!(set(&mut admin, &second.id, BackfillState::Cancelled).await.unwrap(), BackfillState::Cancelled);
    let states = follow(admin.clone(), second.id.clone()).await;
    assert_eq!(states.last().unwrap().state(), BackfillState::Cancelled, "its stream ends at once");
    let refused = set(&mut admin, &second.id, BackfillState::Running).await.unwrap_err();
    assert_eq!((refused.code(), remote_error(&refused).code.as_str()), (Code::FailedPrecondition, "WR-C004"));
    cluster.workers[0].1.cont().unwrap();
    wait_until_published(&cluster, WINDOWS).await;
    assert_eq!(rows_of(&visits.table()), ROWS, "cancelling takes no row away");
    let repeated = create(&mut admin, "0b9f2f2e-65c7-4a55-9d7b-0c6a3d0f7f02", false).await;
    assert_eq!(
        (&repeated.id, listed(&mut admin).await.len()),
        (&second.id, 2),
        "nor does a late repeat start it again"
    );

    let led = cluster.leader().unwrap();
    cluster.coordinators[led].process.kill().unwrap();
    cluster.coordinators.remove(led);
    let mut next = Admin::new(leader(&cluster).await);
    for (id, made) in
        [("0b9f2f2e-65c7-4a55-9d7b-0c6a3d0f7f01", &first), ("0b9f2f2e-65c7-4a55-9d7b-0c6a3d0f7f02", &second)]
    {
        assert_eq!(create(&mut next, id, false).await.id, made.id, "another leader knows the request too");
    }
    assert_eq!(listed(&mut next).await.len(), 2);
}

/// Every error carries the catalogue's code, and bad fields are named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_finds_the_services_and_can_read_their_errors() {
    let _turn = TURN.lock().await;
    let Some(cluster) = start("a_client_finds_the_services_and_can_read_their_errors", 0).await else { return };
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    let channel = leader(&cluster).await;
    assert_errors_can_be_read(&mut Admin::new(channel.clone())).await;
    assert_follower_says_who_leads(&cluster).await;

    for service in ["", "windrow.v1.AdminService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let services = reflected(channel).await;
    for service in ["windrow.v1.AdminService", "windrow.v1.SessionService", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|found| found == service), "{services:?}");
    }
}

async fn assert_errors_can_be_read(admin: &mut Admin) {
    let read = |status: Status| -> RemoteError {
        let error = remote_error(&status);
        assert!(!error.message.is_empty() && windrow_common::error::find(&error.code).is_some(), "{error:?}");
        error
    };
    let unnamed = v1::CreateBackfillRequest { request_id: String::new(), spec: Some(all()), validate_only: false };
    let error = read(admin.create_backfill(unnamed).await.unwrap_err());
    assert_eq!((error.grpc, error.code.as_str()), (Code::InvalidArgument, "WR-C001"));
    assert_eq!(error.violations[0].0, "request_id");

    let backwards = v1::Window { axis: v1::Axis::Time.into(), start: 10, end: 5 };
    let spec = v1::BackfillSpec { range: Some(backwards), ..all() };
    let error = read(admin.preview_backfill(v1::PreviewBackfillRequest { spec: Some(spec) }).await.unwrap_err());
    assert_eq!((error.grpc, error.violations.len()), (Code::InvalidArgument, 1), "{error:?}");

    let elsewhere = v1::Window { axis: v1::Axis::Time.into(), start: 5, end: 10 };
    let spec = v1::BackfillSpec { range: Some(elsewhere), ..all() };
    let error = read(admin.preview_backfill(v1::PreviewBackfillRequest { spec: Some(spec) }).await.unwrap_err());
    assert_eq!((error.grpc, error.code.as_str()), (Code::InvalidArgument, "WR-W004"));
    assert_eq!(error.violations[0].0, "spec.range");

    let spec = v1::BackfillSpec { pipeline: "vists".to_owned(), ..all() };
    let error = read(admin.preview_backfill(v1::PreviewBackfillRequest { spec: Some(spec) }).await.unwrap_err());
    assert_eq!((error.grpc, error.code.as_str()), (Code::NotFound, "WR-C003"));
    assert_eq!((error.facts["kind"].as_str(), error.facts["name"].as_str()), ("pipeline", "vists"));

    let error = read(set(admin, "bf-0000000000", BackfillState::Paused).await.unwrap_err());
    assert_eq!((error.grpc, error.code.as_str()), (Code::NotFound, "WR-C003"));

    let apply = v1::ApplyPipelinesRequest { pipelines: vec![b"{}".to_vec()], validate_only: true };
    let error = read(admin.apply_pipelines(apply).await.unwrap_err());
    assert_eq!((error.grpc, error.violations[0].0.as_str()), (Code::InvalidArgument, "pipelines[0]"));
    assert_fields_of_pipelines_are_named(admin).await;
}

/// The path leads to the value, as it is written in the pipeline file.
async fn assert_fields_of_pipelines_are_named(admin: &mut Admin) {
    let known = admin.list_pipelines(v1::ListPipelinesRequest {}).await.unwrap().into_inner().pipelines.remove(0).spec;
    for (pointer, value, code, path) in [
        ("/window/every", "1 fortnight", "WR-C001", "pipelines[1].window.every"),
        ("/retries/attempts", "many", "WR-C001", "pipelines[1].retries.attempts"),
        ("/window/timezone", "Mars/Olympus", "WR-W001", "pipelines[1].window"),
    ] {
        let mut spec: serde_json::Value = serde_json::from_slice(&known).unwrap();
        *spec.pointer_mut(pointer).unwrap() = value.into();
        *spec.pointer_mut("/name").unwrap() = "other".into();
        let pipelines = vec![known.clone(), serde_json::to_vec(&spec).unwrap()];
        let apply = v1::ApplyPipelinesRequest { pipelines, validate_only: true };
        let status = admin.apply_pipelines(apply).await.unwrap_err();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (code, "windrow"), "{status:?}");
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, path);
        assert!(!info.metadata.is_empty() && details.help().unwrap().links[0].url.contains(code), "{info:?}");
    }
}

async fn assert_follower_says_who_leads(cluster: &Cluster) {
    let mut refusals = Vec::new();
    for coordinator in &cluster.coordinators {
        let mut admin = Admin::connect(format!("http://{}", coordinator.address)).await.unwrap();
        refusals.extend(admin.list_pipelines(v1::ListPipelinesRequest {}).await.err());
    }
    assert_eq!(refusals.len(), 1, "one of two leads");
    let error = remote_error(&refusals[0]);
    assert_eq!((error.grpc, error.code.as_str()), (Code::Unavailable, "WR-L005"));
    assert!(cluster.coordinators.iter().any(|one| error.message.contains(&one.address)), "{}", error.message);
}

/// The services a server tells of.
async fn reflected(channel: Channel) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    match answers.next().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => list.service.into_iter().map(|service| service.name).collect(),
        other => panic!("{other:?}"),
    }
}
