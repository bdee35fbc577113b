//! A recount: the whole route of a task that counts published windows again. No row moves: what their source holds now is proven,
//! and the coordinator knows what was loaded.

use tracing::Instrument;
use windrow_common::{
    clock::{Clock, SystemClock},
    error,
    pipeline::Pipeline,
};

use super::{Ingest, Leave, late, proof};
use crate::{
    error::{Result, WorkerError},
    flight::Pass,
    session::{Assignment, Progress},
};

impl Ingest {
    /// THE route. When it ends the coordinator knows.
    pub async fn recount(
        &self,
        pipeline: &Pipeline,
        task: &Assignment,
        (progress, leave): (&Progress, &dyn Leave),
    ) -> Result<()> {
        let source = self.connectors.source(pipeline)?;
        let hop = self.hops.to(task.flight_endpoint.as_deref())?;
        let pass = Pass { ticket: task.ticket.clone(), pipeline: task.pipeline.clone() };

        // What was published was complete, and read in this way.
        let read = tracing::info_span!("read");
        let looking = SystemClock::new();
        let slices = source.resolve(&task.window).instrument(read.clone()).await?;
        progress.add_listing(looking.elapsed());
        let found = late::in_words(&hop, &pass, task, &slices).await;
        let proof = proof::of(source.as_ref(), &slices, (pipeline, task)).instrument(read).await?;
        match leave.proven(proof.ok_or_else(nothing_proves)?, 0, found).await? {
            true => Ok(()),
            false => Err(WorkerError::later(error::FENCED, "nobody waits for this recount any more")),
        }
    }
}

fn nothing_proves() -> WorkerError {
    WorkerError::never(error::NOTHING_PROVES, "the source cannot prove what it holds")
        .fix("remove `window.audit_after`, or read from a database, a Delta table or files")
}
