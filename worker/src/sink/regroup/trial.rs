//! What rows come to when they are rewritten, tried on a few of a bin's where no file of the table tells. Nothing is written where
//! anybody could see it.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use tracing::debug;
use url::Url;
use windrow_common::{error, id::SinkId};

use super::{
    group::{Bin, Member, everywhere},
    pack::{Found, Packed, Packing, pack},
    rows,
    weight::{Weight, Weights},
    write::{PARQUET, ROW_GROUP_BYTES},
};
use crate::{
    error::{Result, WorkerError},
    sink::change::views,
    stage::{FilePlan, OpenFile},
    storage::Storage,
};

/// Bytes of input that are enough to know.
const BYTES: u64 = 4 << 20;
/// Most files that are opened for it.
const FILES: usize = 32;

/// Packs `files` by what they come to. Without columns to write them in nothing is tried.
pub(in crate::sink) async fn pack_by_weight<'a, I: Iterator<Item = Found<'a>>>(
    sink: &SinkId,
    files: impl Fn() -> I,
    rule: &Packing,
    (storage, schema): (&Storage, Option<&SchemaRef>),
) -> Packed {
    let weights = Weights::of(files());
    let packed = pack(sink, files(), rule, &weights);
    let (Some(bin), Some(schema)) = (untold(&packed, &weights), schema) else { return packed };
    match tried(storage, schema, bin).await {
        Ok(weight) => pack(sink, files(), rule, &weights.tried(weight)),
        // Whoever rewrites that file will say so.
        Err(error) => {
            debug!(%error, "could not try what small files come to");
            packed
        }
    }
}

/// A bin whose files cannot be weighed, if it is not the only one: it may become larger then.
fn untold<'a>(packed: &'a Packed, weights: &Weights) -> Option<&'a Bin> {
    let mut bins = packed.groups.iter().filter(|group| group.major.is_none()).flat_map(|group| &group.bins);
    let (first, _second) = (bins.next()?, bins.next()?);
    let is_untold = |member: &Member| member.rows.is_some_and(|rows| rows > 0) && weights.is_untold(member.bytes);
    first.files.iter().all(is_untold).then_some(first)
}

async fn tried(storage: &Storage, schema: &SchemaRef, bin: &Bin) -> Result<Weight> {
    let nowhere = Url::parse("memory:///")
        .map_err(|cause| WorkerError::never(error::INTERNAL, "no place to try it").because(cause))?;
    let plan = FilePlan {
        path: "trial".to_owned(),
        partition: bin.partition.clone(),
        format: &PARQUET,
        schema,
        stats: false,
        row_group_bytes: ROW_GROUP_BYTES,
    };
    let mut file = OpenFile::new(&Storage::over(Arc::new(InMemory::new()), nowhere), plan)?;
    let held: u64 = bin.files.iter().filter_map(|member| member.rows).sum();
    let enough = (u128::from(held) * u128::from(BYTES)).div_ceil(u128::from(bin.bytes().max(1)));
    let files = bin.files.iter().take(FILES).cloned().collect();
    let mut batches = rows::batches(storage.clone(), files, views(schema));
    while u128::from(file.rows()) < enough
        && let Some(batch) = batches.try_next().await?
    {
        file.write(&batch).await?;
    }
    let written = file.finish(everywhere()).await?;
    Ok(Weight { rows: written.rows.max(1), bytes: written.bytes })
}
