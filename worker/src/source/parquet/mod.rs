//! Parquet files, for sources that read them: row groups the window cannot meet are left out by their statistics, the
//! others' rows by their cursor. Values that do not fit the wanted type are rejected with the number of their row. It may
//! not know where files come from, nor what else a source reads.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow_cast::{CastOptions, cast_with_options, display::FormatOptions};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::{filter::filter_record_batch, take::take};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, arrow_reader::statistics::StatisticsConverter,
        async_reader::ParquetRecordBatchStream,
    },
    errors::ParquetError,
};
use windrow_common::{error, manifest::Input, window::Window};

use super::{
    Chunk, Reject, RowStream,
    decode::{
        cursor::Cursor,
        emit::{MAX_REJECTS, reject, too_many_rejects},
        rows::{BATCH_ROWS, Flaw},
        time::Zone,
    },
};
use crate::error::{Result, WorkerError};

mod ranges;

use ranges::Ranges;

type Builder = ParquetRecordBatchStreamBuilder<Ranges>;

/// What is read from files: the source's columns, and by which of them a window's rows are told.
pub(super) struct Wanted<'a> {
    pub(super) schema: &'a SchemaRef,
    pub(super) cursor: Option<&'a str>,
    /// The zone of cursor values without one.
    pub(super) zone: Option<&'a Zone>,
}

/// Where a column of the source comes from.
pub(super) enum Place {
    /// The file's column at this place.
    Stored(usize),
    /// One value, perhaps null, that all rows of the file have.
    Given(ArrayRef),
}

/// The file's own columns.
pub(super) async fn columns(store: Arc<dyn ObjectStore>, pin: &Input) -> Result<Schema> {
    let opened = open(store, pin).await?;
    Ok(Schema::new(opened.schema().fields().clone()))
}

async fn open(store: Arc<dyn ObjectStore>, pin: &Input) -> Result<Builder> {
    let reader = Ranges::new(store, pin);
    let opened = decoded(ParquetRecordBatchStreamBuilder::new(reader)).await;
    opened.and_then(|opened| opened).map_err(|cause| fault(&pin.name, cause))
}

/// What decoding comes to. The decoder panics on some damaged files instead of refusing them.
async fn decoded<T>(decoding: impl Future<Output = T>) -> Result<T, ParquetError> {
    AssertUnwindSafe(decoding).catch_unwind().await.map_err(gave_up)
}

fn gave_up(_: Box<dyn Any + Send>) -> ParquetError {
    ParquetError::General("the decoder gave up".to_owned())
}

/// The rows of a Parquet object that lie in the window. `places` tells for each column of the source where it comes from
/// in a file of these columns.
pub(super) async fn read(
    store: Arc<dyn ObjectStore>,
    pin: &Input,
    wanted: &Wanted<'_>,
    window: &Window,
    places: impl FnOnce(&Schema) -> Result<Vec<Place>>,
) -> Result<RowStream> {
    let builder = open(store, pin).await?;
    let places = places(builder.schema()).map_err(|error| error.at(&pin.name))?;
    let shape = Shape { schema: wanted.schema.clone(), places };
    let cursor = Cursor::of_arrays(wanted.cursor, wanted.schema, wanted.zone, window)?;
    let groups = catch_unwind(AssertUnwindSafe(|| groups(&builder, cursor.as_ref(), &shape))).map_err(gave_up);
    let groups = groups.and_then(|groups| Ok(groups?)).map_err(|cause| fault(&pin.name, cause))?;
    let numbers = row_numbers(&builder, &groups);
    let rows =
        builder.with_row_groups(groups).with_batch_size(BATCH_ROWS).build().map_err(|cause| fault(&pin.name, cause))?;
    let file = File { name: pin.name.clone(), shape, cursor, numbers, rejected: 0 };
    Ok(file.stream(rows))
}

/// The row groups that may hold rows of the window.
fn groups(builder: &Builder, cursor: Option<&Cursor>, shape: &Shape) -> Result<Vec<usize>, ArrowError> {
    let all = builder.metadata().row_groups();
    let Some(cursor) = cursor else { return Ok((0..all.len()).collect()) };
    let Place::Stored(place) = shape.places[cursor.column] else { return Ok((0..all.len()).collect()) };
    let (field, stored) = (shape.schema.field(cursor.column), builder.schema().field(place));
    if stored.data_type() != field.data_type() {
        // The statistics are of the stored type; what a cast makes of their order is not known.
        return Ok((0..all.len()).collect());
    }
    let converter = StatisticsConverter::try_new(field.name(), builder.schema(), builder.parquet_schema())
        .map_err(ArrowError::from)?;
    let bounds = |values: Result<ArrayRef, ParquetError>| cursor.micros(&values.map_err(ArrowError::from)?);
    let least = bounds(converter.row_group_mins(all))?;
    let greatest = bounds(converter.row_group_maxes(all))?;
    let nulls = converter.row_group_null_counts(all).map_err(ArrowError::from)?;
    let value = |values: &arrow_array::Int64Array, at: usize| values.is_valid(at).then(|| values.value(at));
    // A group with nulls is read, for a row without a cursor is to be rejected, not skipped.
    let wanted = |group: &usize| {
        let no_nulls = nulls.is_valid(*group) && nulls.value(*group) == 0;
        !no_nulls || cursor.may_overlap(value(&least, *group), value(&greatest, *group))
    };
    Ok((0..all.len()).filter(wanted).collect())
}

/// The numbers, from 1, of the rows of some row groups.
fn row_numbers(builder: &Builder, groups: &[usize]) -> VecDeque<Range<u64>> {
    let mut start: u64 = 1;
    let mut ranges = VecDeque::new();
    for (group, metadata) in builder.metadata().row_groups().iter().enumerate() {
        let end = u64::try_from(metadata.num_rows()).map_or(start, |rows| start.saturating_add(rows));
        if groups.contains(&group) {
            ranges.push_back(start..end);
        }
        start = end;
    }
    ranges
}

/// How a file's columns become the source's.
struct Shape {
    schema: SchemaRef,
    /// One for each column.
    places: Vec<Place>,
}

impl Shape {
    /// The batch in the source's types, and the rows with a value that has none.
    fn apply(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<(usize, Flaw)>), ArrowError> {
        let options = CastOptions { safe: true, format_options: FormatOptions::default() };
        let mut flaws = Vec::new();
        let mut columns = Vec::with_capacity(self.places.len());
        for (field, place) in self.schema.fields().iter().zip(&self.places) {
            let stored = match place {
                Place::Stored(place) => batch.column(*place),
                Place::Given(value) => {
                    columns.push(take(value, &UInt64Array::from_value(0, batch.num_rows()), None)?);
                    continue;
                }
            };
            let cast = cast_with_options(stored, field.data_type(), &options)?;
            if cast.null_count() > stored.null_count() {
                let lost = (0..cast.len()).filter(|row| cast.is_null(*row) && stored.is_valid(*row));
                let reason = format!("column {:?}: the value is no {}", field.name(), field.data_type());
                flaws.extend(lost.map(|row| (row, Flaw { code: error::VALUE_MALFORMED, reason: reason.clone() })));
            }
            columns.push(cast);
        }
        Ok((RecordBatch::try_new(self.schema.clone(), columns)?, flaws))
    }
}

/// A file being read.
struct File {
    name: String,
    shape: Shape,
    cursor: Option<Cursor>,
    /// The numbers of the rows still to come.
    numbers: VecDeque<Range<u64>>,
    rejected: usize,
}

impl File {
    fn stream(self, rows: ParquetRecordBatchStream<Ranges>) -> RowStream {
        stream::try_unfold((self, rows), |(mut file, mut rows)| async {
            match decoded(rows.try_next()).await.and_then(|batch| batch) {
                Ok(None) => Ok(None),
                Ok(Some(batch)) => Ok(Some((file.take(&batch)?, (file, rows)))),
                Err(cause) => Err(fault(&file.name, cause)),
            }
        })
        .flat_map(|chunks| match chunks {
            Ok(chunks) => stream::iter(chunks.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        })
        .boxed()
    }

    /// The rows of the window and the rejects of a batch.
    fn take(&mut self, stored: &RecordBatch) -> Result<Vec<Chunk>> {
        let numbers = self.next_numbers(stored.num_rows());
        let (batch, flaws) = self.shape.apply(stored).map_err(|cause| self.misfit(cause))?;
        let inside = match &self.cursor {
            None => None,
            Some(cursor) => Some(cursor.inside(batch.column(cursor.column)).map_err(|cause| self.misfit(cause))?),
        };
        let (keep, flaws) = self.judge(batch.num_rows(), inside.as_ref(), flaws);
        let mut chunks = Vec::new();
        let rows = filter_record_batch(&batch, &keep).map_err(|cause| self.misfit(cause))?;
        if rows.num_rows() > 0 {
            chunks.push(Chunk::Rows(rows));
        }
        let rejects = flaws.into_iter().map(|(row, flaw)| self.reject(numbers[row], flaw));
        let rejects = rejects.collect::<Vec<Reject>>();
        self.rejected += rejects.len();
        match rejects.last() {
            Some(last) if self.rejected > MAX_REJECTS => {
                let flaw = Flaw { code: error::ROW_MALFORMED, reason: last.reason.clone() };
                return Err(too_many_rejects(&self.name, &flaw));
            }
            Some(_) => chunks.push(Chunk::Rejected(rejects)),
            None => {}
        }
        Ok(chunks)
    }

    /// Which rows are kept, and the flaws of those that belong to the window or to none.
    fn judge(
        &self,
        rows: usize,
        inside: Option<&BooleanArray>,
        mut flaws: Vec<(usize, Flaw)>,
    ) -> (BooleanArray, Vec<(usize, Flaw)>) {
        let mut keep = vec![true; rows];
        if let Some(inside) = inside {
            let missing = Flaw { code: error::CURSOR_MISSING, reason: "the cursor is null".to_owned() };
            for (row, keep) in keep.iter_mut().enumerate() {
                *keep = inside.is_valid(row) && inside.value(row);
                if inside.is_null(row) {
                    flaws.push((row, missing.clone()));
                }
            }
            flaws.retain(|(row, _)| keep[*row] || inside.is_null(*row));
        }
        flaws.sort_by_key(|(row, _)| *row);
        flaws.dedup_by_key(|(row, _)| *row);
        for (row, _) in &flaws {
            keep[*row] = false;
        }
        (keep.into(), flaws)
    }

    fn next_numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count
            && let Some(range) = self.numbers.front_mut()
        {
            match range.next() {
                Some(number) => numbers.push(number),
                None => drop(self.numbers.pop_front()),
            }
        }
        numbers.resize(count, 0);
        numbers
    }

    fn reject(&self, number: u64, flaw: Flaw) -> Reject {
        reject(&self.name, number, b"", flaw)
    }

    fn misfit(&self, cause: ArrowError) -> WorkerError {
        WorkerError::never(error::SCHEMA_MISMATCH, "the file's columns do not fit the declared ones")
            .at(&self.name)
            .because(cause)
    }
}

/// What an error of the reader means: our own ranges' says so itself, the format's stays.
fn fault(name: &str, cause: ParquetError) -> WorkerError {
    match cause {
        ParquetError::External(inner) => match inner.downcast::<WorkerError>() {
            Ok(error) => *error,
            Err(inner) => {
                WorkerError::later(error::SOURCE_UNREADABLE, "the source cannot be read").at(name).because(inner)
            }
        },
        cause => WorkerError::never(error::SOURCE_CORRUPT, "the parquet file is damaged")
            .at(name)
            .because(cause)
            .fix("deliver the file again"),
    }
}
