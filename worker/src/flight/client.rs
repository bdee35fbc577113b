//! The way to a sink worker in another process: rows are cut to messages and sent as fast as the other side stages
//! them, no faster.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow_array::RecordBatch;
use arrow_flight::{
    Action, FlightData, encode::FlightDataEncoderBuilder, error::FlightError,
    flight_service_client::FlightServiceClient,
};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use serde::de::DeserializeOwned;
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use windrow_common::{
    count::counted,
    error,
    intent::Seq,
    manifest::{Digest, Input, Manifest, ManifestRef},
};

use super::{
    MAX_MESSAGE_BYTES, chunk,
    server::WINDOW_BYTES,
    service::{Part, Pass, Staged},
    trace,
    wire::{self, Answer, Ask, EndMark, Finish, Inputs, Shows, broken, from_status},
};
use crate::{
    error::{Result, WorkerError},
    sink::Note,
    stage::BatchStream,
    verbatim::Verbatim,
};

/// What a message carries beside its data.
const ENVELOPE_BYTES: usize = 64 << 10;

/// A connection to a sink worker. Clones share it.
#[derive(Clone)]
pub struct FlightHop {
    client: FlightServiceClient<Channel>,
}

/// Time-outs by which a dead peer is noticed, and windows wide enough for Flight.
pub fn endpoint_limits(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(5))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        // Together less than a worker's lease, so that a sink worker that stands still is found out before it ends.
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
}

impl FlightHop {
    pub fn new(channel: Channel) -> Self {
        let client = FlightServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { client }
    }

    /// Stages a stream under a claim's pass.
    pub async fn put(&self, pass: &Pass, part: Part, schema: SchemaRef, rows: BatchStream) -> Result<Staged> {
        let failure = Failure::default();
        let mut request = under(&pass.ticket, messages(pass.pipeline.clone(), schema, rows, failure.clone()));
        part.write(request.metadata_mut())?;
        request.metadata_mut().insert(wire::REST, MetadataValue::from_static("1"));
        let sent = Box::pin(collect(self.client.clone(), request)).await;
        // Where reading the rows failed, the broken stream is only what followed from it.
        match failure.take() {
            Some(error) => Err(error),
            None => sent,
        }
    }

    /// Writes the attempt's manifest.
    pub async fn finish(&self, pass: &Pass, draft: &Manifest) -> Result<ManifestRef> {
        let pipeline = text_of(pass)?.into();
        let body = serde_json::to_vec(&Finish { pipeline, draft: Cow::Borrowed(draft) }).map_err(|cause| {
            WorkerError::never(error::INTERNAL, "a manifest cannot be written as JSON").because(cause)
        })?;
        if body.len() > MAX_MESSAGE_BYTES - ENVELOPE_BYTES {
            return Err(WorkerError::never(error::SINK_UNSUPPORTED, "too many files for one manifest")
                .fix("partition by fewer values, or set a larger target size"));
        }
        let result = self.act(pass, wire::FINISH, body).await.map_err(|status| from_status(&status))?;
        answer(result)
    }

    /// Whether readers of the claim's sink see what the commit `seq` left, so many rows.
    pub async fn shows(&self, pass: &Pass, seq: Seq, rows: u64) -> Result<bool> {
        let body = serde_json::to_vec(&Shows { pipeline: text_of(pass)?.into(), seq, rows })
            .map_err(|cause| WorkerError::never(error::INTERNAL, "a question cannot be written").because(cause))?;
        let result = self.act(pass, wire::SHOWS, body).await.map_err(|status| from_status(&status))?;
        answer(result)
    }

    /// What the sink notes before keys are compared.
    pub async fn note(&self, pass: &Pass) -> Result<Note> {
        let result = self.act(pass, wire::NOTE, pass.pipeline.to_vec()).await;
        answer(result.map_err(|status| from_status(&status))?)
    }

    /// What the claim's window was loaded from, as the manifest with this digest says.
    pub async fn inputs(&self, pass: &Pass, sha256: &Digest) -> Result<Vec<Input>> {
        let body = serde_json::to_vec(&Inputs { pipeline: text_of(pass)?.into(), sha256: *sha256 })
            .map_err(|cause| WorkerError::never(error::INTERNAL, "a question cannot be written").because(cause))?;
        let result = self.act(pass, wire::INPUTS, body).await.map_err(|status| from_status(&status))?;
        answer(result)
    }

    /// Why the sink takes no rows as they are; `None` if it takes them.
    pub async fn verbatim(&self, pass: &Pass, rows: &Verbatim) -> Result<Option<String>> {
        let ask = Ask { pipeline: text_of(pass)?.into(), rows: Cow::Borrowed(rows) };
        let body = serde_json::to_vec(&ask).map_err(|cause| {
            WorkerError::never(error::INTERNAL, "a question cannot be written as JSON").because(cause)
        })?;
        match self.act(pass, wire::VERBATIM, body).await {
            Ok(result) => answer(result),
            Err(status) if status.code() == Code::Unimplemented => {
                Ok(Some("the sink worker is of a version that decodes all rows".to_owned()))
            }
            Err(status) => Err(from_status(&status)),
        }
    }

    async fn act(&self, pass: &Pass, action: &str, body: Vec<u8>) -> Result<Option<arrow_flight::Result>, Status> {
        let request = under(&pass.ticket, Action { r#type: action.to_owned(), body: body.into() });
        self.client.clone().do_action(request).await?.into_inner().message().await
    }
}

fn answer<T: DeserializeOwned>(result: Option<arrow_flight::Result>) -> Result<T> {
    let result = result.ok_or_else(|| broken("the sink worker does not answer"))?;
    serde_json::from_slice(&result.body).map_err(|cause| broken("the sink worker's answer is damaged").because(cause))
}

fn text_of(pass: &Pass) -> Result<&str> {
    std::str::from_utf8(&pass.pipeline)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a pipeline is no text").because(cause))
}

fn under<T>(ticket: &Bytes, message: T) -> Request<T> {
    let mut request = Request::new(message);
    trace::inject(request.metadata_mut());
    request.metadata_mut().insert_bin(wire::TICKET, MetadataValue::from_bytes(ticket));
    request
}

async fn collect(
    mut client: FlightServiceClient<Channel>,
    request: Request<impl Stream<Item = FlightData> + Send + 'static>,
) -> Result<Staged> {
    let mut answers = client.do_put(request).await.map_err(|status| from_status(&status))?.into_inner();
    let mut staged = Staged { files: Vec::new(), rest: None };
    while let Some(answer) = answers.message().await.map_err(|status| from_status(&status))? {
        let answer = serde_json::from_slice(&answer.app_metadata);
        match answer.map_err(|cause| broken("the sink worker's answer is damaged").because(cause))? {
            Answer::File(file) => staged.files.push(file),
            Answer::Rest { rest } => staged.rest = Some(rest),
        }
    }
    Ok(staged)
}

/// The rows as messages, the first with the pipeline, and, if all went well, the end mark. A failure ends the stream
/// without it.
pub(super) fn messages(
    pipeline: Bytes,
    schema: SchemaRef,
    rows: BatchStream,
    failure: Failure,
) -> impl Stream<Item = FlightData> + Send + 'static {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let pieces = rows
        .map_ok(|batch| stream::iter(chunk::pieces(batch)).map_err(uncut))
        .try_flatten()
        .inspect_ok(move |piece: &RecordBatch| {
            counter.fetch_add(piece.num_rows() as u64, Ordering::Relaxed);
        })
        .map_err(|error| FlightError::ExternalError(Box::new(error)));
    let data = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_metadata(pipeline)
        .with_max_flight_data_size(chunk::PIECE_BYTES);
    let data = data.build(pieces).map_err(unencoded).and_then(|message| future::ready(sendable(message)));
    let end = stream::once(future::lazy(move |_| Ok(EndMark { rows: sent.load(Ordering::Relaxed) }.into_message())));
    data.chain(end).scan(failure, |failure, message| {
        future::ready(match message {
            Ok(message) => Some(message),
            Err(error) => {
                failure.keep(error);
                None
            }
        })
    })
}

fn sendable(message: FlightData) -> Result<FlightData> {
    let bytes = message.data_header.len() + message.data_body.len();
    if bytes <= MAX_MESSAGE_BYTES - ENVELOPE_BYTES {
        return Ok(message);
    }
    Err(WorkerError::never(
        error::INPUT_TOO_LARGE,
        format!("a row takes {}, more than a message holds", counted(bytes, "byte")),
    )
    .fix("shorten or leave out large values in a transform"))
}

fn uncut(cause: arrow_schema::ArrowError) -> WorkerError {
    WorkerError::never(error::INTERNAL, "a batch cannot be cut").because(cause)
}

fn unencoded(error: FlightError) -> WorkerError {
    match error {
        FlightError::ExternalError(cause) => match cause.downcast::<WorkerError>() {
            Ok(error) => *error,
            Err(cause) => broken("a batch stream cannot be sent").because(cause),
        },
        other => WorkerError::never(error::INTERNAL, "a batch cannot be encoded").because(other),
    }
}

/// Where the sending half leaves its error for the half that waits.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<WorkerError>>>);

impl Failure {
    fn keep(&self, error: WorkerError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take(&self) -> Option<WorkerError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
