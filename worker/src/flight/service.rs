//! Staging for claims: the one door to the sinks' storage for those who read sources, in this process or another. It
//! takes signed tickets only. It may not know gRPC.

use std::{sync::Arc, time::Duration};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::Semaphore, time::sleep};
use windrow_common::{
    clock::Clock,
    error,
    intent::Seq,
    manifest::{Counts, Digest, Input, Manifest, ManifestRef, StagedFile},
    pipeline::Pipeline,
    ticket::{Ticket, TicketError, TicketKeys, Verified},
};

use crate::{
    error::{Result, WorkerError},
    open::read_pipeline,
    sink::{Deletions, Note, Noted, Sink},
    stage::{Attempt, BatchStream, Fitting, Layout, StagedName, Unfit, dead_letters, manifest, stage},
    verbatim::Verbatim,
};

/// How often a key that is not known yet is looked for again, and how many times. A new leader tells its key to readers, by
/// their tickets, and to sink workers on different ways, and the tickets may be faster.
const KEY_LOOKS: (Duration, u32) = (Duration::from_millis(20), 100);

/// Opens the sink of a pipeline.
pub type SinkResolver = Arc<dyn Fn(&Pipeline) -> Result<Arc<dyn Sink>> + Send + Sync>;

/// What opens a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Signed by the coordinator.
    pub ticket: Bytes,
    /// The JSON of the pipeline the ticket names the digest of.
    pub pipeline: Bytes,
}

/// A pass that was found good, and the sink it opens. Only [`StageService::open`] makes one.
pub struct Claim {
    verified: Verified,
    sink: Arc<dyn Sink>,
}

impl Claim {
    pub fn ticket(&self) -> &Ticket {
        self.verified.ticket()
    }

    /// The attempt whose files may be staged.
    pub fn attempt(&self) -> Attempt {
        let ticket = self.ticket();
        Attempt { task: ticket.task, token: ticket.token, window: ticket.window }
    }
}

/// What the rows of a put are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Rows of the table.
    Rows,
    /// Rejected input, in the columns of [`dead_letters::schema`].
    DeadLetters,
    /// All keys of the source, to be compared with those of the table. What is staged are those to be deleted.
    Keys(Noted),
}

/// Stages what claims send.
pub struct StageService {
    sinks: SinkResolver,
    keys: TicketKeys,
    clock: Arc<dyn Clock>,
    puts: Semaphore,
    /// Dead letters are put while their rows are; they must not wait for those.
    letters: Semaphore,
}

impl StageService {
    /// At most `max_puts` streams are staged at a time; others wait, which holds their senders back.
    pub fn new(sinks: SinkResolver, keys: TicketKeys, clock: Arc<dyn Clock>, max_puts: usize) -> Self {
        Self { sinks, keys, clock, puts: Semaphore::new(max_puts), letters: Semaphore::new(max_puts) }
    }

    /// What a ticket says. `TICKET_REFUSED` unless it is genuine and in time.
    pub async fn check(&self, ticket: &[u8]) -> Result<Verified> {
        let (pause, mut looks) = KEY_LOOKS;
        loop {
            match self.keys.verify(ticket, self.clock.now()) {
                Err(TicketError::UnknownKey) if looks > 0 => sleep(pause).await,
                verified => return verified.map_err(|cause| refused(cause.to_string())),
            }
            looks -= 1;
        }
    }

    /// What a pass allows. `TICKET_REFUSED` unless the ticket is good and was signed for this pipeline and its sink.
    pub async fn open(&self, pass: &Pass) -> Result<Claim> {
        let verified = self.check(&pass.ticket).await?;
        let ticket = verified.ticket();
        if !ticket.is_for(&pass.pipeline) {
            return Err(refused("a ticket came with another pipeline than it was signed for".to_owned()));
        }
        let pipeline = read_pipeline(&pass.pipeline)?;
        if pipeline.name != ticket.pipeline || pipeline.sink.id() != ticket.sink {
            return Err(refused(format!("a ticket for {} names {}", pipeline.name, ticket.sink)));
        }
        let sink = (self.sinks)(&pipeline)?;
        Ok(Claim { verified, sink })
    }

    /// Why the claim's sink takes no rows as they are, in words; `None` if it takes them.
    pub async fn verbatim(&self, claim: &Claim, rows: &Verbatim) -> Result<Option<String>> {
        claim.sink.verbatim(rows).await
    }

    /// Stages a stream of rows of `schema` for the claim's sink. A claim may put any number of streams, at once too.
    pub async fn put(&self, claim: &Claim, part: Part, schema: SchemaRef, rows: BatchStream) -> Result<Staged> {
        let places = match part {
            Part::Rows | Part::Keys(_) => &self.puts,
            Part::DeadLetters => &self.letters,
        };
        let _place = places.acquire().await.map_err(|cause| {
            WorkerError::later(error::FLIGHT_BROKEN, "the sink worker is shutting down").because(cause)
        })?;
        let sink = &claim.sink;
        match part {
            Part::Rows => {
                let layout = sink.layout(without_dictionaries(&schema)).await?;
                stage_rows(sink.as_ref(), &layout, &claim.attempt(), rows).await
            }
            Part::DeadLetters => {
                let files = stage(sink.storage(), &dead_letters::layout(), &claim.attempt(), rows).await?;
                Ok(Staged { files, rest: None })
            }
            Part::Keys(noted) => {
                let keys = (without_dictionaries(&schema), rows);
                let Deletions { schema, files } = sink.compare(noted, &claim.attempt(), keys).await?;
                let schema = serde_json::to_value(schema.as_ref()).map_err(unwritable)?;
                Ok(Staged { files, rest: Some(Rest { schema, unfit: Unfit::default() }) })
            }
        }
    }

    /// What the claim's sink notes before keys are compared.
    pub async fn note(&self, claim: &Claim) -> Result<Note> {
        claim.sink.note().await
    }

    /// Whether readers of the claim's sink see what the commit `seq` left, so many rows.
    pub async fn shows(&self, claim: &Claim, seq: Seq, rows: u64) -> Result<bool> {
        claim.sink.shows(seq, rows).await
    }

    /// What the claim's window was loaded from, as the manifest with this digest says: the window of the pipeline the claim's one
    /// loads beside, if it does that.
    pub async fn inputs(&self, pass: &Pass, sha256: &Digest) -> Result<Vec<Input>> {
        let claim = self.open(pass).await?;
        let pipeline = read_pipeline(&pass.pipeline)?;
        let (name, sink) = match pipeline.beside.clone() {
            None => (pipeline.name, claim.sink.clone()),
            Some(beside) => {
                let of = Pipeline { name: beside.of.clone(), sink: beside.sink, beside: None, ..pipeline };
                (beside.of, (self.sinks)(&of)?)
            }
        };
        let found = manifest::find_manifest(sink.storage(), sha256).await?;
        match (&found.pipeline, &found.window) == (&name, &claim.ticket().window) {
            true => Ok(found.inputs),
            false => Err(refused(format!("a ticket for {name} asks for a manifest of {}", found.pipeline))),
        }
    }

    /// Checks a claim's manifest, sums its counts up and writes it; what it returns may be sealed. `rows_read`, `values_discarded` and
    /// `rows_deleted` are taken from the draft, everything else is counted here. `TICKET_REFUSED` when the manifest or a file is of another claim.
    pub async fn finish(&self, claim: &Claim, draft: Manifest) -> Result<ManifestRef> {
        let sink = &claim.sink;
        check_identity(claim, &draft)?;
        check_names(claim, &draft)?;
        manifest::verify_files(sink.storage(), &draft.files).await?;
        manifest::verify_files(sink.storage(), &draft.dead_letters).await?;
        let counts = counted(&draft);
        manifest::put_manifest(sink.storage(), &Manifest { counts, ..draft }).await
    }
}

/// What a put staged.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    pub files: Vec<StagedFile>,
    /// Of rows; a sink worker of an older version does not tell.
    pub rest: Option<Rest>,
}

/// What is to be known of staged rows beside their files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    /// The schema they have in the files, its columns marked where the table is to change for them.
    pub schema: Value,
    pub unfit: Unfit,
}

async fn stage_rows(sink: &dyn Sink, layout: &Layout, attempt: &Attempt, rows: BatchStream) -> Result<Staged> {
    let schema = layout.told().map_err(unwritable)?;
    if !layout.changes.discards() {
        let files = sink.stage(layout, attempt, rows).await?;
        return Ok(Staged { files, rest: Some(Rest { schema, unfit: Unfit::default() }) });
    }
    let fitting = Fitting::new(sink.storage(), layout, attempt);
    let files = sink.stage(layout, attempt, fitting.rows(rows)).await?;
    Ok(Staged { files, rest: Some(Rest { schema, unfit: fitting.finish().await? }) })
}

fn unwritable(cause: serde_json::Error) -> WorkerError {
    WorkerError::never(error::INTERNAL, "a schema cannot be written as JSON").because(cause)
}

fn refused(message: String) -> WorkerError {
    WorkerError::later(error::TICKET_REFUSED, message)
}

/// The wire expands dictionaries; a sink sees the same schema whichever way the rows come.
pub(crate) fn without_dictionaries(schema: &Schema) -> SchemaRef {
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
        rows_written: draft.files.iter().map(|file| file.rows).sum::<u64>().saturating_sub(draft.counts.rows_deleted),
        rows_rejected: draft.dead_letters.iter().map(|file| file.rows).sum(),
        bytes_written: draft.files.iter().map(|file| file.bytes).sum(),
        files: draft.files.len() as u64,
        values_discarded: draft.counts.values_discarded,
        rows_deleted: draft.counts.rows_deleted,
    }
}
