//! What users ask of closed windows: that one is declared complete, or that what is held of one is released.

use tracing::info;

use super::{CommandError, Controller, traces};
use crate::core::{
    declare::{self, Request},
    late::{self, Release},
};

impl Controller {
    /// Whether anything had to be done.
    pub(super) async fn declare(&mut self, request: &Request) -> Result<bool, CommandError> {
        if self.table.recovery().is_some() {
            return Err(CommandError::Recovering);
        }
        let Some(mut change) = declare::declare(&self.table, request, self.now())? else { return Ok(false) };
        traces::begin(&mut change);
        self.persist(&change).await?;
        let Request { pipeline, window, by, reason } = request;
        info!(%pipeline, %window, by, reason, "is declared complete");
        Ok(true)
    }

    pub(super) async fn release(&mut self, request: &Release) -> Result<(), CommandError> {
        if self.table.recovery().is_some() {
            return Err(CommandError::Recovering);
        }
        let mut change = late::release(&self.table, request, self.now())?;
        traces::begin(&mut change);
        self.persist(&change).await?;
        let Release { pipeline, window, by, drop } = request;
        info!(%pipeline, %window, by, dropped = *drop, "what was held of it is released");
        Ok(())
    }
}
