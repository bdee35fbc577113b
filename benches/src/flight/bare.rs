//! DoPut with arrow-flight and nothing of ours, or nothing but the limits of our connections: the rows are decoded, summed
//! up and dropped.

use anyhow::{Context, Result, ensure};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
    decode::FlightRecordBatchStream,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_client::FlightServiceClient,
    flight_service_server::{FlightService, FlightServiceServer},
};
use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};
use windrow_worker::flight::{MAX_MESSAGE_BYTES, endpoint_limits, server_limits};

use super::data::{self, Data};
use crate::other::say_port;

/// How the connections are set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Limits {
    /// As tonic comes.
    None,
    Ours,
}

pub(super) async fn serve(limits: Limits) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say_port(listener.local_addr()?.port())?;
    let service = FlightServiceServer::new(Bare).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut server = match limits {
        Limits::None => Server::builder(),
        Limits::Ours => server_limits(Server::builder()),
    };
    let server = server.add_service(service);
    Ok(server.serve_with_incoming(TcpListenerStream::new(listener)).await?)
}

pub(super) async fn send(port: u16, limits: Limits, data: &Data) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    let endpoint = match limits {
        Limits::None => endpoint,
        Limits::Ours => endpoint_limits(endpoint),
    };
    let mut client = FlightServiceClient::new(endpoint.connect().await?);
    let rows = data.clone().stream().map(Ok);
    let messages = FlightDataEncoderBuilder::new().with_schema(data.schema()).build(rows);
    // Nothing of it can fail: the rows are there and of one schema.
    let messages = messages.filter_map(|message| future::ready(message.ok()));
    let mut answers = client.do_put(messages).await?.into_inner();
    let answer = answers.message().await?.context("no answer")?;
    let found: (u64, i64) = serde_json::from_slice(&answer.app_metadata)?;
    ensure!(found == (data.rows(), data.sum()), "{found:?} arrived");
    Ok(())
}

struct Bare;

type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server takes rows and nothing else"))
}

#[tonic::async_trait]
impl FlightService for Bare {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let messages = request.into_inner().map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut rows = FlightRecordBatchStream::new_from_flight_data(messages);
        let mut found = (0_u64, 0_i64);
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| Status::internal(error.to_string()))?;
            found = (found.0 + batch.num_rows() as u64, found.1 + data::sum(&batch));
        }
        let body = serde_json::to_vec(&found).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(stream::iter([Ok(PutResult { app_metadata: body.into() })]).boxed()))
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

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        unused()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        unused()
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        unused()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        unused()
    }
}
