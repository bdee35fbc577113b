//! What users ask for.

use tracing::info;
use windrow_common::{
    id::{BackfillId, PipelineName},
    pipeline::Pipeline,
    task::Lane,
};

use super::{Command, CommandError, Controller};
use crate::{
    core::{
        apply::{self, Applied},
        backfill::{self, Backfill, Phase},
        coverage::IntervalSet,
        lifecycle,
        table::{Change, Record},
    },
    ledger::LedgerError,
};

impl Controller {
    /// Carries a command out. Errors of the ledger that end the leadership are returned besides being answered.
    pub(super) async fn obey(&mut self, command: Command) -> Result<(), LedgerError> {
        match command {
            Command::Apply { pipelines, validate_only, reply } => {
                let answer = self.apply(&pipelines, validate_only).await;
                respond(reply, answer)
            }
            Command::Pause { name, note, reply } => {
                let answer = self.pause(&name, note).await;
                respond(reply, answer)
            }
            Command::CreateBackfill { request, origin, validate_only, reply } => {
                let answer = self.create_backfill(&request, origin, validate_only).await;
                respond(reply, answer)
            }
            Command::SetBackfill { id, phase, reply } => {
                let answer = self.set_backfill(&id, phase).await;
                respond(reply, answer)
            }
        }
    }

    async fn apply(
        &mut self,
        pipelines: &[Pipeline],
        validate_only: bool,
    ) -> Result<Vec<(PipelineName, Applied)>, CommandError> {
        let (change, applied) = apply::apply(&self.table, pipelines)?;
        if !validate_only && !change.is_empty() {
            self.persist(&change).await?;
            info!(pipelines = pipelines.len(), "applied");
        }
        Ok(pipelines.iter().map(|pipeline| pipeline.name.clone()).zip(applied).collect())
    }

    async fn pause(&mut self, name: &PipelineName, note: Option<String>) -> Result<(), CommandError> {
        let Some(entry) = self.table.pipeline(name) else {
            return Err(CommandError::NotFound(format!("no pipeline is called {name}")));
        };
        let mut state = entry.state.value.clone();
        state.paused = note;
        let change = Change::replace(Record::Pipeline(state), entry.state.revision);
        self.persist(&change).await?;
        Ok(())
    }

    /// The id follows from the request's, so a repeat finds what the first one made.
    async fn create_backfill(
        &mut self,
        request: &backfill::Request,
        origin: backfill::Origin,
        validate_only: bool,
    ) -> Result<Backfill, CommandError> {
        let id = backfill_id(&origin.request_id);
        if let Some(existing) = self.table.backfill(&id) {
            return Ok(existing.value.clone());
        }
        let backfill = backfill::create(&self.table, request, id, origin, self.now())?;
        if !validate_only {
            let change = backfill::record(&self.table, backfill.clone())?;
            self.persist(&change).await?;
            info!(backfill = %backfill.id, pipeline = %backfill.pipeline, windows = backfill.windows, "created");
        }
        Ok(backfill)
    }

    async fn set_backfill(&mut self, id: &BackfillId, phase: Phase) -> Result<(), CommandError> {
        let Some(entry) = self.table.backfill(id) else {
            return Err(CommandError::NotFound(format!("no backfill is called {id}")));
        };
        let (revision, mut next) = (entry.revision, entry.value.clone());
        match (next.phase, phase) {
            (before, after) if before == after => return Ok(()),
            (Phase::Running | Phase::Paused, Phase::Running | Phase::Paused | Phase::Cancelled) => next.phase = phase,
            (before, _) => return Err(CommandError::Conflict(format!("backfill {id} is {before:?} already"))),
        }
        if phase == Phase::Cancelled {
            next.todo = IntervalSet::new();
            next.settled = Some(self.clock.now());
        }
        self.persist(&Change::replace(Record::Backfill(next), revision)).await?;
        if phase == Phase::Cancelled {
            self.withdraw_tasks(id).await?;
        }
        Ok(())
    }

    /// Sealed tasks stay: their files are there, and publishing them costs nothing more.
    async fn withdraw_tasks(&mut self, id: &BackfillId) -> Result<(), LedgerError> {
        let lane = Lane::Backfill(id.clone());
        let own = self.table.tasks().filter(|task| task.value.lane == lane).map(|task| task.value.id);
        for task in own.collect::<Vec<_>>() {
            if let Ok(change) = lifecycle::cancel(&self.table, &task) {
                self.persist(&change).await?;
            }
        }
        Ok(())
    }
}

fn backfill_id(request_id: &str) -> BackfillId {
    let hash = blake3::hash(request_id.as_bytes()).to_hex();
    match format!("bf-{}", &hash[..10]).parse() {
        Ok(id) => id,
        Err(_) => unreachable!("a hexadecimal hash is a valid name"),
    }
}

/// Answers, and passes on what ends the leadership.
fn respond<T>(reply: super::Reply<T>, answer: Result<T, CommandError>) -> Result<(), LedgerError> {
    match answer {
        Err(CommandError::Ledger(error @ LedgerError::TooLarge { .. })) => {
            let _ = reply.send(Err(CommandError::Ledger(error)));
            Ok(())
        }
        Err(CommandError::Ledger(error)) => {
            let _ = reply.send(Err(CommandError::Stopped));
            Err(error)
        }
        answer => {
            let _ = reply.send(answer);
            Ok(())
        }
    }
}
