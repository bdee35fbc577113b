//! The decoder on bytes made by hand. That these are what a server sends, the tests on a real one see to.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_schema::{Field, Schema};

use super::{Decoder, END, Flawed, Form, Framer, Limits, PLAIN_HEAD, Special, StreamError};

pub(in crate::postgres) mod pgpq;
mod stream;
mod values;

/// A stream of rows of fields.
pub(super) fn stream(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0".to_vec();
    bytes.extend([0; 8]);
    for row in rows {
        bytes.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
        for field in row {
            let length = field.as_ref().map_or(-1, |field| i32::try_from(field.len()).unwrap());
            bytes.extend(length.to_be_bytes());
            bytes.extend(field.iter().flatten());
        }
    }
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

pub(super) fn decoder(forms: Vec<Form>, special: Special, limits: Limits) -> Decoder {
    let fields = forms.iter().enumerate().map(|(at, form)| Field::new(format!("c{at}"), form.data_type(), true));
    Decoder::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), forms, special, limits)
}

/// Everything a stream holds, fed in pieces of `piece` bytes.
pub(super) fn decoded(
    decoder: &mut Decoder,
    bytes: &[u8],
    piece: usize,
) -> Result<(Vec<arrow_array::RecordBatch>, Vec<Flawed>), StreamError> {
    let (mut batches, mut all_flawed) = (Vec::new(), Vec::new());
    let mut take = |decoder: &mut Decoder| {
        let (batch, flawed) = decoder.take().unwrap();
        batches.push(batch);
        all_flawed.extend(flawed);
    };
    for mut chunk in bytes.chunks(piece) {
        while decoder.feed(&mut chunk)? {
            take(decoder);
        }
        assert!(chunk.is_empty());
    }
    decoder.finish()?;
    take(decoder);
    Ok((batches, all_flawed))
}
