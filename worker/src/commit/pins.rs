//! Whether a version can be pinned: the sink looks whether all it needs is there and certain to stay.

use windrow_common::{error, pin::Wanted};
use windrow_proto::{
    convert::{Malformed, required},
    v1,
};

use super::{checked_sink, sweep::pins};
use crate::{
    error::{Result, WorkerError},
    open::{Connectors, read_pipeline},
    sink::cleaning::Whole,
};

pub(super) async fn check(connectors: &Connectors, asked: &v1::CheckPin) -> Result<Whole> {
    let pipeline = read_pipeline(&asked.pipeline)?;
    checked_sink(&asked.sink, &pipeline)?;
    let sink = connectors.sink(&pipeline)?;
    let said =
        required(asked.wanted, "wanted").and_then(|wanted| Ok((Wanted::try_from(wanted)?, pins(&asked.pinned)?)));
    let (wanted, pins) = said.map_err(|cause: Malformed| {
        WorkerError::later(error::VERSION_SKEW, "a question of the coordinator makes no sense").because(cause)
    })?;
    sink.whole(wanted, &pins).await
}
