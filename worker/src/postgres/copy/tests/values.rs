//! Each type's bytes, and above all the values at its edges.

use arrow::util::display::array_value_to_string;
use arrow_array::Array;

use super::*;

/// What a value becomes, `NULL`, or the reason why it becomes nothing.
fn read(form: &Form, bytes: &[u8], special: Special) -> Result<String, String> {
    let bytes = stream(&[vec![Some(bytes.to_vec())]]);
    let (batches, flawed) = decoded(&mut decoder(vec![form.clone()], special, Limits::default()), &bytes, 13).unwrap();
    match flawed.first() {
        Some(flawed) => Err(flawed.flaw.reason.clone()),
        None if batches[0].column(0).is_null(0) => Ok("NULL".to_owned()),
        None => Ok(array_value_to_string(batches[0].column(0), 0).unwrap()),
    }
}

fn numeric(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Vec<u8> {
    let head = [u16::try_from(groups.len()).unwrap(), weight.cast_unsigned(), sign, scale];
    head.iter().chain(groups).flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn decimals_are_exact_or_they_are_flaws() {
    let form = Form::Decimal { precision: 6, scale: 2 };
    let of = |bytes: Vec<u8>| read(&form, &bytes, Special::Reject);
    assert_eq!(of(numeric(0, 0, 2, &[12, 3_400])).unwrap(), "12.34");
    assert_eq!(of(numeric(0, 0x4000, 2, &[9_999, 9_900])).unwrap(), "-9999.99");
    assert_eq!(of(numeric(0, 0, 0, &[])).unwrap(), "0.00");
    assert_eq!(of(numeric(-1, 0, 2, &[500])).unwrap(), "0.05");
    assert!(of(numeric(1, 0, 0, &[1])).unwrap_err().contains("10000 does not fit decimal(6,2)"));
    assert!(of(numeric(0, 0, 3, &[1, 10])).unwrap_err().contains("1.001 does not fit"));
    assert!(of(numeric(0, 0xC000, 0, &[])).unwrap_err().contains("NaN"));
    assert_eq!(read(&form, &numeric(0, 0xD000, 0, &[]), Special::Null).unwrap(), "NULL");
    // What does not fit is no special value: null is not declared for it.
    assert!(read(&form, &numeric(1, 0, 0, &[1]), Special::Null).is_err());
    assert!(of(numeric(0, 0, 0, &[10_000])).unwrap_err().contains("bytes"));
    assert!(of(vec![0, 1, 0, 0]).unwrap_err().contains("bytes"));
}

#[test]
fn the_widest_decimals_lose_no_digit() {
    let widest = Form::Decimal { precision: 38, scale: 2 };
    let nines = numeric(8, 0, 2, &[9_999, 9_999, 9_999, 9_999, 9_999, 9_999, 9_999, 9_999, 9_999, 9_900]);
    assert_eq!(read(&widest, &nines, Special::Reject).unwrap(), format!("{}.99", "9".repeat(36)));
    let over = numeric(9, 0, 0, &[1]);
    assert!(read(&widest, &over, Special::Reject).is_err());
    let wide = Form::Decimal { precision: 76, scale: 0 };
    let nines = numeric(18, 0x4000, 0, &[9_999; 19]);
    assert_eq!(read(&wide, &nines, Special::Reject).unwrap(), format!("-{}", "9".repeat(76)));
    assert!(read(&wide, &numeric(19, 0, 0, &[1]), Special::Reject).is_err());
    assert!(read(&wide, &numeric(32_767, 0, 0, &[1]), Special::Reject).is_err());
}

#[test]
fn numbers_of_any_size_are_text_as_the_server_writes_it() {
    let of = |bytes: Vec<u8>| read(&Form::NumericText, &bytes, Special::Reject).unwrap();
    assert_eq!(of(numeric(0, 0x4000, 5, &[1, 2_345])), "-1.23450");
    assert_eq!(of(numeric(2, 0, 0, &[1])), "100000000");
    assert_eq!(of(numeric(-3, 0, 12, &[7])), "0.000000000007");
    assert_eq!(of(numeric(0, 0xC000, 0, &[])), "NaN");
    assert_eq!(of(numeric(0, 0xF000, 0, &[])), "-Infinity");
}

#[test]
fn instants_outside_of_what_readers_know_are_special() {
    let utc = Form::Timestamp { utc: true };
    let of = |micros: i64| read(&utc, &micros.to_be_bytes(), Special::Reject);
    assert_eq!(of(0).unwrap(), "2000-01-01T00:00:00Z");
    assert_eq!(of(252_455_615_999_999_999).unwrap(), "9999-12-31T23:59:59.999999Z");
    assert!(of(252_455_616_000_000_000).unwrap_err().contains("9999"));
    assert_eq!(of(-63_082_281_600_000_000).unwrap(), "0001-01-01T00:00:00Z");
    assert!(of(-63_082_281_600_000_001).is_err());
    assert!(of(i64::MAX).unwrap_err().contains("infinity"));
    assert!(of(i64::MIN).unwrap_err().contains("-infinity"));
    assert!(of(i64::MAX - 1).unwrap_err().contains("9999"));
    assert_eq!(read(&utc, &i64::MAX.to_be_bytes(), Special::Null).unwrap(), "NULL");
    let day = |days: i32| read(&Form::Date, &days.to_be_bytes(), Special::Reject);
    assert_eq!(day(0).unwrap(), "2000-01-01");
    assert_eq!(day(2_921_939).unwrap(), "9999-12-31");
    assert!(day(2_921_940).is_err() && day(i32::MAX).is_err() && day(i32::MIN).is_err());
    assert_eq!(day(-730_119).unwrap(), "0001-01-01");
    let time = |micros: i64| read(&Form::Time, &micros.to_be_bytes(), Special::Reject);
    assert_eq!(time(86_399_999_999).unwrap(), "23:59:59.999999");
    assert!(time(86_400_000_000).unwrap_err().contains("24:00:00"));
}

#[test]
fn intervals_keep_months_days_and_time_apart() {
    let of = |micros: i64, days: i32, months: i32| {
        let bytes = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat();
        read(&Form::Interval, &bytes, Special::Reject).unwrap()
    };
    assert_eq!(of(0, 0, 0), "PT0S");
    assert_eq!(of(3_723_004_500, 4, 14), "P1Y2M4DT1H2M3.0045S");
    assert_eq!(of(-500_000, 0, 0), "PT-0.5S");
    assert_eq!(of(-3_600_000_000, 1, -1), "P-1M1DT-1H");
}

#[test]
fn addresses_and_identifiers_are_text() {
    let inet = |bytes: &[u8]| read(&Form::Inet, bytes, Special::Reject);
    assert_eq!(inet(&[2, 32, 0, 4, 10, 0, 0, 1]).unwrap(), "10.0.0.1");
    assert_eq!(inet(&[2, 8, 0, 4, 10, 0, 0, 1]).unwrap(), "10.0.0.1/8");
    assert_eq!(inet(&[2, 32, 1, 4, 10, 0, 0, 1]).unwrap(), "10.0.0.1/32");
    let v6 = |tail: [u8; 16]| inet(&[&[3, 128, 0, 16][..], &tail].concat()).unwrap();
    assert_eq!(v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), "::1.2.3.4");
    assert_eq!(v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "::1");
    assert_eq!(v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), "::ffff");
    assert_eq!(v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4]), "::ffff:1.2.3.4");
    assert!(inet(&[9, 32, 0, 4, 10, 0, 0, 1]).is_err() && inet(&[2, 32, 0, 4, 10]).is_err());
    let uuid = read(&Form::Uuid, &[0xab; 16], Special::Reject).unwrap();
    assert_eq!(uuid, "abababab-abab-abab-abab-abababababab");
    assert_eq!(read(&Form::MacAddress, &[8, 0, 0x2b, 1, 2, 3], Special::Reject).unwrap(), "08:00:2b:01:02:03");
    assert_eq!(read(&Form::Oid, &[0xff; 4], Special::Reject).unwrap(), "4294967295");
    assert_eq!(read(&Form::Jsonb, b"\x01{\"a\": 1}", Special::Reject).unwrap(), "{\"a\": 1}");
    assert!(read(&Form::Jsonb, b"\x02{}", Special::Reject).is_err());
    assert!(read(&Form::Bool, &[2], Special::Reject).is_err());
}

fn array(dimensions: &[i32], elements: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = i32::try_from(dimensions.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 23]);
    for size in dimensions {
        bytes.extend(size.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for element in elements {
        bytes.extend(element.map_or(-1, |element| i32::try_from(element.len()).unwrap()).to_be_bytes());
        bytes.extend(element.iter().flat_map(|element| element.iter()));
    }
    bytes
}

#[test]
fn lists_keep_nulls_and_emptiness_and_take_no_second_dimension() {
    let form = Form::List(Box::new(Form::Int32));
    let of = |bytes: Vec<u8>| read(&form, &bytes, Special::Reject);
    assert_eq!(of(array(&[3], &[Some(&[0, 0, 0, 7]), None, Some(&[0, 0, 0, 9])])).unwrap(), "[7, , 9]");
    assert_eq!(of(array(&[], &[])).unwrap(), "[]");
    let two = array(&[1, 2], &[Some(&[0, 0, 0, 7]), Some(&[0, 0, 0, 8])]);
    assert!(of(two).unwrap_err().contains("2 dimensions"));
    assert!(of(array(&[2], &[Some(&[0, 0, 0, 7])])).is_err(), "an element is missing");
    assert!(of([array(&[0], &[]), vec![0]].concat()).is_err(), "bytes are left");
    let dates = Form::List(Box::new(Form::Date));
    let forever = array(&[2], &[Some(&[0; 4]), Some(&i32::MAX.to_be_bytes())]);
    assert!(read(&dates, &forever, Special::Reject).unwrap_err().contains("infinity"));
    assert_eq!(read(&dates, &forever, Special::Null).unwrap(), "[2000-01-01, ]");
}

#[test]
fn lists_behind_a_flawed_one_stay_in_their_rows() {
    let form = Form::List(Box::new(Form::Int32));
    let good = array(&[2], &[Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 2])]);
    let bad = array(&[2], &[Some(&[0, 0, 0, 3]), Some(&[0])]);
    let rows: Vec<_> = [&good, &bad, &good].into_iter().map(|bytes| vec![Some(bytes.clone())]).collect();
    let mut decoder = decoder(vec![form], Special::Reject, Limits::default());
    let (batches, flawed) = decoded(&mut decoder, &stream(&rows), 1_000).unwrap();
    assert_eq!((batches[0].num_rows(), flawed[0].position), (2, 2));
    for row in 0..2 {
        assert_eq!(array_value_to_string(batches[0].column(0), row).unwrap(), "[1, 2]");
    }
}

#[test]
fn declared_precision_and_scale_decide_the_type_of_a_numeric() {
    let of = |modifier: i32| {
        let numeric = crate::postgres::Type {
            oid: 1700,
            name: "numeric".to_owned(),
            modifier,
            class: crate::postgres::Class::Base,
            domain: None,
        };
        Form::of(&numeric).unwrap()
    };
    let modifier = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
    assert_eq!(of(-1), Form::NumericText);
    assert_eq!(of(modifier(12, 2)), Form::Decimal { precision: 12, scale: 2 });
    assert_eq!(of(modifier(3, -2)), Form::Decimal { precision: 5, scale: 0 });
    assert_eq!(of(modifier(2, 5)), Form::Decimal { precision: 5, scale: 5 });
    assert_eq!(of(modifier(76, 0)), Form::Decimal { precision: 76, scale: 0 });
    assert_eq!(of(modifier(1_000, 10)), Form::NumericText);
}
