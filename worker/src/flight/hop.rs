//! The hop as those who read sources see it: the same calls whether the sink worker is this process or another.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use tracing::Instrument;
use windrow_common::{
    intent::Seq,
    manifest::{Digest, Input, Manifest, ManifestRef},
};

use super::{
    client::FlightHop,
    service::{Part, Pass, StageService, Staged},
    trace,
};
use crate::{error::Result, sink::Note, stage::BatchStream, verbatim::Verbatim};

/// The way to the worker that stages.
#[derive(Clone)]
pub enum Hop {
    /// This process: batches are passed on without encoding.
    Local(Arc<StageService>),
    Remote(FlightHop),
}

impl Hop {
    /// Why the pipeline's sink takes no rows as they are, in words; `None` if it takes them.
    pub async fn verbatim(&self, pass: &Pass, rows: &Verbatim) -> Result<Option<String>> {
        match self {
            Self::Local(service) => service.verbatim(&service.open(pass).await?, rows).await,
            Self::Remote(hop) => hop.verbatim(pass, rows).await,
        }
    }

    /// Stages a stream under a claim's pass. When it fails nothing is visible; the attempt is over.
    pub async fn put(&self, pass: &Pass, part: Part, schema: SchemaRef, rows: BatchStream) -> Result<Staged> {
        match self {
            Self::Local(service) => {
                let claim = service.open(pass).await?;
                service.put(&claim, part, schema, rows).instrument(trace::staging(part)).await
            }
            Self::Remote(hop) => hop.put(pass, part, schema, rows).instrument(trace::sending(part)).await,
        }
    }

    /// What the sink notes before keys are compared.
    pub async fn note(&self, pass: &Pass) -> Result<Note> {
        match self {
            Self::Local(service) => service.note(&service.open(pass).await?).await,
            Self::Remote(hop) => hop.note(pass).await,
        }
    }

    /// Whether readers of the claim's sink see what the commit `seq` left, so many rows.
    pub async fn shows(&self, pass: &Pass, seq: Seq, rows: u64) -> Result<bool> {
        match self {
            Self::Local(service) => service.shows(&service.open(pass).await?, seq, rows).await,
            Self::Remote(hop) => hop.shows(pass, seq, rows).await,
        }
    }

    /// What the claim's window was loaded from, as the manifest with this digest says.
    pub async fn inputs(&self, pass: &Pass, sha256: &Digest) -> Result<Vec<Input>> {
        match self {
            Self::Local(service) => service.inputs(pass, sha256).await,
            Self::Remote(hop) => hop.inputs(pass, sha256).await,
        }
    }

    /// Writes the attempt's manifest; what it returns may be sealed.
    pub async fn finish(&self, pass: &Pass, draft: Manifest) -> Result<ManifestRef> {
        match self {
            Self::Local(service) => service.finish(&service.open(pass).await?, draft).await,
            Self::Remote(hop) => hop.finish(pass, &draft).await,
        }
    }
}
