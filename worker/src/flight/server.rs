//! The Flight service of a sink worker: DoPut of rows and the actions `finish`, `shows`, `inputs`, `note` and `verbatim`, all under a ticket;
//! nothing else.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arrow_array::RecordBatch;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult,
    decode::{DecodedPayload, FlightDataDecoder},
    error::FlightError,
    flight_service_server::{FlightService, FlightServiceServer},
};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use serde::Serialize;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Server};
use tracing::Instrument;
use windrow_common::{error, ticket::Verified};

use super::{
    MAX_MESSAGE_BYTES,
    service::{Claim, Part, Pass, StageService, Staged},
    trace,
    wire::{self, Answer, Ask, EndMark, Finish, Inputs, Shows, broken, to_status},
};
use crate::{
    error::{Result, WorkerError},
    stage::BatchStream,
};

/// How long a sender may be silent before its stream is given up and its place freed.
const MAX_SILENCE: Duration = Duration::from_secs(120);
/// HTTP/2 receive window: bandwidth times round trip of a fast far link.
pub(super) const WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2 frames a sender may send: at the protocol's default of 16 KiB a piece is cut into more than a hundred.
const FRAME_BYTES: u32 = 1 << 20;
const MAX_STREAMS_PER_CONNECTION: u32 = 128;
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// The service, ready to be added to a server that has [`server_limits`].
pub fn flight_server(service: Arc<StageService>) -> FlightServiceServer<impl FlightService> {
    FlightServiceServer::new(Flight { service })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Bounds on what a connection may cost, and windows wide enough for Flight.
pub fn server_limits(server: Server) -> Server {
    server
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .http2_max_pending_accept_reset_streams(Some(32))
        .http2_max_local_error_reset_streams(Some(32))
        .tcp_nodelay(true)
}

struct Flight {
    service: Arc<StageService>,
}

impl Flight {
    /// The call's ticket, if it is good: nothing is read for any other.
    async fn ticket(&self, headers: &MetadataMap) -> Result<(Bytes, Verified)> {
        let ticket = headers.get_bin(wire::TICKET).and_then(|value| value.to_bytes().ok());
        let ticket =
            ticket.ok_or_else(|| WorkerError::never(error::TICKET_REFUSED, "a call comes without a ticket"))?;
        let verified = self.service.check(&ticket).await?;
        Ok((ticket, verified))
    }

    async fn put(&self, ticket: Bytes, part: Part, messages: Streaming<FlightData>) -> Result<Staged> {
        let mut messages = timed(messages);
        let first = messages.try_next().await.map_err(|status| wire::from_status(&status))?;
        let mut first = first.ok_or_else(|| broken("a batch stream is empty"))?;
        let claim = self.service.open(&Pass { ticket, pipeline: std::mem::take(&mut first.app_metadata) }).await?;
        let (schema, rows) = batches(stream::once(future::ok(first)).chain(messages).boxed()).await?;
        self.service.put(&claim, part, schema, rows).await
    }

    async fn finish(&self, ticket: Bytes, action: Action) -> Result<arrow_flight::Result> {
        let Finish { pipeline, draft } = serde_json::from_slice(&action.body)
            .map_err(|cause| broken("a manifest arrived damaged").because(cause))?;
        let claim: Claim = self.service.open(&Pass { ticket, pipeline: pipeline.into_owned().into() }).await?;
        answer(&self.service.finish(&claim, draft.into_owned()).await?)
    }

    async fn shows(&self, ticket: Bytes, action: Action) -> Result<arrow_flight::Result> {
        let Shows { pipeline, seq, rows } = serde_json::from_slice(&action.body)
            .map_err(|cause| broken("a question arrived damaged").because(cause))?;
        let claim: Claim = self.service.open(&Pass { ticket, pipeline: pipeline.into_owned().into() }).await?;
        answer(&self.service.shows(&claim, seq, rows).await?)
    }

    async fn note(&self, ticket: Bytes, action: Action) -> Result<arrow_flight::Result> {
        let claim: Claim = self.service.open(&Pass { ticket, pipeline: action.body }).await?;
        answer(&self.service.note(&claim).await?)
    }

    async fn inputs(&self, ticket: Bytes, action: Action) -> Result<arrow_flight::Result> {
        let Inputs { pipeline, sha256 } = serde_json::from_slice(&action.body)
            .map_err(|cause| broken("a question arrived damaged").because(cause))?;
        let pass = Pass { ticket, pipeline: pipeline.into_owned().into() };
        answer(&self.service.inputs(&pass, &sha256).await?)
    }

    async fn verbatim(&self, ticket: Bytes, action: Action) -> Result<arrow_flight::Result> {
        let Ask { pipeline, rows } = serde_json::from_slice(&action.body)
            .map_err(|cause| broken("a question about rows arrived damaged").because(cause))?;
        let claim: Claim = self.service.open(&Pass { ticket, pipeline: pipeline.into_owned().into() }).await?;
        answer(&self.service.verbatim(&claim, &rows).await?)
    }
}

fn answer(result: &impl Serialize) -> Result<arrow_flight::Result> {
    let body = serde_json::to_vec(result)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "an answer cannot be written").because(cause))?;
    Ok(arrow_flight::Result { body: body.into() })
}

type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// The messages as they come; silence is an error.
fn timed(messages: Streaming<FlightData>) -> Messages {
    let timed = stream::try_unfold(messages, |mut messages| async move {
        match timeout(MAX_SILENCE, messages.next()).await {
            Ok(next) => Ok(next.transpose()?.map(|message| (message, messages))),
            Err(_) => Err(to_status(&broken("the sender of a batch stream fell silent"))),
        }
    });
    timed.boxed()
}

/// The schema, which comes first, and the batches after it. The stream ends well only at its end mark.
async fn batches(messages: Messages) -> Result<(SchemaRef, BatchStream)> {
    let end = Arc::new(OnceLock::new());
    let data = data_messages(messages, Arc::clone(&end));
    let mut decoder = FlightDataDecoder::new(data);
    let first = decoder.next().await.transpose().map_err(undecodable)?;
    let Some(DecodedPayload::Schema(schema)) = first.map(|message| message.payload) else {
        return Err(broken("a batch stream does not begin with its schema"));
    };
    let rows = stream::try_unfold((decoder, end, 0_u64), |(mut decoder, end, seen)| async move {
        Ok(next_batch(&mut decoder, &end, seen).await?.map(|batch| {
            let seen = seen + batch.num_rows() as u64;
            (batch, (decoder, end, seen))
        }))
    });
    Ok((schema, rows.boxed()))
}

async fn next_batch(
    decoder: &mut FlightDataDecoder,
    end: &OnceLock<EndMark>,
    seen: u64,
) -> Result<Option<RecordBatch>> {
    loop {
        match decoder.next().await.transpose().map_err(undecodable)?.map(|message| message.payload) {
            Some(DecodedPayload::RecordBatch(batch)) => return Ok(Some(batch)),
            Some(DecodedPayload::Schema(_)) => return Err(broken("a batch stream changes its schema")),
            Some(DecodedPayload::None) => {}
            None if end.get() == Some(&EndMark { rows: seen }) => return Ok(None),
            None => return Err(broken("a batch stream was cut off")),
        }
    }
}

/// The messages that carry data. The end mark is taken out, descriptors are refused.
fn data_messages(
    messages: Messages,
    end: Arc<OnceLock<EndMark>>,
) -> impl futures::Stream<Item = Result<FlightData, FlightError>> + Send + 'static {
    messages
        .and_then(move |message| future::ready(sorted(message, &end)))
        .try_filter_map(future::ok)
        .map_err(FlightError::from)
}

fn sorted(message: FlightData, end: &OnceLock<EndMark>) -> Result<Option<FlightData>, Status> {
    if message.flight_descriptor.is_some() {
        return Err(Status::invalid_argument("descriptors are not taken; a ticket says it all"));
    }
    match EndMark::of(&message) {
        None if end.get().is_none() => Ok(Some(message)),
        None => Err(to_status(&broken("a batch stream goes on after its end"))),
        Some(mark) => end
            .set(mark.map_err(|error| to_status(&error))?)
            .map(|()| None)
            .map_err(|_| to_status(&broken("a batch stream ends twice"))),
    }
}

fn undecodable(error: FlightError) -> WorkerError {
    match error {
        FlightError::Tonic(status) => wire::from_status(&status),
        other => broken("a batch stream cannot be decoded").because(other),
    }
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn unused<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this service takes DoPut and the actions finish, shows, inputs, note and verbatim"))
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let (ticket, verified) = self.ticket(request.metadata()).await.map_err(|error| to_status(&error))?;
        let part = Part::read(request.metadata());
        let part =
            part.ok_or_else(|| Status::invalid_argument("a put says whether it brings rows, dead letters or keys"))?;
        let span = trace::receiving(part, verified.ticket(), request.metadata());
        let asks_for_rest = request.metadata().contains_key(wire::REST);
        let put = Box::pin(self.put(ticket, part, request.into_inner()).instrument(span));
        let Staged { files, rest } = put.await.map_err(|error| to_status(&error))?;
        let rest = rest.filter(|_| asks_for_rest).map(|rest| Answer::Rest { rest });
        let answers = files.into_iter().map(Answer::File).chain(rest).map(|answer| match serde_json::to_vec(&answer) {
            Ok(body) => Ok(PutResult { app_metadata: body.into() }),
            Err(cause) => Err(Status::internal(cause.to_string())),
        });
        Ok(Response::new(stream::iter(answers.collect::<Vec<_>>()).boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let (ticket, verified) = self.ticket(request.metadata()).await.map_err(|error| to_status(&error))?;
        let span = trace::finishing(verified.ticket(), request.metadata());
        let action = request.into_inner();
        let result = match action.r#type.as_str() {
            wire::FINISH => Box::pin(self.finish(ticket, action).instrument(span)).await,
            wire::SHOWS => Box::pin(self.shows(ticket, action).instrument(span)).await,
            wire::INPUTS => Box::pin(self.inputs(ticket, action).instrument(span)).await,
            wire::VERBATIM => Box::pin(self.verbatim(ticket, action)).await,
            wire::NOTE => Box::pin(self.note(ticket, action).instrument(span)).await,
            _ => return unused(),
        };
        let result = result.map_err(|error| to_status(&error))?;
        Ok(Response::new(stream::once(future::ok(result)).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unused()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unused()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        unused()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unused()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unused()
    }

    async fn do_get(&self, _: Request<arrow_flight::Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        unused()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        unused()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        unused()
    }
}
