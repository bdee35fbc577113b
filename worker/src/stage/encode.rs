//! Batches into the bytes of one file. Pure: bytes pile up in memory until they are taken.

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    make_array,
    types::{Float16Type, Float32Type, Float64Type},
};
use arrow_json::{WriterBuilder, writer::LineDelimited};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::{errors::ParquetError, file::metadata::ParquetMetaData};
use windrow_common::error;

use super::FileFormat;
use crate::error::{Result, WorkerError};

mod csv;
mod dictionary;
mod lines;
mod pieces;
mod row_groups;

use row_groups::RowGroups;

/// One file's encoder.
pub(super) enum Encoder {
    Parquet(RowGroups),
    Csv { out: Vec<u8>, delimiter: u8 },
    Json { out: Vec<u8> },
    Lines { out: Vec<u8> },
    Verbatim { out: Vec<u8> },
}

/// How a file ends.
pub(super) struct End {
    /// Its last bytes.
    pub(super) bytes: Vec<Bytes>,
    /// What Parquet says there of the whole file.
    pub(super) footer: Option<ParquetMetaData>,
}

impl Encoder {
    /// `SINK_UNSUPPORTED_TYPE` when the format has no form for a column.
    pub(super) fn new(format: &FileFormat, schema: &SchemaRef, row_group_bytes: usize) -> Result<Self> {
        check_columns(format, schema)?;
        Ok(match format {
            FileFormat::Parquet { metadata } => Self::Parquet(RowGroups::new(schema, metadata, row_group_bytes)?),
            FileFormat::Csv { delimiter, header } => {
                let mut out = Vec::new();
                if *header {
                    csv::write_header(&mut out, schema, *delimiter);
                }
                Self::Csv { out, delimiter: *delimiter }
            }
            FileFormat::JsonLines => Self::Json { out: Vec::new() },
            FileFormat::Lines => Self::Lines { out: Vec::new() },
            FileFormat::Verbatim(_) => Self::Verbatim { out: Vec::new() },
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(groups) => groups.write(batch),
            Self::Csv { out, delimiter } => csv::write_rows(out, batch, *delimiter).map_err(unencodable),
            Self::Json { out } => write_json(out, batch),
            Self::Lines { out } => lines::write(out, batch),
            Self::Verbatim { out } => write_verbatim(out, batch),
        }
    }

    /// Bytes of the file that exist but have not been taken, about.
    pub(super) fn pending(&self) -> usize {
        match self {
            Self::Parquet(groups) => groups.pending(),
            Self::Csv { out, .. } | Self::Json { out } | Self::Lines { out } | Self::Verbatim { out } => out.len(),
        }
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Parquet(groups) => groups.memory(),
            Self::Csv { out, .. } | Self::Json { out } | Self::Lines { out } | Self::Verbatim { out } => out.capacity(),
        }
    }

    /// The bytes finished since the last call.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        match self {
            Self::Parquet(groups) => groups.take(),
            Self::Csv { out, .. } | Self::Json { out } | Self::Lines { out } | Self::Verbatim { out } => {
                vec![std::mem::take(out).into()]
            }
        }
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<End> {
        match self {
            Self::Parquet(groups) => groups.finish(),
            _ => Ok(End { bytes: self.take(), footer: None }),
        }
    }
}

impl FileFormat {
    pub(super) fn extension(&self) -> &'static str {
        match self {
            Self::Parquet { .. } => "parquet",
            Self::Csv { .. } => "csv",
            Self::JsonLines => "jsonl",
            Self::Lines => "txt",
            Self::Verbatim(_) => "rows",
        }
    }
}

/// `SINK_UNSUPPORTED_TYPE` for the first column the text formats have no faithful form for, `SINK_SCHEMA` where lines have more than
/// one.
pub(crate) fn check_columns(format: &FileFormat, schema: &Schema) -> Result<()> {
    if *format == FileFormat::Lines {
        lines::check(schema)?;
    }
    schema.fields().iter().try_for_each(|field| check_format(format, field))
}

/// `SINK_UNSUPPORTED_TYPE` if the format has no faithful form for the column.
pub(crate) fn check_format(format: &FileFormat, field: &Field) -> Result<()> {
    let kind = field.data_type();
    let unfit = match format {
        FileFormat::Parquet { .. } => false,
        FileFormat::Csv { .. } => kind.is_nested() || is_binary(kind),
        FileFormat::JsonLines => contains(kind, &is_binary),
        FileFormat::Lines => !kind.is_string(),
        FileFormat::Verbatim(_) => *kind != DataType::Binary,
    };
    if !unfit {
        return Ok(());
    }
    let message = format!("{} has no form for the column {:?} of type {kind}", format.extension(), field.name());
    Err(WorkerError::never(error::SINK_UNSUPPORTED_TYPE, message)
        .fix("write Parquet, or turn the column into text in a transform, for example by encode(column, 'base64')"))
}

fn is_binary(kind: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(kind, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

fn contains(kind: &DataType, wanted: &dyn Fn(&DataType) -> bool) -> bool {
    let inner = |field: &arrow_schema::FieldRef| contains(field.data_type(), wanted);
    match kind {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => inner(field),
        DataType::Struct(fields) => fields.iter().any(inner),
        DataType::Dictionary(_, value) => contains(value, wanted),
        other => wanted(other),
    }
}

/// Nulls are written, so that every line shows every column.
fn write_json(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<()> {
    let floats = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| contains(field.data_type(), &DataType::is_floating));
    for (field, column) in floats {
        if has_non_finite(column) {
            return Err(WorkerError::never(error::VALUE_MALFORMED, "JSON has no NaN and no infinity")
                .at(format!("column {:?}", field.name()))
                .fix("replace such values in a transform, or write Parquet"));
        }
    }
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
    writer.write(batch).and_then(|()| writer.finish()).map_err(unencodable)
}

/// The bytes of the one column, as they lie there.
fn write_verbatim(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<()> {
    let rows = batch.columns().first().and_then(|rows| rows.as_binary_opt::<i32>());
    let rows =
        rows.ok_or_else(|| WorkerError::never(error::INTERNAL, "rows that are left as they are came otherwise"))?;
    let offsets = rows.value_offsets();
    let at = |place: Option<&i32>| place.and_then(|at| usize::try_from(*at).ok()).unwrap_or_default();
    out.extend_from_slice(&rows.value_data()[at(offsets.first())..at(offsets.last())]);
    Ok(())
}

/// The JSON writer would turn such numbers into null.
fn has_non_finite(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Float16 => column.as_primitive::<Float16Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().any(|value| !value.is_finite()),
        _ => column.to_data().child_data().iter().any(|child| has_non_finite(&make_array(child.clone()))),
    }
}

fn unencodable(cause: impl Into<ParquetError>) -> WorkerError {
    WorkerError::never(error::VALUE_MALFORMED, "rows cannot be written in the sink's format").because(cause.into())
}
