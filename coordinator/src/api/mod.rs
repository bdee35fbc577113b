//! The gRPC services: decode, command, encode. No decisions are made here.

mod admin;
mod closing;
mod ready;
mod refusal;
mod session;
mod view;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::{
    Status,
    transport::{Server, server::Connected},
};
use windrow_common::{error, shutdown::Shutdown};
use windrow_proto::{
    MAX_MESSAGE_BYTES,
    status::status,
    v1::{DESCRIPTORS, admin_service_server::AdminServiceServer, session_service_server::SessionServiceServer},
};

use crate::{controller::Handle, run::Standing, trace};

/// Serves everything a coordinator offers on the connections that come in, until stopping begins. Followers serve too:
/// they answer who leads.
pub async fn serve<I, IO>(
    standing: Arc<Standing>,
    incoming: I,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = Result<IO, std::io::Error>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter.set_serving::<AdminServiceServer<admin::Admin>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .unwrap_or_else(|error| unreachable!("the descriptors come from the build: {error}"));
    let admin =
        AdminServiceServer::new(admin::Admin::new(Arc::clone(&standing))).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let session = SessionServiceServer::new(session::Sessions::new(standing, shutdown.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    Server::builder()
        .trace_fn(trace::of_request)
        .max_concurrent_streams(1_024)
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(10)))
        .add_service(health)
        .add_service(reflection)
        .add_service(admin)
        .add_service(session)
        .serve_with_incoming_shutdown(incoming, async move { shutdown.begun().await })
        .await
}

/// The controller, or the answer that another coordinator leads.
fn leading(standing: &Standing) -> Result<Handle, Status> {
    standing.controller().ok_or_else(|| {
        let leader = standing.leader();
        let hint =
            if leader.is_empty() { "no coordinator leads at the moment".to_owned() } else { format!("{leader} leads") };
        status(tonic::Code::Unavailable, error::NOT_LEADER, hint)
    })
}
