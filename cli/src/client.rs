//! Talking to a cluster's admin API: over the network to whichever coordinator leads, or to one in this process.

use std::{future::Future, time::Duration};

use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use windrow_common::error;
use windrow_proto::{
    MAX_MESSAGE_BYTES,
    status::{RemoteError, remote_error},
    v1::admin_service_client::AdminServiceClient,
};

use crate::trace;

pub type AdminClient = AdminServiceClient<Channel>;

/// A client of the leader; asks another coordinator when one does not answer or does not lead.
#[derive(Clone)]
pub struct Admin {
    coordinators: Vec<(String, Channel)>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no coordinator at {tried} answers: {last}")]
    Unreachable { tried: String, last: String },
    #[error("{address:?} is no address: {cause}")]
    BadAddress { address: String, cause: String },
    #[error(transparent)]
    Remote(#[from] Box<RemoteError>),
}

/// How long to look for a leader: an election takes as long as the lease of the one before.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two rounds of asking, at first and at most: a coordinator in this process leads in a moment, an election takes longer.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

impl ClientError {
    /// The code of the catalogue.
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable { .. } => error::UNREACHABLE.code,
            Self::BadAddress { .. } => error::USAGE.code,
            Self::Remote(remote) => &remote.code,
        }
    }

    pub fn fix(&self) -> Option<&str> {
        match self {
            Self::Unreachable { .. } => Some(
                "name the coordinators with --coordinator or WINDROW_COORDINATOR, or work on this machine with --local PATH",
            ),
            Self::BadAddress { .. } => Some("write it as http://host:port"),
            Self::Remote(remote) => remote.fix.as_deref(),
        }
    }
}

impl Admin {
    /// Of coordinators at `host:port` or `http://host:port`.
    pub fn connect(addresses: &[String]) -> Result<Self, ClientError> {
        let channel = |address: &String| {
            let bad = |cause: tonic::transport::Error| ClientError::BadAddress {
                address: address.clone(),
                cause: cause.to_string(),
            };
            // A coordinator that stands still takes connections and never answers; without this a command would wait for it
            // for ever and not ask another.
            let endpoint = Endpoint::from_shared(with_scheme(address))
                .map_err(bad)?
                .connect_timeout(Duration::from_secs(2))
                .http2_keep_alive_interval(Duration::from_secs(2))
                .keep_alive_timeout(Duration::from_secs(3));
            Ok((address.clone(), endpoint.connect_lazy()))
        };
        Ok(Self { coordinators: addresses.iter().map(channel).collect::<Result<_, ClientError>>()? })
    }

    /// Of the coordinator in this process.
    pub fn local(channel: Channel) -> Self {
        Self { coordinators: vec![("in-process".to_owned(), channel)] }
    }

    /// Sends a request to the leader, looking for it among the coordinators. Requests may be sent twice, so what changes
    /// something carries a request id or does no harm when repeated.
    pub async fn call<Req, Res, F>(
        &self,
        request: Req,
        call: impl Fn(AdminClient, Request<Req>) -> F,
    ) -> Result<Res, ClientError>
    where
        Req: Clone,
        F: Future<Output = Result<Response<Res>, Status>>,
    {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let mut last = None;
            for (_, channel) in &self.coordinators {
                let client = AdminClient::new(channel.clone()).max_decoding_message_size(16 * MAX_MESSAGE_BYTES);
                match call(client, traced(request.clone())).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) if is_gone(&status) => last = Some(status),
                    Err(status) => return Err(Box::new(remote_error(&status)).into()),
                }
            }
            if tokio::time::Instant::now() >= deadline {
                let tried =
                    self.coordinators.iter().map(|(address, _)| address.as_str()).collect::<Vec<_>>().join(", ");
                let last = last.map(|status| status.message().to_owned()).unwrap_or_default();
                return Err(ClientError::Unreachable { tried, last });
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// Whether another coordinator has to be asked: this one does not lead, does not answer, or went while it was about to.
fn is_gone(status: &Status) -> bool {
    let broken = std::error::Error::source(status).is_some_and(|cause| cause.is::<tonic::transport::Error>());
    broken || status.code() == Code::Unavailable
}

/// `host:port` as an address with a scheme.
pub fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

/// The request with the trace it belongs to.
fn traced<T>(body: T) -> Request<T> {
    let mut request = Request::new(body);
    trace::hand_on(request.metadata_mut());
    request
}
