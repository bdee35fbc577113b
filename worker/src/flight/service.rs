//! Staging for claims: the one door to the sinks' storage for those who read sources, in this process or another. It
//! takes signed tickets only. It may not know gRPC.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tokio::sync::Semaphore;
use windrow_common::{
    clock::Clock,
    error,
    id::SinkId,
    manifest::{Counts, Manifest, ManifestRef, StagedFile},
};

use super::ticket::{Claim, TicketKeys};
use crate::{
    error::{Result, WorkerError},
    sink::Sink,
    stage::{BatchStream, StagedName, dead_letters, manifest, stage},
};

/// Finds the opened sink of a lane of commits; `None` when this worker does not serve it.
pub type SinkResolver = Arc<dyn Fn(&SinkId) -> Option<Arc<dyn Sink>> + Send + Sync>;

/// What the rows of a put are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Rows of the table.
    Rows,
    /// Rejected input, in the columns of [`dead_letters::schema`].
    DeadLetters,
}

/// Stages what claims send.
pub struct StageService {
    sinks: SinkResolver,
    keys: TicketKeys,
    clock: Arc<dyn Clock>,
    puts: Semaphore,
}

impl StageService {
    /// At most `max_puts` streams are staged at a time; others wait, which holds their senders back.
    pub fn new(sinks: SinkResolver, keys: TicketKeys, clock: Arc<dyn Clock>, max_puts: usize) -> Self {
        Self { sinks, keys, clock, puts: Semaphore::new(max_puts) }
    }

    /// What a ticket allows. `TICKET_REFUSED` unless it is genuine and in time.
    pub fn open(&self, ticket: &[u8]) -> Result<Claim> {
        self.keys.verify(ticket, self.clock.now())
    }

    /// Stages a stream of rows of `schema` for the claim's sink. A claim may put any number of streams, at once too.
    pub async fn put(
        &self,
        claim: &Claim,
        part: Part,
        schema: SchemaRef,
        rows: BatchStream,
    ) -> Result<Vec<StagedFile>> {
        let _place = self.puts.acquire().await.map_err(|cause| {
            WorkerError::later(error::FLIGHT_BROKEN, "the sink worker is shutting down").because(cause)
        })?;
        let sink = self.sink(claim)?;
        let layout = match part {
            Part::Rows => sink.layout(without_dictionaries(&schema)).await?,
            Part::DeadLetters => dead_letters::layout(),
        };
        stage(sink.storage(), &layout, &claim.attempt(), rows).await
    }

    /// Checks a claim's manifest, sums its counts up and writes it; what it returns may be sealed. `rows_read` is taken
    /// from the draft, everything else is counted here. `TICKET_REFUSED` when the manifest or a file is of another claim.
    pub async fn finish(&self, claim: &Claim, draft: Manifest) -> Result<ManifestRef> {
        let sink = self.sink(claim)?;
        check_identity(claim, &draft)?;
        check_names(claim, &draft)?;
        manifest::verify_files(sink.storage(), &draft.files).await?;
        manifest::verify_files(sink.storage(), &draft.dead_letters).await?;
        let counts = counted(&draft);
        manifest::put_manifest(sink.storage(), &Manifest { counts, ..draft }).await
    }

    fn sink(&self, claim: &Claim) -> Result<Arc<dyn Sink>> {
        let id = &claim.ticket().sink;
        (self.sinks)(id).ok_or_else(|| {
            WorkerError::later(error::FLIGHT_BROKEN, "this worker does not serve the sink").at(id.to_string())
        })
    }
}

/// The wire expands dictionaries; a sink sees the same schema whichever way the rows come.
fn without_dictionaries(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, values) => Arc::new(field.as_ref().clone().with_data_type(values.as_ref().clone())),
        _ => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(plain).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn check_identity(claim: &Claim, draft: &Manifest) -> Result<()> {
    let ticket = claim.ticket();
    let same = draft.task == ticket.task
        && draft.token == ticket.token
        && draft.attempt == ticket.attempt
        && draft.pipeline == ticket.pipeline
        && draft.sink == ticket.sink
        && draft.window == ticket.window;
    if same {
        return Ok(());
    }
    Err(WorkerError::never(error::TICKET_REFUSED, "a manifest is for another claim than its ticket")
        .at(format!("task {}", draft.task)))
}

/// Every file was staged by this very attempt, in its place, and is named once.
fn check_names(claim: &Claim, draft: &Manifest) -> Result<()> {
    let ticket = claim.ticket();
    let letters = format!("{}/", dead_letters::FOLDER);
    let data = draft.files.iter().map(|file| (file, false));
    let rejected = draft.dead_letters.iter().map(|file| (file, true));
    let mut seen = std::collections::HashSet::new();
    for (file, is_letter) in data.chain(rejected) {
        let mine = StagedName::parse(&file.path).is_some_and(|name| name.belongs_to(&ticket.task, ticket.token));
        let in_place = file.path.starts_with(&letters) == is_letter && !file.path.split('/').any(|part| part == "..");
        if !mine || !in_place || !seen.insert(&file.path) || !ticket.window.covers(&file.window) {
            return Err(WorkerError::never(error::TICKET_REFUSED, "a manifest names a file its claim did not stage")
                .at(file.path.clone()));
        }
    }
    Ok(())
}

fn counted(draft: &Manifest) -> Counts {
    Counts {
        rows_read: draft.counts.rows_read,
        rows_written: draft.files.iter().map(|file| file.rows).sum(),
        rows_rejected: draft.dead_letters.iter().map(|file| file.rows).sum(),
        bytes_written: draft.files.iter().map(|file| file.bytes).sum(),
        files: draft.files.len() as u64,
    }
}
