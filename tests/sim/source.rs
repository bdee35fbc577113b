//! The source `synthetic`, less reliable: reading fails, and reading stops for longer than a lease lasts.

use std::{sync::Arc, time::Duration};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use rand::Rng;
use windrow_common::{
    error,
    readiness::{Condition, Require},
    window::Window,
};
use windrow_worker::{
    error::{Result, WorkerError},
    source::{RowStream, Slice, Source, Told},
};

use crate::{
    input,
    plan::{Fault, Sabotage},
    world::World,
};

pub(crate) struct Unreliable {
    pub(crate) inner: Arc<dyn Source>,
    /// What has to be so before it is read.
    pub(crate) require: Require,
    pub(crate) world: Arc<World>,
    pub(crate) host: String,
}

impl Unreliable {
    fn fails(&self, what: &str) -> Result<()> {
        match self.world.strikes(Fault::SourceFails, &format!("{} {what}", self.host)) {
            true => Err(WorkerError::later(error::SOURCE_UNREADABLE, "the source went away")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Source for Unreliable {
    async fn schema(&self) -> Result<SchemaRef> {
        self.inner.schema().await
    }

    async fn told(&self, condition: &Condition, windows: &[Window]) -> Result<Told> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.fails("look")?;
        let lies = self.world.sabotage == Some(Sabotage::Unready);
        let holds = windows.iter().map(|window| lies || input::holds(&self.world, condition, window)).collect();
        Ok(Told { holds, missing: "the input is not complete".to_owned() })
    }

    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>> {
        if !input::is_ready(&self.world, &self.require, window) {
            self.world.violated(format!("INV-1: {window} is read before its input is complete"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.fails("resolve")?;
        self.inner.resolve(window).await
    }

    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream> {
        self.fails("read")?;
        let mut rows = self.inner.read(slice, window).await?;
        if self.world.sabotage == Some(Sabotage::Doubles) {
            rows = rows.chain(self.inner.read(slice, window).await?).boxed();
        }
        let (world, host) = (self.world.clone(), self.host.clone());
        let rows = rows.then(move |chunk| {
            let (world, host) = (world.clone(), host.clone());
            async move {
                let mut time = Duration::from_millis(world.draw(|rng| rng.random_range(10..400)));
                if world.strikes(Fault::SourceStalls, &host) {
                    time = Duration::from_millis(world.draw(|rng| rng.random_range(2_000..30_000)));
                }
                tokio::time::sleep(time).await;
                while world.is_suspended(&host) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                chunk
            }
        });
        Ok(rows.boxed())
    }

    fn by_window(&self) -> bool {
        self.inner.by_window()
    }
}
