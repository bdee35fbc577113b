//! Batches into pieces of about one message each, copied out of their parents: Flight's own splitter measures whole
//! parent buffers and would cut a small slice of a large batch into dust. Pure.

use std::sync::Arc;

use arrow::compute::take_record_batch;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, cast::AsArray};
use arrow_schema::{ArrowError, DataType};

/// Bytes of a piece; 2 MB messages were the fastest on the wire.
pub(super) const PIECE_BYTES: usize = 2 << 20;

/// The pieces of a batch, made one at a time.
pub(super) fn pieces(batch: RecordBatch) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
    let rows = batch.num_rows();
    let whole = batch.get_array_memory_size() <= PIECE_BYTES;
    let step = if whole { rows.max(1) } else { rows_per_piece(&batch) };
    (0..rows).step_by(step).map(move |start| {
        let slice = batch.slice(start, step.min(rows - start));
        if whole { Ok(slice) } else { copied(&slice) }
    })
}

fn rows_per_piece(batch: &RecordBatch) -> usize {
    let bytes: usize = batch.columns().iter().map(bytes_of).sum();
    let pieces = bytes.div_ceil(PIECE_BYTES).max(1);
    batch.num_rows().div_ceil(pieces).max(1)
}

/// Bytes of the slice itself, not of the buffers it is cut from.
fn bytes_of(column: &ArrayRef) -> usize {
    let views = match column.data_type() {
        DataType::Utf8View => column.as_string_view().iter().flatten().map(str::len).sum(),
        DataType::BinaryView => column.as_binary_view().iter().flatten().map(<[u8]>::len).sum(),
        _ => 0,
    };
    views + column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
}

fn copied(slice: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let rows =
        u32::try_from(slice.num_rows()).map_err(|_| ArrowError::ComputeError("a piece is too long".to_owned()))?;
    let taken = take_record_batch(slice, &UInt32Array::from_iter_values(0..rows))?;
    let columns = taken.columns().iter().map(compacted).collect();
    RecordBatch::try_new(taken.schema(), columns)
}

/// Views still point into their parent's buffers after they were taken.
fn compacted(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::{Int64Array, StringArray, StringViewArray};

    use super::*;

    fn batch(rows: usize) -> RecordBatch {
        let texts: Vec<String> = (0..rows).map(|row| format!("{row:0100}")).collect();
        RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(0..rows as i64)) as ArrayRef),
            ("t", Arc::new(StringArray::from_iter_values(&texts))),
            ("v", Arc::new(StringViewArray::from_iter_values(&texts))),
        ])
        .unwrap()
    }

    #[test]
    fn the_pieces_are_the_batch_and_each_is_about_a_message() {
        let batch = batch(100_000);
        let pieces: Vec<_> = pieces(batch.clone()).map(Result::unwrap).collect();
        assert!((8..=20).contains(&pieces.len()), "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.get_array_memory_size() < 2 * PIECE_BYTES));
        assert_eq!(arrow::compute::concat_batches(&batch.schema(), &pieces).unwrap(), batch);
    }

    #[test]
    fn a_small_slice_of_a_large_batch_is_one_small_piece() {
        let pieces: Vec<_> = pieces(batch(100_000).slice(5_000, 10)).map(Result::unwrap).collect();
        assert_eq!(pieces.len(), 1);
        assert!(pieces[0].get_array_memory_size() < 100_000, "{}", pieces[0].get_array_memory_size());
    }

    #[test]
    fn a_batch_without_rows_has_no_pieces() {
        assert_eq!(pieces(batch(0)).count(), 0);
    }
}
