//! A round trip through an encoder that is not ours: what pgpq writes, is read back equal.

use ::pgpq::ArrowToPostgresBinaryEncoder;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, ListArray, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    types::Int32Type,
};
use bytes::BytesMut;
use proptest::{collection::vec, option, prelude::*};

use super::*;

/// Columns of every type both know, with nulls, at random.
pub(in crate::postgres) fn batches() -> impl Strategy<Value = RecordBatch> {
    let row = (
        (option::of(any::<bool>()), option::of(any::<i16>()), option::of(any::<i32>()), option::of(any::<i64>())),
        (option::of(any::<f32>()), option::of(any::<f64>())),
        option::of(-(10_i128.pow(38) - 1)..10_i128.pow(38)),
        (option::of("[^\0]{0,20}"), option::of(vec(any::<u8>(), 0..20))),
        (option::of(-719_162..=2_932_896_i32), option::of(0..86_400_000_000_i64)),
        (option::of(-62_135_596_800_000_000..253_402_300_800_000_000_i64), option::of(any::<i32>())),
        option::of(vec(option::of(any::<i32>()), 0..5)),
    );
    vec(row, 0..40).prop_map(|rows| {
        let instants = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.5.0));
        let decimals = Decimal128Array::from_iter(rows.iter().map(|row| row.2));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("bool", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.0.0)))),
            ("int2", Arc::new(Int16Array::from_iter(rows.iter().map(|row| row.0.1)))),
            ("int4", Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.0.2)))),
            ("int8", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0.3)))),
            ("float4", Arc::new(Float32Array::from_iter(rows.iter().map(|row| row.1.0)))),
            ("float8", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.1.1)))),
            ("numeric", Arc::new(decimals.with_precision_and_scale(38, 9).unwrap())),
            ("text", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.3.0.clone())))),
            ("bytea", Arc::new(BinaryArray::from_iter(rows.iter().map(|row| row.3.1.clone())))),
            ("date", Arc::new(Date32Array::from_iter(rows.iter().map(|row| row.4.0)))),
            ("time", Arc::new(Time64MicrosecondArray::from_iter(rows.iter().map(|row| row.4.1)))),
            ("timestamptz", Arc::new(instants.clone().with_timezone("UTC"))),
            ("timestamp", Arc::new(instants)),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|row| row.6.clone())))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    })
}

pub(in crate::postgres) fn forms() -> Vec<Form> {
    vec![
        Form::Bool,
        Form::Int16,
        Form::Int32,
        Form::Int64,
        Form::Float32,
        Form::Float64,
        Form::Decimal { precision: 38, scale: 9 },
        Form::Text,
        Form::Bytes,
        Form::Date,
        Form::Time,
        Form::Timestamp { utc: true },
        Form::Timestamp { utc: false },
        Form::List(Box::new(Form::Int32)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_pgpq_writes_is_read_back_equal(batch in batches(), piece in 1..300_usize) {
        let mut encoder = ArrowToPostgresBinaryEncoder::try_new(&batch.schema()).unwrap();
        let mut bytes = BytesMut::new();
        encoder.write_header(&mut bytes).unwrap();
        encoder.write_batch(&batch, &mut bytes).unwrap();
        encoder.write_footer(&mut bytes).unwrap();
        let mut decoder = Decoder::new(batch.schema(), forms(), Special::Reject, Limits::default());
        let (batches, flawed) = decoded(&mut decoder, &bytes, piece).unwrap();
        prop_assert_eq!(flawed, vec![]);
        let read = arrow_select::concat::concat_batches(&batch.schema(), &batches).unwrap();
        // Bits, not numbers: NaN is not equal to itself.
        for (was, is) in batch.columns().iter().zip(read.columns()) {
            prop_assert_eq!(format!("{:?}", was), format!("{:?}", is));
        }
    }
}
