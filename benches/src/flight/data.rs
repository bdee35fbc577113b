//! The rows that are carried: made once, in memory, sent again and again.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, cast::AsArray, types::Int64Type,
};
use arrow_schema::SchemaRef;
use futures::{Stream, stream};

/// As sources make them.
const BATCH_ROWS: i64 = 8_192;
const BATCHES: i64 = 61;
/// How often the batches are sent: five million rows.
const TIMES: usize = 10;

/// Batches and how often to send them.
#[derive(Clone)]
pub(super) struct Data {
    batches: Arc<Vec<RecordBatch>>,
    times: usize,
}

impl Data {
    pub(super) fn make() -> Result<Self> {
        let batches = (0..BATCHES).map(|batch| rows(batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS));
        Ok(Self { batches: Arc::new(batches.collect::<Result<_>>()?), times: TIMES })
    }

    /// A part of it, in tenths.
    pub(super) fn part(&self, tenths: usize) -> Self {
        Self { batches: self.batches.clone(), times: self.times * tenths / 10 }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.batches[0].schema()
    }

    pub(super) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub(super) fn rows(&self) -> u64 {
        self.total(|batch| batch.num_rows() as u64)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.total(|batch| batch.get_array_memory_size() as u64)
    }

    /// Of the rows' numbers.
    pub(super) fn sum(&self) -> i64 {
        self.batches.iter().map(sum).sum::<i64>() * self.times as i64
    }

    pub(super) fn stream(self) -> impl Stream<Item = RecordBatch> + Send + 'static {
        let count = self.batches.len();
        stream::iter((0..count * self.times).map(move |n| self.batches[n % count].clone()))
    }

    fn total(&self, of: impl Fn(&RecordBatch) -> u64) -> u64 {
        self.batches.iter().map(of).sum::<u64>() * self.times as u64
    }
}

/// The sum of the numbers of a batch's rows.
pub(super) fn sum(batch: &RecordBatch) -> i64 {
    batch.column(0).as_primitive::<Int64Type>().values().iter().sum()
}

fn rows(ids: std::ops::Range<i64>) -> Result<RecordBatch> {
    let mixed = |id: i64| (id as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let each = || ids.clone().map(mixed);
    let city = |mixed: u64| {
        ["Berlin", "Lagos", "Lima", "New York City", "Oslo", "Pune", "Turin", "Xi'an"][mixed as usize >> 3 & 7]
    };
    let price = Decimal128Array::from_iter_values(each().map(|mixed| i128::from(mixed >> 40)));
    let columns: [(&str, ArrayRef, bool); 8] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone())), true),
        ("quantity", Arc::new(Int32Array::from_iter_values(each().map(|mixed| (mixed >> 50) as i32))), true),
        ("ratio", Arc::new(Float64Array::from_iter_values(each().map(|mixed| mixed as f64 / 1e18))), true),
        ("price", Arc::new(price.with_precision_and_scale(12, 2)?), true),
        ("note", Arc::new(StringArray::from_iter_values(each().map(|mixed| format!("{mixed:020}")))), true),
        ("city", Arc::new(StringArray::from_iter_values(each().map(city))), true),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(ids.clone().map(|id| id * 1_000)).with_timezone("UTC"),
            ),
            true,
        ),
        ("paid", Arc::new(BooleanArray::from_iter(each().map(|mixed| Some(mixed & 1 == 0)))), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
