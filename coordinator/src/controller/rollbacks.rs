//! Going back to a version. Which versions there are only the sink knows, so its committer is asked first; then the rollback
//! is decided on and recorded, and goes the way of every commit.

use std::time::Duration;

use tracing::{info, warn};
use windrow_common::{
    claim::Token,
    id::{PipelineName, SinkId, WorkerId},
    task::{Failure, Retry},
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{CommandError, Controller, Reply, commands::respond};
use crate::{
    core::{
        commit::Shows,
        rollback::{self, Known, MOST_TRIES, Rollback},
    },
    ledger::LedgerError,
};

/// How long one waits. A worker may just be starting, and looks at every file of a hundred versions.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the versions are wanted for.
pub(super) enum Then {
    Tell(Reply<Vec<v1::Version>>),
    RollBack { request: rollback::Request, validate_only: bool, reply: Reply<Rollback> },
}

impl Then {
    fn refuse(self, error: CommandError) -> Result<(), LedgerError> {
        match self {
            Self::Tell(reply) => respond(reply, Err(error)),
            Self::RollBack { reply, .. } => respond(reply, Err(error)),
        }
    }
}

impl Controller {
    pub(super) fn wish_for_versions(
        &mut self,
        pipeline: &PipelineName,
        reply: Reply<Vec<v1::Version>>,
    ) -> Result<(), LedgerError> {
        match rollback::pipeline(&self.table, pipeline).map(|entry| entry.sink.clone()) {
            Ok(sink) => self.wish(sink, Then::Tell(reply)),
            Err(refused) => respond(reply, Err(refused.into())),
        }
    }

    pub(super) fn wish_for_rollback(
        &mut self,
        request: rollback::Request,
        validate_only: bool,
        reply: Reply<Rollback>,
    ) -> Result<(), LedgerError> {
        let known = rollback::known(&self.table, &request).map(Option::<&Rollback>::cloned);
        let sink = rollback::pipeline(&self.table, &request.pipeline).map(|entry| entry.sink.clone());
        match (known, sink) {
            (Ok(Some(made)), _) => respond(reply, Ok(made)),
            (Ok(None), Ok(sink)) => self.wish(sink, Then::RollBack { request, validate_only, reply }),
            (Err(refused), _) | (_, Err(refused)) => respond(reply, Err(refused.into())),
        }
    }

    fn wish(&mut self, sink: SinkId, then: Then) -> Result<(), LedgerError> {
        if self.table.recovery().is_some() {
            return then.refuse(CommandError::Recovering);
        }
        if self.version_wishes.is_full() {
            return then.refuse(CommandError::NoCommitter);
        }
        self.version_wishes.add(sink, self.clock.elapsed(), then);
        Ok(())
    }

    /// Asks for whoever waits, as soon as there is somebody to be asked.
    pub(super) async fn ask_for_versions(&mut self) -> Result<(), LedgerError> {
        let late = self.version_wishes.take_late(self.clock.elapsed(), PATIENCE, PATIENCE);
        late.into_iter().try_for_each(|wish| wish.of.refuse(CommandError::NoCommitter))?;
        for at in 0..self.version_wishes.len() {
            let wish = self.version_wishes.get(at).filter(|wish| self.is_open(wish));
            let Some(sink) = wish.map(|wish| wish.sink.clone()) else { continue };
            let Some(worker) = self.committer_of(&sink).await? else { continue };
            let Some(pipeline) = self.any_pipeline_of(&sink) else { continue };
            let request = self.next_request();
            self.version_wishes.asked(at, request, worker.clone());
            self.tell(&worker, Out::ListVersions(v1::ListVersions { request, sink: sink.to_string(), pipeline }));
        }
        Ok(())
    }

    /// The committer has answered.
    pub(super) async fn versions_listed(
        &mut self,
        worker: &WorkerId,
        request: u64,
        versions: Result<Vec<v1::Version>, Failure>,
    ) -> Result<(), LedgerError> {
        let Some(wish) = self.version_wishes.answered(worker, request) else { return Ok(()) };
        let versions = match versions {
            Ok(versions) => versions,
            Err(failure) => return wish.of.refuse(CommandError::Worker(failure)),
        };
        match wish.of {
            Then::Tell(reply) => respond(reply, Ok(versions)),
            Then::RollBack { request, validate_only, reply } => {
                let answer = self.roll_back(&request, validate_only, &versions).await;
                respond(reply, answer)
            }
        }
    }

    /// The request may have been answered while the committer was asked, by a repeat of it.
    async fn roll_back(
        &mut self,
        request: &rollback::Request,
        validate_only: bool,
        versions: &[v1::Version],
    ) -> Result<Rollback, CommandError> {
        if self.table.recovery().is_some() {
            return Err(CommandError::Recovering);
        }
        if let Some(made) = rollback::known(&self.table, request)? {
            return Ok(made.clone());
        }
        let versions: Vec<Known> = versions.iter().map(known).collect();
        let rollback = rollback::ask(&self.table, request, &versions, self.now())?;
        if !validate_only {
            let change = rollback::record(&self.table, rollback.clone())?;
            self.persist(&change).await?;
            info!(pipeline = %rollback.pipeline, to = rollback.to, shown = rollback.shown, "is to be rolled back");
        }
        Ok(rollback)
    }

    /// A rollback's commit cannot be worked out. Whoever asked for it waits, so it is not tried for ever.
    pub(super) async fn rollback_unprepared(&mut self, sink: &SinkId, failure: Failure) -> Result<(), LedgerError> {
        warn!(%sink, code = %failure.code, message = %failure.message, "cannot prepare a rollback");
        let elapsed = self.clock.elapsed();
        let run = self.run(sink);
        if failure.retry == Retry::Later && run.failures() + 1 < MOST_TRIES {
            run.failed(failure, elapsed);
            return Ok(());
        }
        run.done();
        match rollback::give_up(&self.table, sink, failure) {
            Some(change) => self.persist(&change).await.map(drop),
            None => Ok(()),
        }
    }

    /// What the committer is told of a rollback. Files it needs are named as those of an attempt are.
    pub(super) fn show_version(&self, sink: &SinkId, shows: &Shows) -> v1::ShowVersion {
        let token = Token { epoch: self.ledger.epoch(), revision: shows.asked };
        let id = rollback::of(&self.table, sink).map(|found| found.value.id(token).as_bytes().to_vec());
        v1::ShowVersion {
            version: shows.version,
            instead_of: shows.instead_of,
            id: id.unwrap_or_default(),
            token: Some(token.into()),
        }
    }

    pub(super) fn rollback_trace(&self, sink: &SinkId) -> Option<String> {
        rollback::open(&self.table, sink)?.value.trace.clone()
    }
}

fn known(version: &v1::Version) -> Known {
    let gone = Some(version.gone.clone()).filter(|why| !why.is_empty());
    Known { version: version.version, shown: version.shown, gone }
}
