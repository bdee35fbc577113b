//! Parquet, a row group at a time. The first rows wait until there are enough of them to tell which columns a dictionary pays for.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowSchemaConverter, ArrowWriter, add_encoded_arrow_schema_to_metadata, arrow_writer::ArrowWriterOptions,
    },
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
    schema::types::ColumnPath,
};
use windrow_common::error;

use super::{
    End,
    dictionary::{SAMPLE_BYTES, SAMPLE_ROWS, pays},
    pieces::Pieces,
};
use crate::{
    error::{Result, WorkerError},
    stage::stats::NOTED_BYTES,
};

/// A file of Parquet that is being written.
pub(in crate::stage) struct RowGroups {
    /// What the file is said to have. Rows may have their texts and bytes as views.
    schema: SchemaRef,
    metadata: BTreeMap<String, String>,
    /// Encoded bytes a row group is ended at, so that readers and writers hold little.
    most: usize,
    step: Step,
}

enum Step {
    /// Rows that nothing was told from yet.
    Sampling {
        batches: Vec<RecordBatch>,
        rows: usize,
        bytes: usize,
    },
    Writing(Box<ArrowWriter<Pieces>>),
}

impl RowGroups {
    /// `SINK_UNSUPPORTED_TYPE` when Parquet has no form for a column.
    pub(super) fn new(schema: &SchemaRef, metadata: &BTreeMap<String, String>, most: usize) -> Result<Self> {
        ArrowSchemaConverter::new().convert(schema).map_err(formless)?;
        let step = Step::Sampling { batches: Vec::new(), rows: 0, bytes: 0 };
        Ok(Self { schema: Arc::clone(schema), metadata: metadata.clone(), most, step })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.step {
            Step::Writing(writer) => write(writer, batch, self.most),
            Step::Sampling { batches, rows, bytes } => {
                batches.push(batch.clone());
                *rows += batch.num_rows();
                *bytes += size_of(batch);
                match *rows >= SAMPLE_ROWS || *bytes >= SAMPLE_BYTES {
                    true => self.begun().map(drop),
                    false => Ok(()),
                }
            }
        }
    }

    /// Bytes that exist but were not taken, about. Rows that are not encoded yet count for half of what they take: that much at
    /// least is saved as a rule.
    pub(super) fn pending(&self) -> usize {
        match &self.step {
            Step::Sampling { bytes, .. } => bytes / 2,
            Step::Writing(writer) => writer.in_progress_size(),
        }
    }

    pub(super) fn memory(&self) -> usize {
        match &self.step {
            Step::Sampling { bytes, .. } => *bytes,
            Step::Writing(writer) => writer.memory_size(),
        }
    }

    pub(super) fn take(&mut self) -> Vec<Bytes> {
        match &mut self.step {
            Step::Sampling { .. } => Vec::new(),
            Step::Writing(writer) => writer.inner_mut().take(),
        }
    }

    pub(super) fn finish(mut self) -> Result<End> {
        let writer = self.begun()?;
        let footer = writer.finish().map_err(super::unencodable)?;
        Ok(End { bytes: writer.inner_mut().take(), footer: Some(footer) })
    }

    /// The writer, which is begun with what was sampled if there is none.
    fn begun(&mut self) -> Result<&mut ArrowWriter<Pieces>> {
        if let Step::Sampling { batches, .. } = &mut self.step {
            let sample = std::mem::take(batches);
            let mut properties = properties(&self.schema, &self.metadata, &sample);
            add_encoded_arrow_schema_to_metadata(&self.schema, &mut properties);
            let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
            let held = held(&self.schema, sample.first());
            let writer = ArrowWriter::try_new_with_options(Pieces::default(), held, options);
            let mut writer = Box::new(writer.map_err(formless)?);
            sample.iter().try_for_each(|batch| write(&mut writer, batch, self.most))?;
            self.step = Step::Writing(writer);
        }
        match &mut self.step {
            Step::Writing(writer) => Ok(writer),
            Step::Sampling { .. } => Err(WorkerError::never(error::INTERNAL, "a file was not begun")),
        }
    }
}

fn write(writer: &mut ArrowWriter<Pieces>, batch: &RecordBatch, most: usize) -> Result<()> {
    writer.write(batch).map_err(super::unencodable)?;
    if writer.in_progress_size() >= most {
        writer.flush().map_err(super::unencodable)?;
    }
    Ok(())
}

/// zstd 1, and dictionaries where they pay. Where they do not, or turn out to be too large, integers and instants are written as
/// deltas, which are both smaller and faster than plain.
fn properties(schema: &Schema, metadata: &BTreeMap<String, String>, sample: &[RecordBatch]) -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("windrow ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_truncate_length(Some(NOTED_BYTES))
        .set_key_value_metadata((!metadata.is_empty()).then_some(metadata));
    for (index, field) in schema.fields().iter().enumerate() {
        let kind = field.data_type();
        let path = ColumnPath::new(vec![field.name().clone()]);
        if kind.is_integer() || matches!(kind, DataType::Date32 | DataType::Timestamp(..)) {
            builder = builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        if !pays(sample.iter().map(|batch| batch.column(index))) {
            builder = builder.set_column_dictionary_enabled(path, false);
        }
    }
    builder.build()
}

/// The columns in the types rows have them in, which are views or what the file is said to have.
fn held(schema: &SchemaRef, first: Option<&RecordBatch>) -> SchemaRef {
    let Some(first) = first.filter(|first| first.schema_ref() != schema) else { return Arc::clone(schema) };
    let column =
        |(field, column): (&FieldRef, &ArrayRef)| field.as_ref().clone().with_data_type(column.data_type().clone());
    Arc::new(Schema::new(schema.fields().iter().zip(first.columns()).map(column).collect::<Vec<_>>()))
}

/// Bytes of a batch's own values, which may lie in buffers that are shared.
fn size_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

fn formless(cause: ParquetError) -> WorkerError {
    WorkerError::never(error::SINK_UNSUPPORTED_TYPE, "Parquet has no form for a column").because(cause)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::{Int64Array, LargeStringArray, StringArray};
    use arrow_cast::cast;
    use arrow_schema::Field;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn rows(from: i64) -> RecordBatch {
        let numbers = from..from + 5_000;
        let texts = numbers.clone().map(|n| (n % 7 > 0).then(|| format!("a text of some length {n}")));
        let columns: [(&str, ArrayRef, bool); 4] = [
            ("n", Arc::new(Int64Array::from_iter_values(numbers.clone())), false),
            ("few", Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("{}", n % 9)))), false),
            ("text", Arc::new(texts.collect::<StringArray>()), true),
            ("large", Arc::new(LargeStringArray::from_iter_values(numbers.map(|n| format!("{n:030}")))), false),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn file(schema: &SchemaRef, batches: &[RecordBatch]) -> ParquetRecordBatchReaderBuilder<Bytes> {
        let mut groups = RowGroups::new(schema, &BTreeMap::from([("k".to_owned(), "v".to_owned())]), 1 << 20).unwrap();
        let mut pieces = Vec::new();
        for batch in batches {
            groups.write(batch).unwrap();
            pieces.extend(groups.take());
        }
        pieces.extend(groups.finish().unwrap().bytes);
        ParquetRecordBatchReaderBuilder::try_new(pieces.concat().into()).unwrap()
    }

    /// Whoever reads the file finds the types it was to have, and not those its rows were held in.
    #[test]
    fn views_are_written_as_what_they_are_views_of() {
        let given: Vec<_> = (0..10).map(|n| rows(n * 5_000)).collect();
        let schema = given[0].schema();
        let view = |batch: &RecordBatch| {
            let column = |(field, column): (&FieldRef, &ArrayRef)| {
                let kind = if field.data_type().is_string() { DataType::Utf8View } else { column.data_type().clone() };
                (field.name().clone(), cast(column, &kind).unwrap())
            };
            RecordBatch::try_from_iter(schema.fields().iter().zip(batch.columns()).map(column)).unwrap()
        };
        let found = file(&schema, &given.iter().map(view).collect::<Vec<_>>());
        assert_eq!(found.schema().fields(), schema.fields());
        assert_eq!(found.schema().metadata().get("k").unwrap(), "v");
        let found: Vec<_> = found.with_batch_size(5_000).build().unwrap().map(Result::unwrap).collect();
        assert_eq!(
            found.iter().map(RecordBatch::columns).collect::<Vec<_>>(),
            given.iter().map(RecordBatch::columns).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_dictionary_is_begun_where_it_pays() {
        let few: Vec<_> = (0..2).map(|n| rows(n * 5_000)).collect();
        let many: Vec<_> = (0..10).map(|n| rows(n * 5_000)).collect();
        for given in [few, many] {
            let found = file(&given[0].schema(), &given);
            for group in found.metadata().row_groups() {
                let has = |column: usize| group.column(column).dictionary_page_offset().is_some();
                assert_eq!([has(0), has(1), has(2), has(3)], [false, true, false, false]);
            }
        }
    }

    #[test]
    fn no_rows_make_a_file_of_the_same_columns() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let found = file(&schema, &[]);
        assert_eq!((found.schema().fields(), found.metadata().file_metadata().num_rows()), (schema.fields(), 0));
    }
}
