//! What users ask for.

use tracing::info;
use windrow_common::{
    id::{BackfillId, PipelineName, TaskId},
    pipeline::Pipeline,
};

use super::{Command, CommandError, Controller, traces};
use crate::{
    core::{
        apply::{self, Applied},
        backfill::{self, Backfill, Phase},
        compare,
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
            Command::Recover { pipelines, reply } => self.begin_recovery(&pipelines, reply).await,
            Command::Compact { pipeline, dry_run, major, reply } => {
                self.wish_for_compaction(&pipeline, (dry_run, major), reply)
            }
            Command::Compare { pipeline, accept, reply } => {
                let answer = self.compare(&pipeline, accept).await;
                respond(reply, answer)
            }
            Command::Versions { pipeline, reply } => self.wish_for_versions(&pipeline, reply),
            Command::RollBack { request, validate_only, reply } => {
                self.wish_for_rollback(request, validate_only, reply)
            }
            Command::Pin { request, reply } => self.wish_for_pin(&request, reply).await,
            Command::Unpin { id, reply } => {
                let answer = self.unpin(&id).await;
                respond(reply, answer)
            }
            Command::Clean { pipeline, only_look, reply } => self.wish_for_cleaning(&pipeline, only_look, reply),
            Command::Declare { request, reply } => {
                let answer = self.declare(&request).await;
                respond(reply, answer)
            }
            Command::Release { request, reply } => {
                let answer = self.release(&request).await;
                respond(reply, answer)
            }
            Command::Steer { id, command, reply } => {
                let answer = self.steer(&id, command).await;
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
            return Err(CommandError::NotFound { kind: "pipeline", name: name.to_string() });
        };
        let mut state = entry.state.value.clone();
        state.paused = note;
        let change = Change::replace(Record::Pipeline(state), entry.state.revision);
        self.persist(&change).await?;
        Ok(())
    }

    async fn compare(&mut self, name: &PipelineName, accept: bool) -> Result<TaskId, CommandError> {
        if self.table.recovery().is_some() {
            return Err(CommandError::Recovering);
        }
        if self.table.pipeline(name).is_some_and(|entry| entry.state.value.paused.is_some()) {
            return Err(CommandError::Paused(name.clone()));
        }
        let (change, task) = compare::ask(&self.table, name, accept, self.now())?;
        if let Some(mut change) = change {
            traces::begin(&mut change);
            self.persist(&change).await?;
            info!(pipeline = %name, accept, "has keys compared");
        }
        Ok(task)
    }

    /// The id follows from the request's, so a repeat finds what the first one made.
    async fn create_backfill(
        &mut self,
        request: &backfill::Request,
        origin: backfill::Origin,
        validate_only: bool,
    ) -> Result<Backfill, CommandError> {
        if self.table.recovery().is_some() {
            return Err(CommandError::Recovering);
        }
        let id = backfill::id_of(&origin.request_id);
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

    /// Asking for what is so already is no error: the answer to the first request may have been lost.
    async fn steer(&mut self, id: &BackfillId, command: backfill::Command) -> Result<(), CommandError> {
        let wanted = match command {
            backfill::Command::Pause => Phase::Paused,
            backfill::Command::Resume => Phase::Running,
            backfill::Command::Cancel => Phase::Cancelled,
        };
        if self.table.backfill(id).is_some_and(|entry| entry.value.phase == wanted) {
            return Ok(());
        }
        let change = backfill::steer(&self.table, id, command, self.now())?;
        self.persist(&change).await?;
        Ok(())
    }
}

/// Answers, and passes on what ends the leadership.
pub(super) fn respond<T>(reply: super::Reply<T>, answer: Result<T, CommandError>) -> Result<(), LedgerError> {
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
