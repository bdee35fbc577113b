//! The users' side of the API.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use windrow_common::{
    id::{BackfillId, PipelineName, SinkId},
    pipeline::Pipeline,
    window::Window,
};
use windrow_proto::{
    convert::Malformed,
    v1::{self, admin_service_server::AdminService, applied_pipeline::Change},
};

use super::{
    closing, leading,
    ready::{Asked, Waiting},
    refusal::{bad, bad_pipeline, missing, refused, refused_of},
    view,
};
use crate::{
    controller::{Command, View},
    core::{
        apply::Applied,
        backfill::{self, Origin},
        pins, report, rollback,
        timeline::Standing as WindowStanding,
    },
    ledger::{choice_in, order_in},
    run::Standing,
    trace,
};

/// Windows of a page unless the caller says otherwise, and at most.
const PAGE: usize = 1_000;
const MAX_PAGE: usize = 10_000;
/// Bytes of a request's id.
const MAX_REQUEST_ID: usize = 200;

pub(super) struct Admin {
    standing: Arc<Standing>,
    waiting: Waiting,
}

impl Admin {
    pub(super) fn new(standing: Arc<Standing>) -> Self {
        Self { standing, waiting: Waiting::new() }
    }

    async fn read<T: Send + 'static>(&self, look: impl FnOnce(&View<'_>) -> T + Send + 'static) -> Result<T, Status> {
        leading(&self.standing)?.read(look).await.map_err(refused)
    }

    async fn backfill(&self, id: BackfillId) -> Result<v1::Backfill, Status> {
        self.read(move |found| found.table.backfill(&id).map(|entry| view::backfill(found, &entry.value)).ok_or(id))
            .await?
            .map_err(|id| missing("backfill", id.as_str()))
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    type WatchBackfillStream = Pin<Box<dyn Stream<Item = Result<v1::WatchBackfillResponse, Status>> + Send>>;

    async fn apply_pipelines(
        &self,
        request: Request<v1::ApplyPipelinesRequest>,
    ) -> Result<Response<v1::ApplyPipelinesResponse>, Status> {
        let request = request.into_inner();
        let pipelines = request.pipelines.iter().enumerate().map(|(i, spec)| pipeline_in(i, spec));
        let pipelines = pipelines.collect::<Result<Vec<Pipeline>, Status>>()?;
        let validate_only = request.validate_only;
        let asked = pipelines.clone();
        let applied = leading(&self.standing)?
            .command(|reply| Command::Apply { pipelines, validate_only, reply })
            .await
            .map_err(|error| refused_of(error, &asked))?;
        let due = self
            .read(|found| {
                let entries = found.table.pipelines();
                let due = |entry| report::pipeline(found.table, entry, found.when.now).unsettled();
                entries.map(|(name, entry)| (name.clone(), due(entry))).collect::<Vec<_>>()
            })
            .await?;
        let windows_due = |name: &PipelineName| due.iter().find(|entry| entry.0 == *name).map_or(0, |entry| entry.1);
        let pipelines = applied.into_iter().map(|(name, applied)| v1::AppliedPipeline {
            windows_due: windows_due(&name),
            change: change_out(applied).into(),
            name: name.to_string(),
        });
        Ok(Response::new(v1::ApplyPipelinesResponse { pipelines: pipelines.collect() }))
    }

    async fn list_pipelines(
        &self,
        _: Request<v1::ListPipelinesRequest>,
    ) -> Result<Response<v1::ListPipelinesResponse>, Status> {
        let look = |found: &View<'_>| found.table.pipelines().map(|(_, entry)| view::pipeline(found, entry)).collect();
        Ok(Response::new(v1::ListPipelinesResponse { pipelines: self.read(look).await? }))
    }

    async fn set_pipeline_paused(
        &self,
        request: Request<v1::SetPipelinePausedRequest>,
    ) -> Result<Response<v1::SetPipelinePausedResponse>, Status> {
        let request = request.into_inner();
        let name: PipelineName = name_in("name", &request.name)?;
        let note = request.paused.then_some(request.note);
        let (paused, controller) = (name.clone(), leading(&self.standing)?);
        controller.command(|reply| Command::Pause { name: paused, note, reply }).await.map_err(refused)?;
        let pipeline = self.read(move |found| found.table.pipeline(&name).map(|entry| view::pipeline(found, entry)));
        Ok(Response::new(v1::SetPipelinePausedResponse { pipeline: pipeline.await? }))
    }

    async fn list_windows(
        &self,
        request: Request<v1::ListWindowsRequest>,
    ) -> Result<Response<v1::ListWindowsResponse>, Status> {
        let request = request.into_inner();
        let name: PipelineName = name_in("pipeline", &request.pipeline)?;
        let range = range_in(request.range)?;
        let from = match request.page_token.as_str() {
            "" => range.map(|range| range.start()),
            token => Some(token.parse().map_err(|_| bad("page_token", "is none of ours".to_owned()))?),
        };
        let limit = match request.page_size {
            0 => PAGE,
            size => usize::try_from(size).unwrap_or(MAX_PAGE).min(MAX_PAGE),
        };
        let look = move |found: &View<'_>| {
            let entry = found.table.pipeline(&name).ok_or(name)?;
            let start = from.unwrap_or_else(|| entry.tiling.as_ref().map_or(0, |tiling| tiling.origin()));
            let end = range.map_or(entry.cursor.value.next, |range| range.end());
            let windows = report::windows(found.table, entry, (start, end), limit + 1, found.when.now);
            let next_page_token = windows.get(limit).map(|next| next.window.start().to_string()).unwrap_or_default();
            let windows = windows.iter().take(limit).map(|window| view::window(found, window)).collect();
            Ok(v1::ListWindowsResponse { windows, next_page_token })
        };
        let answer: Result<v1::ListWindowsResponse, PipelineName> = self.read(look).await?;
        answer.map(Response::new).map_err(|name| missing("pipeline", name.as_str()))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let pipeline = request.into_inner().pipeline;
        let look = move |found: &View<'_>| {
            let all = found.table.all_tasks();
            let wanted = all.filter(|task| pipeline.is_empty() || task.value.pipeline.as_str() == pipeline);
            wanted.map(|entry| view::task(found, entry)).collect()
        };
        Ok(Response::new(v1::ListTasksResponse { tasks: self.read(look).await? }))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let look = |found: &View<'_>| found.workers.iter().map(|state| view::worker(found, state)).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers: self.read(look).await? }))
    }

    async fn preview_backfill(
        &self,
        request: Request<v1::PreviewBackfillRequest>,
    ) -> Result<Response<v1::PreviewBackfillResponse>, Status> {
        let request = spec_in(request.into_inner().spec)?;
        let previews = self.read(move |found| backfill::preview(found.table, &request, found.when.now)).await?;
        let previews = previews.map_err(|cause| refused(cause.into()))?;
        let count = |wanted: fn(&WindowStanding) -> bool| {
            previews.iter().filter(|preview| wanted(&preview.standing)).count() as u64
        };
        Ok(Response::new(v1::PreviewBackfillResponse {
            published: count(|standing| matches!(standing, WindowStanding::Published)),
            missing: count(|standing| matches!(standing, WindowStanding::Missing)),
            failed: count(|standing| matches!(standing, WindowStanding::Quarantined(_))),
            open: count(|standing| matches!(standing, WindowStanding::Open(..))),
            windows: previews.iter().map(view::preview).collect(),
        }))
    }

    async fn create_backfill(
        &self,
        request: Request<v1::CreateBackfillRequest>,
    ) -> Result<Response<v1::CreateBackfillResponse>, Status> {
        let (metadata, _, body) = request.into_parts();
        let request_id = request_id(body.request_id)?;
        let request = spec_in(body.spec)?;
        let validate_only = body.validate_only;
        let id = backfill::id_of(&request_id);
        let publish = || trace::publish(&metadata, request.pipeline.as_str(), id.as_str());
        let trace = if validate_only { None } else { publish() };
        let origin = Origin { request_id, trace };
        let created = leading(&self.standing)?
            .command(|reply| Command::CreateBackfill { request, origin, validate_only, reply })
            .await
            .map_err(refused)?;
        trace::created(created.id.as_str(), created.windows);
        let backfill = self.read(move |found| view::backfill(found, &created)).await?;
        Ok(Response::new(v1::CreateBackfillResponse { backfill: Some(backfill) }))
    }

    async fn get_backfill(
        &self,
        request: Request<v1::GetBackfillRequest>,
    ) -> Result<Response<v1::GetBackfillResponse>, Status> {
        let id = name_in("id", &request.into_inner().id)?;
        Ok(Response::new(v1::GetBackfillResponse { backfill: Some(self.backfill(id).await?) }))
    }

    async fn list_backfills(
        &self,
        request: Request<v1::ListBackfillsRequest>,
    ) -> Result<Response<v1::ListBackfillsResponse>, Status> {
        let pipeline = request.into_inner().pipeline;
        let look = move |found: &View<'_>| {
            let all = found.table.backfills();
            let wanted = all.filter(|entry| pipeline.is_empty() || entry.value.pipeline.as_str() == pipeline);
            wanted.map(|entry| view::backfill(found, &entry.value)).collect()
        };
        Ok(Response::new(v1::ListBackfillsResponse { backfills: self.read(look).await? }))
    }

    async fn watch_backfill(
        &self,
        request: Request<v1::WatchBackfillRequest>,
    ) -> Result<Response<Self::WatchBackfillStream>, Status> {
        let id: BackfillId = name_in("id", &request.into_inner().id)?;
        self.backfill(id.clone()).await?;
        let (out, stream) = tokio::sync::mpsc::channel(4);
        tokio::spawn(watch(Arc::clone(&self.standing), id, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn set_backfill_state(
        &self,
        request: Request<v1::SetBackfillStateRequest>,
    ) -> Result<Response<v1::SetBackfillStateResponse>, Status> {
        let request = request.into_inner();
        let id: BackfillId = name_in("id", &request.id)?;
        let command = match v1::BackfillState::try_from(request.state) {
            Ok(v1::BackfillState::Running) => backfill::Command::Resume,
            Ok(v1::BackfillState::Paused) => backfill::Command::Pause,
            Ok(v1::BackfillState::Cancelled) => backfill::Command::Cancel,
            _ => return Err(bad("state", "is not RUNNING, PAUSED or CANCELLED".to_owned())),
        };
        let (changed, controller) = (id.clone(), leading(&self.standing)?);
        controller.command(|reply| Command::Steer { id: changed, command, reply }).await.map_err(refused)?;
        Ok(Response::new(v1::SetBackfillStateResponse { backfill: Some(self.backfill(id).await?) }))
    }

    async fn wait_ready(
        &self,
        request: Request<v1::WaitReadyRequest>,
    ) -> Result<Response<v1::WaitReadyResponse>, Status> {
        let request = request.into_inner();
        let asked = Asked {
            pipeline: name_in("pipeline", &request.pipeline)?,
            range: range_in(request.range)?,
            settled: request.settled,
            wait: Duration::from_millis(request.wait_ms),
        };
        self.waiting.wait(&self.standing, &asked).await.map(Response::new)
    }

    async fn declare_window(
        &self,
        request: Request<v1::DeclareWindowRequest>,
    ) -> Result<Response<v1::DeclareWindowResponse>, Status> {
        closing::declare(&self.standing, request.into_inner()).await.map(Response::new)
    }

    async fn release_late(
        &self,
        request: Request<v1::ReleaseLateRequest>,
    ) -> Result<Response<v1::ReleaseLateResponse>, Status> {
        closing::release(&self.standing, request.into_inner()).await.map(Response::new)
    }

    async fn list_versions(
        &self,
        request: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        let pipeline = name_in("pipeline", &request.into_inner().pipeline)?;
        let controller = leading(&self.standing)?;
        let versions = controller.command(|reply| Command::Versions { pipeline, reply }).await.map_err(refused)?;
        Ok(Response::new(v1::ListVersionsResponse { versions }))
    }

    async fn compact(&self, request: Request<v1::CompactRequest>) -> Result<Response<v1::CompactResponse>, Status> {
        let v1::CompactRequest { pipeline, dry_run, major } = request.into_inner();
        let pipeline = name_in("pipeline", &pipeline)?;
        let controller = leading(&self.standing)?;
        let command = |reply| Command::Compact { pipeline, dry_run, major, reply };
        let plan = controller.command(command).await.map_err(refused)?;
        Ok(Response::new(v1::CompactResponse {
            layout: Some(plan.layout.into()),
            groups: plan.groups.iter().map(Into::into).collect(),
            tasks: plan.tasks.iter().map(|task| task.as_bytes().to_vec()).collect(),
        }))
    }

    async fn compare(&self, request: Request<v1::CompareRequest>) -> Result<Response<v1::CompareResponse>, Status> {
        let v1::CompareRequest { pipeline, accept } = request.into_inner();
        let pipeline = name_in("pipeline", &pipeline)?;
        let controller = leading(&self.standing)?;
        let task = controller.command(|reply| Command::Compare { pipeline, accept, reply }).await.map_err(refused)?;
        Ok(Response::new(v1::CompareResponse { task: task.as_bytes().to_vec() }))
    }

    async fn create_rollback(
        &self,
        request: Request<v1::CreateRollbackRequest>,
    ) -> Result<Response<v1::CreateRollbackResponse>, Status> {
        let (metadata, _, body) = request.into_parts();
        let request_id = request_id(body.request_id)?;
        let pipeline: PipelineName = name_in("pipeline", &body.pipeline)?;
        let validate_only = body.validate_only;
        let begin = || trace::roll_back(&metadata, pipeline.as_str(), &request_id);
        let trace = if validate_only { None } else { begin() };
        let request = rollback::Request { request_id, pipeline, to: body.to, trace };
        let made = leading(&self.standing)?
            .command(|reply| Command::RollBack { request, validate_only, reply })
            .await
            .map_err(refused)?;
        let rollback = self.read(move |found| view::rollback(found, &made)).await?;
        Ok(Response::new(v1::CreateRollbackResponse { rollback: Some(rollback) }))
    }

    async fn get_rollback(
        &self,
        request: Request<v1::GetRollbackRequest>,
    ) -> Result<Response<v1::GetRollbackResponse>, Status> {
        let name: PipelineName = name_in("pipeline", &request.into_inner().pipeline)?;
        let look = move |found: &View<'_>| {
            let entry = found.table.pipeline(&name).ok_or(("pipeline", name.clone()))?;
            let newest = rollback::of(found.table, &entry.sink).ok_or(("rollback", name))?;
            Ok(view::rollback(found, &newest.value))
        };
        let answer: Result<v1::Rollback, (&'static str, PipelineName)> = self.read(look).await?;
        let rollback = Some(answer.map_err(|(kind, name)| missing(kind, name.as_str()))?);
        Ok(Response::new(v1::GetRollbackResponse { rollback }))
    }

    async fn create_pin(
        &self,
        request: Request<v1::CreatePinRequest>,
    ) -> Result<Response<v1::CreatePinResponse>, Status> {
        let body = request.into_inner();
        let wanted = body.wanted.ok_or_else(|| bad("wanted", "says neither a version nor a time".to_owned()))?;
        let request = pins::Request {
            request_id: request_id(body.request_id)?,
            pipeline: name_in("pipeline", &body.pipeline)?,
            wanted: wanted.try_into().map_err(|error: Malformed| bad("wanted", error.to_string()))?,
            keep: Duration::from_millis(body.for_ms),
            reason: body.reason,
        };
        let pin = leading(&self.standing)?.command(|reply| Command::Pin { request, reply }).await.map_err(refused)?;
        let pin =
            self.read(move |found| pins_of(found, None).into_iter().find(|one| one.id == pin.id.as_str())).await?;
        Ok(Response::new(v1::CreatePinResponse { pin }))
    }

    async fn list_pins(&self, request: Request<v1::ListPinsRequest>) -> Result<Response<v1::ListPinsResponse>, Status> {
        let pipeline = request.into_inner().pipeline;
        if pipeline.is_empty() {
            return Ok(Response::new(v1::ListPinsResponse { pins: self.read(|found| pins_of(found, None)).await? }));
        }
        let name: PipelineName = name_in("pipeline", &pipeline)?;
        let pins = self.read(move |found| found.table.pipeline(&name).map(|entry| pins_of(found, Some(&entry.sink))));
        let pins = pins.await?.ok_or_else(|| missing("pipeline", &pipeline))?;
        Ok(Response::new(v1::ListPinsResponse { pins }))
    }

    async fn delete_pin(
        &self,
        request: Request<v1::DeletePinRequest>,
    ) -> Result<Response<v1::DeletePinResponse>, Status> {
        let id = name_in("id", &request.into_inner().id)?;
        leading(&self.standing)?.command(|reply| Command::Unpin { id, reply }).await.map_err(refused)?;
        Ok(Response::new(v1::DeletePinResponse {}))
    }

    async fn clean(&self, request: Request<v1::CleanRequest>) -> Result<Response<v1::CleanResponse>, Status> {
        let v1::CleanRequest { pipeline, only_look } = request.into_inner();
        let name: PipelineName = name_in("pipeline", &pipeline)?;
        let (pipeline, controller) = (name.clone(), leading(&self.standing)?);
        let report =
            controller.command(|reply| Command::Clean { pipeline, only_look, reply }).await.map_err(refused)?;
        let look = move |found: &View<'_>| found.table.pipeline(&name).map(|entry| pins_of(found, Some(&entry.sink)));
        let pins = self.read(look).await?.unwrap_or_default();
        Ok(Response::new(v1::CleanResponse { report: Some(report), pins }))
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverResponse>, Status> {
        let request = request.into_inner();
        let pipelines = request.pipelines.iter().enumerate().map(|(i, spec)| pipeline_in(i, spec));
        let pipelines = pipelines.collect::<Result<Vec<Pipeline>, Status>>()?;
        let controller = leading(&self.standing)?;
        controller.command(|reply| Command::Recover { pipelines, reply }).await.map_err(refused)?;
        Ok(Response::new(v1::RecoverResponse {}))
    }

    async fn get_recovery(
        &self,
        _: Request<v1::GetRecoveryRequest>,
    ) -> Result<Response<v1::GetRecoveryResponse>, Status> {
        self.read(view::recovery).await.map(Response::new)
    }
}

/// Sends the backfill now and whenever it has changed, until it is settled or nobody listens.
async fn watch(
    standing: Arc<Standing>,
    id: BackfillId,
    out: tokio::sync::mpsc::Sender<Result<v1::WatchBackfillResponse, Status>>,
) {
    let admin = Admin::new(standing);
    let mut last = None;
    loop {
        let Ok(controller) = leading(&admin.standing) else { break };
        let mut changes = controller.changes();
        changes.mark_unchanged();
        let found = admin.backfill(id.clone()).await;
        let settled = found.as_ref().map_or(true, |backfill| backfill.settled_us != 0);
        let response = found.map(|backfill| v1::WatchBackfillResponse { backfill: Some(backfill) });
        let news = response.as_ref().ok() != last.as_ref();
        last = response.as_ref().ok().cloned();
        if news && out.send(response).await.is_err() || settled {
            break;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = out.closed() => break,
        }
    }
}

fn pipeline_in(i: usize, spec: &[u8]) -> Result<Pipeline, Status> {
    let decoder = &mut serde_json::Deserializer::from_slice(spec);
    serde_path_to_error::deserialize(decoder)
        .map_err(|cause| bad_pipeline(i, &cause.path().to_string(), cause.inner().to_string()))
}

/// Pins, of one sink or of all.
fn pins_of(found: &View<'_>, sink: Option<&SinkId>) -> Vec<v1::Pin> {
    let sinks = found.table.sinks().filter(|(id, _)| sink.is_none_or(|wanted| wanted == *id));
    sinks.flat_map(|(id, entry)| entry.pins.values().map(move |pin| view::pin(id, &pin.value))).collect()
}

fn change_out(applied: Applied) -> Change {
    match applied {
        Applied::Created => Change::Created,
        Applied::Updated => Change::Updated,
        Applied::Unchanged => Change::Unchanged,
    }
}

/// Ids are kept in records, so they have a bound.
fn request_id(text: String) -> Result<String, Status> {
    match text.len() {
        0 => Err(bad("request_id", "is empty; give a UUID, the same one when you repeat the request".to_owned())),
        1..=MAX_REQUEST_ID => Ok(text),
        _ => Err(bad("request_id", format!("is longer than {MAX_REQUEST_ID} bytes; give a UUID"))),
    }
}

fn spec_in(spec: Option<v1::BackfillSpec>) -> Result<backfill::Request, Status> {
    let spec = spec.ok_or_else(|| bad("spec", "is missing".to_owned()))?;
    Ok(backfill::Request {
        pipeline: name_in("spec.pipeline", &spec.pipeline)?,
        range: range_in(spec.range)?,
        choice: choice_in(spec.choice).map_err(|error| bad("spec.choice", error.to_string()))?,
        order: order_in(spec.order).map_err(|error| bad("spec.order", error.to_string()))?,
        concurrency: spec.concurrency,
        force: spec.force,
        accept: spec.accept,
    })
}

pub(super) fn range_in(range: Option<v1::Window>) -> Result<Option<Window>, Status> {
    range.map(Window::try_from).transpose().map_err(|error| bad("range", error.to_string()))
}

pub(super) fn name_in<T: std::str::FromStr<Err = windrow_common::id::InvalidName>>(
    field: &str,
    text: &str,
) -> Result<T, Status> {
    text.parse().map_err(|error: windrow_common::id::InvalidName| bad(field, error.to_string()))
}
