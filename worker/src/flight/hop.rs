//! The hop as those who read sources see it: the same two calls whether the sink worker is this process or another.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use windrow_common::manifest::{Manifest, ManifestRef, StagedFile};

use super::{
    client::FlightHop,
    service::{Part, StageService},
};
use crate::{error::Result, stage::BatchStream};

/// The way to the worker that stages.
#[derive(Clone)]
pub enum Hop {
    /// This process: batches are passed on without encoding.
    Local(Arc<StageService>),
    Remote(FlightHop),
}

impl Hop {
    /// Stages a stream under a claim's signed ticket. When it fails nothing is visible; the attempt is over.
    pub async fn put(
        &self,
        ticket: &Bytes,
        part: Part,
        schema: SchemaRef,
        rows: BatchStream,
    ) -> Result<Vec<StagedFile>> {
        match self {
            Self::Local(service) => service.put(&service.open(ticket)?, part, schema, rows).await,
            Self::Remote(hop) => hop.put(ticket, part, schema, rows).await,
        }
    }

    /// Writes the attempt's manifest; what it returns may be sealed.
    pub async fn finish(&self, ticket: &Bytes, draft: Manifest) -> Result<ManifestRef> {
        match self {
            Self::Local(service) => service.finish(&service.open(ticket)?, draft).await,
            Self::Remote(hop) => hop.finish(ticket, &draft).await,
        }
    }
}
