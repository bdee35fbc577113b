//! Parquet: row groups the window cannot meet are left out by their statistics, the others' rows by their cursor.
//! Values that do not fit a declared type are rejected with the number of their row.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options, display::FormatOptions};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
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
    cursor::Cursor,
    emit::{MAX_REJECTS, reject, too_many_rejects},
    layout::{Layout, order},
    params::{Columns, Config},
    ranges::Ranges,
    rows::{BATCH_ROWS, Flaw},
    types::schema_of,
};
use crate::{
    error::{Result, WorkerError},
    source::{Chunk, Reject, RowStream},
};

type Builder = ParquetRecordBatchStreamBuilder<Ranges>;

/// The layout of a file: its own columns, or the declared ones in its order.
pub(super) async fn layout(store: Arc<dyn ObjectStore>, pin: &Input, config: &Config) -> Result<Layout> {
    let schema = open(store, pin).await?.schema().clone();
    let Columns::Declared(declared) = &config.columns else {
        let plain = Schema::new(schema.fields().clone());
        return Ok(Layout { columns: Arc::new([]), schema: Arc::new(plain), inferred: true });
    };
    let names = names(&schema);
    let places = order(&names, &declared.columns).map_err(|error| error.at(&pin.name))?;
    let mut by_place: Vec<_> = places.into_iter().zip(&declared.columns).collect();
    by_place.sort_by_key(|(place, _)| *place);
    let columns: Vec<_> = by_place.into_iter().map(|(_, column)| column.clone()).collect();
    Ok(Layout { schema: schema_of(&columns), columns: columns.into(), inferred: false })
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
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

/// The rows of a Parquet object that lie in the window.
pub(super) async fn read(
    store: Arc<dyn ObjectStore>,
    pin: &Input,
    config: &Config,
    layout: &Layout,
    window: &Window,
) -> Result<RowStream> {
    let builder = open(store, pin).await?;
    let shape = Shape::new(builder.schema(), layout).map_err(|error| error.at(&pin.name))?;
    let cursor = Cursor::of_arrays(config.cursor.as_deref(), &layout.schema, config.cursor_zone.as_ref(), window)?;
    let groups = catch_unwind(AssertUnwindSafe(|| groups(&builder, cursor.as_ref(), layout))).map_err(gave_up);
    let groups = groups.and_then(|groups| Ok(groups?)).map_err(|cause| fault(&pin.name, cause))?;
    let numbers = row_numbers(&builder, &groups);
    let rows =
        builder.with_row_groups(groups).with_batch_size(BATCH_ROWS).build().map_err(|cause| fault(&pin.name, cause))?;
    let file = File { name: pin.name.clone(), shape, cursor, numbers, rejected: 0 };
    Ok(file.stream(rows))
}

/// The row groups that may hold rows of the window.
fn groups(builder: &Builder, cursor: Option<&Cursor>, layout: &Layout) -> Result<Vec<usize>, ArrowError> {
    let all = builder.metadata().row_groups();
    let Some(cursor) = cursor else { return Ok((0..all.len()).collect()) };
    let field = layout.schema.field(cursor.column);
    let stored = builder.schema().field_with_name(field.name())?;
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
    /// For each column its place in the file.
    order: Vec<usize>,
}

impl Shape {
    fn new(stored: &Schema, layout: &Layout) -> Result<Self> {
        let wanted: Vec<_> =
            layout.schema.fields().iter().map(|field| super::types::Column::text(field.name())).collect();
        Ok(Self { schema: layout.schema.clone(), order: order(&names(stored), &wanted)? })
    }

    /// The batch in the source's types, and the rows with a value that has none.
    fn apply(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<(usize, Flaw)>), ArrowError> {
        let options = CastOptions { safe: true, format_options: FormatOptions::default() };
        let mut flaws = Vec::new();
        let mut columns = Vec::with_capacity(self.order.len());
        for (field, place) in self.schema.fields().iter().zip(&self.order) {
            let stored = batch.column(*place);
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
