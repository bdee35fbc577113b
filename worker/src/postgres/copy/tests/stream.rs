//! Heads, rows and ends, wherever the chunks are cut.

use arrow_array::{Array, cast::AsArray, types::Int32Type};

use super::*;

fn rows(count: i32) -> Vec<Vec<Option<Vec<u8>>>> {
    let row = |id: i32| vec![Some(id.to_be_bytes().to_vec()), (id % 3 != 0).then(|| format!("n{id}").into_bytes())];
    (0..count).map(row).collect()
}

fn forms() -> Vec<Form> {
    vec![Form::Int32, Form::Text]
}

#[test]
fn rows_are_the_same_wherever_the_chunks_are_cut() {
    let bytes = stream(&rows(50));
    for piece in [1, 2, 3, 7, 19, 20, 64, 10_000] {
        let mut decoder = decoder(forms(), Special::Reject, Limits::default());
        let (batches, flawed) = decoded(&mut decoder, &bytes, piece).unwrap();
        assert!(flawed.is_empty());
        let ids: Vec<i32> =
            batches.iter().flat_map(|b| b.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
        assert_eq!(ids, (0..50).collect::<Vec<_>>(), "in pieces of {piece}");
        assert_eq!(batches.iter().map(|batch| batch.column(1).null_count()).sum::<usize>(), 17);
    }
}

#[test]
fn batches_end_at_so_many_rows_or_bytes() {
    let bytes = stream(&rows(100));
    let by_rows = Limits { rows: 30, ..Limits::default() };
    let (batches, _) = decoded(&mut decoder(forms(), Special::Reject, by_rows), &bytes, 11).unwrap();
    assert_eq!(batches.iter().map(|b| b.num_rows()).collect::<Vec<_>>(), [30, 30, 30, 10]);
    let by_bytes = Limits { bytes: 64, ..Limits::default() };
    let (batches, _) = decoded(&mut decoder(forms(), Special::Reject, by_bytes), &bytes, 1_000_000).unwrap();
    assert!(batches.iter().all(|batch| batch.num_rows() <= 6), "no batch has much more than 64 bytes");
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 100);
}

#[test]
fn a_stream_that_broke_off_or_is_no_copy_is_an_error() {
    let bytes = stream(&rows(3));
    let of = |bytes: &[u8]| decoded(&mut decoder(forms(), Special::Reject, Limits::default()), bytes, 5).map(drop);
    for cut in 0..bytes.len() {
        assert_eq!(of(&bytes[..cut]), Err(StreamError::Cut), "cut at {cut}");
    }
    assert_eq!(of(b"1\tplain text\n2\tof COPY\n"), Err(StreamError::Head));
    assert_eq!(of(&[bytes.clone(), vec![0]].concat()), Err(StreamError::AfterEnd));
    let one = stream(&[vec![Some(vec![0; 4])]]);
    assert_eq!(of(&one), Err(StreamError::Fields { expected: 2, found: 1 }));
    let mut oids = bytes;
    oids[12] = 1;
    assert_eq!(of(&oids), Err(StreamError::Head));
}

/// What the framer gives out, in pieces of the stream, is the stream less its head and its end.
#[test]
fn rows_that_are_left_as_they_are_keep_every_byte() {
    use arrow_schema::DataType;
    let bytes = stream(&rows(100));
    let schema = Arc::new(Schema::new(vec![Field::new("row", DataType::Binary, false)]));
    for (piece, limits) in [
        (1, Limits::default()),
        (7, Limits { rows: 30, ..Limits::default() }),
        (1_000_000, Limits { bytes: 64, ..Limits::default() }),
    ] {
        let mut framer = Framer::new(schema.clone(), 2, limits);
        let (mut found, mut counted) = (Vec::new(), 0);
        let mut take = |framer: &mut Framer| {
            let batch = framer.take().unwrap();
            counted += batch.num_rows();
            batch.column(0).as_binary::<i32>().iter().for_each(|row| found.extend_from_slice(row.unwrap()));
        };
        for mut chunk in bytes.chunks(piece) {
            while framer.feed(&mut chunk).unwrap() {
                take(&mut framer);
            }
        }
        framer.finish().unwrap();
        take(&mut framer);
        assert_eq!(counted, 100, "in pieces of {piece}");
        assert_eq!([&PLAIN_HEAD[..], &found, &END].concat(), bytes, "in pieces of {piece}");
    }
}

/// A stream that broke off, or that has other rows, is no whole one for the framer either.
#[test]
fn rows_that_are_left_as_they_are_are_counted_all_the_same() {
    let schema = Arc::new(Schema::new(vec![Field::new("row", arrow_schema::DataType::Binary, false)]));
    let bytes = stream(&rows(3));
    let of = |bytes: &[u8], columns: usize| {
        let mut framer = Framer::new(schema.clone(), columns, Limits::default());
        framer.feed(&mut &bytes[..])?;
        framer.finish()
    };
    assert_eq!(of(&bytes, 2), Ok(()));
    assert_eq!(of(&bytes, 3), Err(StreamError::Fields { expected: 3, found: 2 }));
    assert!((0..bytes.len()).all(|cut| of(&bytes[..cut], 2) == Err(StreamError::Cut)));
}

#[test]
fn a_row_longer_than_the_bound_is_refused_before_it_is_kept() {
    let limits = Limits { row_bytes: 1_000, ..Limits::default() };
    let bytes = stream(&[vec![Some(vec![0; 4]), Some(vec![b'x'; 5_000])]]);
    for piece in [10, 10_000] {
        let mut decoder = decoder(forms(), Special::Reject, limits);
        assert_eq!(decoded(&mut decoder, &bytes, piece).map(drop), Err(StreamError::TooLong(1_000)));
    }
}

#[test]
fn a_flawed_row_leaves_as_a_whole_and_says_where_and_why() {
    let mut all = rows(10);
    all[4][0] = Some(vec![1, 2, 3]);
    all[7][1] = Some(vec![0xff, 0xfe]);
    let mut decoder = decoder(forms(), Special::Null, Limits { rows: 6, ..Limits::default() });
    let (batches, flawed) = decoded(&mut decoder, &stream(&all), 9).unwrap();
    let ids: Vec<i32> =
        batches.iter().flat_map(|b| b.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
    assert_eq!(ids, [0, 1, 2, 3, 5, 6, 8, 9]);
    let told: Vec<_> = flawed.iter().map(|f| (f.position, f.flaw.code.code, f.raw.as_str())).collect();
    assert_eq!(told, [(5, "WR-S003", "c0=\\x010203, c1=n4"), (8, "WR-S005", "c0=7, c1=\\xfffe")]);
    assert!(flawed[1].flaw.reason.starts_with("column \"c1\": "), "{}", flawed[1].flaw.reason);
}

#[test]
fn a_null_cursor_is_a_flaw_and_other_nulls_are_none() {
    let mut decoder = decoder(forms(), Special::Reject, Limits::default()).with_cursor(Some(1));
    let (batches, flawed) = decoded(&mut decoder, &stream(&rows(6)), 100).unwrap();
    assert_eq!(batches[0].num_rows(), 4);
    assert!(flawed.iter().all(|flawed| flawed.flaw.code == windrow_common::error::CURSOR_MISSING));
}
