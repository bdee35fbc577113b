//! What users ask of closed windows.

use std::sync::Arc;

use tonic::Status;
use windrow_common::window::Window;
use windrow_proto::v1;

use super::{
    admin::{name_in, range_in},
    leading,
    refusal::{bad, refused},
};
use crate::{
    controller::Command,
    core::{closed::Closed, declare, late},
    ledger::declared_out,
    run::Standing,
};

pub(super) async fn declare(
    standing: &Arc<Standing>,
    asked: v1::DeclareWindowRequest,
) -> Result<v1::DeclareWindowResponse, Status> {
    let pipeline = name_in("pipeline", &asked.pipeline)?;
    let request = declare::Request { pipeline, window: window_in(asked.window)?, by: asked.by, reason: asked.reason };
    let declared = leading(standing)?.command(|reply| Command::Declare { request, reply }).await.map_err(refused)?;
    Ok(v1::DeclareWindowResponse { declared })
}

pub(super) async fn release(
    standing: &Arc<Standing>,
    asked: v1::ReleaseLateRequest,
) -> Result<v1::ReleaseLateResponse, Status> {
    let pipeline = name_in("pipeline", &asked.pipeline)?;
    let request = late::Release { pipeline, window: window_in(asked.window)?, by: asked.by, drop: asked.drop };
    leading(standing)?.command(|reply| Command::Release { request, reply }).await.map_err(refused)?;
    Ok(v1::ReleaseLateResponse {})
}

fn window_in(window: Option<v1::Window>) -> Result<Window, Status> {
    range_in(window)?.ok_or_else(|| bad("window", "names no window".to_owned()))
}

/// How far a range is closed.
pub(super) fn closed_out(found: &Closed<'_>) -> v1::Closed {
    let (seq, digest) = found.head;
    v1::Closed {
        immutable: found.open.is_none(),
        why_not: found.open.unwrap_or_default().to_owned(),
        revision: found.revision,
        seq,
        digest: windrow_proto::convert::digest_bytes(digest.as_ref()),
        declared: found.declared.iter().map(|found| declared_out(found)).collect(),
    }
}
