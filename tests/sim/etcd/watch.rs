//! Watches.

use std::pin::Pin;

use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchServer, PbWatchService};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use windrow_coordinator::store::{MetaStore, Range, Revision, StoreError};

use super::{Etcd, wire};

pub(super) fn service(etcd: Etcd) -> PbWatchServer<Etcd> {
    PbWatchServer::new(etcd)
}

#[tonic::async_trait]
impl PbWatchService for Etcd {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<PbWatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<Streaming<PbWatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let requests = request.into_inner();
        let (responses, stream) = mpsc::channel(64);
        let etcd = self.clone();
        tokio::spawn(async move {
            let _ = etcd.serve(requests, responses).await;
        });
        Ok(Response::new(ReceiverStream::new(stream).map(Ok).boxed()))
    }
}

impl Etcd {
    /// One watch per stream, which is how the store watches.
    async fn serve(
        &self,
        mut requests: Streaming<PbWatchRequest>,
        responses: mpsc::Sender<PbWatchResponse>,
    ) -> anyhow::Result<()> {
        let Some(PbWatchRequest { request_union: Some(PbWatchRequestUnion::CreateRequest(create)) }) =
            requests.message().await?
        else {
            return Ok(());
        };
        let prefix = wire::prefix_before(&create.range_end);
        let from = (create.start_revision > 0).then_some(Revision(create.start_revision));
        let newest = self.world.store.range(Range { limit: 1, ..Range::prefix("/") }).await?.revision;
        let mut watch = self.world.store.watch(prefix, from).await?;
        let created = PbWatchResponse { header: wire::header(newest), created: true, ..Default::default() };
        responses.send(created).await?;
        loop {
            let batch = tokio::select! {
                biased;
                request = requests.message() => match request? {
                    // Asked to cancel, or gone.
                    Some(PbWatchRequest { request_union: Some(PbWatchRequestUnion::ProgressRequest(_)) }) => continue,
                    _ => return Ok(()),
                },
                batch = watch.batches.recv() => batch,
            };
            let response = match batch {
                Some(Ok(batch)) => PbWatchResponse {
                    header: wire::header(batch.revision),
                    events: batch.events.into_iter().map(wire::event).collect(),
                    ..Default::default()
                },
                Some(Err(StoreError::Compacted { oldest, .. })) => PbWatchResponse {
                    header: wire::header(newest),
                    canceled: true,
                    compact_revision: oldest.0 - 1,
                    ..Default::default()
                },
                _ => return Ok(()),
            };
            responses.send(response).await?;
        }
    }
}
