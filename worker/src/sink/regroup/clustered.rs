//! A major rewrite: the rows of a bin, large files too, in the order of some columns, cut into files of the target's size, each of
//! which holds a stretch of that order. Memory is bounded as the sort's is.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use futures::{
    StreamExt, TryStreamExt, future,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc::{self, Receiver, Sender};
use windrow_common::{
    compaction::{Clustering, Order},
    error,
    manifest::StagedFile,
};

use super::{
    curve::{Curve, Sample},
    digest::Seen,
    group::{Bin, Major},
    rows::{self, Rows},
    sort::{self, Room},
    write::{Regrouper, check_written},
};
use crate::{
    error::{Result, WorkerError},
    sink::change::{columns_of_file, read_failure},
};

/// Batches between reading and sorting.
const AHEAD: usize = 2;
/// The column with a row's place on the curve, behind all others while rows are sorted.
const PLACE: &str = "place on the curve";

/// How a bin's rows are written.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) schema: &'a SchemaRef,
    pub(super) major: &'a Major,
    pub(super) room: &'a Room,
}

/// Fails with `COMPACTION_UNSUPPORTED` unless rows of these columns can be clustered so; their places among all.
pub(in crate::sink) fn check(schema: &Schema, clustering: &Clustering) -> Result<Vec<usize>> {
    let refused = |message: String, fix: &str| {
        WorkerError::never(error::COMPACTION_UNSUPPORTED, message).at("compaction.cluster_by").fix(fix)
    };
    let place = |name: &String| match schema.column_with_name(name) {
        Some((place, column)) if has_order(column.data_type()) => Ok(place),
        Some((_, column)) => Err(refused(
            format!("rows cannot be clustered by {name:?}: a column of type {} has no order", column.data_type()),
            "name columns of numbers, texts, times or booleans",
        )),
        None => Err(refused(
            format!("rows are to be clustered by {name:?}, and the table's files have no such column"),
            "name columns of the table that it is not partitioned by",
        )),
    };
    clustering.columns.iter().map(place).collect()
}

fn has_order(kind: &DataType) -> bool {
    kind.is_numeric() || kind.is_temporal() || matches!(kind, DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8)
}

/// Writes the rows of a bin's files, each as often as those hold it.
pub(super) async fn write(regrouper: &Regrouper<'_>, bin: &Bin, how: How<'_>) -> Result<Vec<StagedFile>> {
    let by = check(how.schema, &how.major.clustering)?;
    let curve = curve(regrouper, bin, how).await?;
    let total = rows::count(regrouper, bin).await?;
    let files = how.major.makes(bin).min(total).max(1);
    let (rows, found) = mpsc::channel(AHEAD);
    let reading = read(regrouper, bin, how, (&by, curve.as_ref(), rows));
    let ordered = ordered(how, (&by, curve.is_some()), found)?;
    let writing = cut(regrouper, bin, how, (ordered, total.div_ceil(files).max(1)));
    let (read, (written, files)) = future::try_join(reading, writing).await?;
    check_written(read, written, bin.files.first().map_or("", |file| &file.path))?;
    Ok(files)
}

/// What has to be known of all rows before one has its place on the curve. Only the columns that matter are read for it.
async fn curve(regrouper: &Regrouper<'_>, bin: &Bin, how: How<'_>) -> Result<Option<Curve>> {
    let Clustering { columns, order } = &how.major.clustering;
    if *order == Order::Sort || columns.len() < 2 {
        return Ok(None);
    }
    let fields = columns.iter().map(|name| how.schema.field_with_name(name).cloned());
    let wanted = Arc::new(Schema::new(fields.collect::<Result<Vec<Field>, _>>().map_err(no_order)?));
    let kinds: Vec<DataType> = wanted.fields().iter().map(|field| field.data_type().clone()).collect();
    let mut sample = Sample::new(&kinds).map_err(no_order)?;
    for member in &bin.files {
        let mut batches = columns_of_file(regrouper.storage, (&member.path, member.bytes), columns).await?;
        while let Some(batch) = batches.try_next().await.map_err(|cause| read_failure(cause, &member.path))? {
            sample.add(rows::shape(&batch, &wanted, &member.path)?.columns()).map_err(no_order)?;
        }
    }
    Ok(Some(sample.into_curve()))
}

/// Sends the bin's rows on, with their places on the curve if there is one; what was seen of them.
async fn read(
    regrouper: &Regrouper<'_>,
    bin: &Bin,
    how: How<'_>,
    (by, curve, out): (&[usize], Option<&Curve>, Sender<RecordBatch>),
) -> Result<Seen> {
    let mut rows = Rows::new(regrouper, bin, how.schema);
    while let Some(batch) = rows.next().await? {
        let batch = match curve {
            Some(curve) => placed(&batch, by, curve).map_err(no_order)?,
            None => batch,
        };
        // Whoever does not listen any more has failed, and says why.
        if out.send(batch).await.is_err() {
            break;
        }
    }
    Ok(rows.seen())
}

fn with_place(schema: &Schema) -> SchemaRef {
    let place = Arc::new(Field::new(PLACE, DataType::UInt64, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([place]).collect::<Vec<_>>()))
}

fn placed(batch: &RecordBatch, by: &[usize], curve: &Curve) -> Result<RecordBatch, ArrowError> {
    let values: Vec<_> = by.iter().map(|column| batch.column(*column).clone()).collect();
    let place = Arc::new(curve.places(&values)?);
    let columns = batch.columns().iter().cloned().chain([place as _]).collect();
    RecordBatch::try_new(with_place(&batch.schema()), columns)
}

/// The rows in their order. Those of one place on the curve lie by the columns one after the other.
fn ordered(
    how: How<'_>,
    (by, on_curve): (&[usize], bool),
    mut rows: Receiver<RecordBatch>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    if by.is_empty() {
        return Ok(stream::poll_fn(move |context| rows.poll_recv(context)).map(Ok).boxed());
    }
    if !on_curve {
        return Ok(sort::sorted(how.schema, by, rows, how.room)?.boxed());
    }
    let width = how.schema.fields().len();
    let by: Vec<usize> = [width].into_iter().chain(by.iter().copied()).collect();
    let sorted = sort::sorted(&with_place(how.schema), &by, rows, how.room)?;
    let all: Vec<usize> = (0..width).collect();
    Ok(sorted.map(move |batch| batch?.project(&all).map_err(no_order)).boxed())
}

/// Writes rows into files of so many, and reads these again.
async fn cut(
    regrouper: &Regrouper<'_>,
    bin: &Bin,
    how: How<'_>,
    (mut rows, per_file): (BoxStream<'static, Result<RecordBatch>>, u64),
) -> Result<(Seen, Vec<StagedFile>)> {
    let mut seen = Seen::default();
    let mut files = Vec::new();
    let mut open = regrouper.create(bin, how.schema)?;
    while let Some(mut batch) = rows.try_next().await? {
        while batch.num_rows() > 0 {
            if open.rows() == per_file {
                let full = std::mem::replace(&mut open, regrouper.create(bin, how.schema)?);
                files.push(full.finish(bin.told_window()).await?);
            }
            let left = usize::try_from(per_file - open.rows()).unwrap_or(usize::MAX).min(batch.num_rows());
            open.write(&batch.slice(0, left)).await?;
            batch = batch.slice(left, batch.num_rows() - left);
        }
    }
    files.push(open.finish(bin.told_window()).await?);
    for file in &mut files {
        seen = seen.and(regrouper.again(file, how.schema).await?);
        file.clustered = Some(how.major.clustering.clone());
    }
    Ok((seen, files))
}

fn no_order(cause: ArrowError) -> WorkerError {
    WorkerError::never(error::COMPACTION_UNSUPPORTED, "rows cannot be put in the order they are to be clustered by")
        .because(cause)
}
