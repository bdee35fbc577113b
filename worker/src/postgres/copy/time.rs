//! Dates, times, timestamps and intervals. PostgreSQL counts from 2000-01-01, arrow from 1970-01-01.

use std::fmt::Write;

use super::values::Wrong;

/// Days from 1970 to 2000.
const EPOCH_DAYS: i32 = 10_957;
const MICROS_PER_DAY: i64 = 86_400_000_000;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * MICROS_PER_DAY;
/// The days from 0001-01-01 to 9999-12-31: what lies beyond, most readers of tables take for something else or fail on.
const USABLE_DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Days since 1970.
pub(super) fn date(bytes: &[u8]) -> Result<i32, Wrong> {
    let days = i32::from_be_bytes(bytes.try_into().map_err(|_| Wrong::Damaged)?);
    match days {
        i32::MAX => Err(Wrong::Special("infinity")),
        i32::MIN => Err(Wrong::Special("-infinity")),
        _ => usable(days.checked_add(EPOCH_DAYS), |days| *days),
    }
}

/// Microseconds since 1970.
pub(super) fn timestamp(bytes: &[u8]) -> Result<i64, Wrong> {
    let micros = i64::from_be_bytes(bytes.try_into().map_err(|_| Wrong::Damaged)?);
    match micros {
        i64::MAX => Err(Wrong::Special("infinity")),
        i64::MIN => Err(Wrong::Special("-infinity")),
        _ => usable(micros.checked_add(EPOCH_MICROS), |micros| {
            i32::try_from(micros.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX)
        }),
    }
}

fn usable<T>(value: Option<T>, days: impl Fn(&T) -> i32) -> Result<T, Wrong> {
    const BEYOND: Wrong = Wrong::Special("a year before 1 or after 9999");
    let value = value.ok_or(BEYOND)?;
    match USABLE_DAYS.contains(&days(&value)) {
        true => Ok(value),
        false => Err(BEYOND),
    }
}

/// Microseconds since midnight. PostgreSQL's day ends at 24:00, which is no time of arrow's.
pub(super) fn time(bytes: &[u8]) -> Result<i64, Wrong> {
    match i64::from_be_bytes(bytes.try_into().map_err(|_| Wrong::Damaged)?) {
        micros @ 0..MICROS_PER_DAY => Ok(micros),
        MICROS_PER_DAY => Err(Wrong::Special("24:00:00")),
        _ => Err(Wrong::Damaged),
    }
}

/// ISO 8601, each part with its own sign, as PostgreSQL writes it with `IntervalStyle = iso_8601`.
pub(super) fn interval(bytes: &[u8]) -> Result<String, Wrong> {
    let bytes: &[u8; 16] = bytes.try_into().map_err(|_| Wrong::Damaged)?;
    let [a, b, c, d, e, f, g, h, days @ .., i, j, k, l] = *bytes;
    let micros = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let (days, months) = (i32::from_be_bytes(days), i32::from_be_bytes([i, j, k, l]));
    match (micros, days, months) {
        (0, 0, 0) => return Ok("PT0S".to_owned()),
        (i64::MAX, i32::MAX, i32::MAX) => return Ok("infinity".to_owned()),
        (i64::MIN, i32::MIN, i32::MIN) => return Ok("-infinity".to_owned()),
        _ => {}
    }
    let mut text = "P".to_owned();
    let part = |text: &mut String, value: i64, unit: char| {
        if value != 0 {
            // Writing to a string does not fail.
            let _ = write!(text, "{value}{unit}");
        }
    };
    part(&mut text, i64::from(months / 12), 'Y');
    part(&mut text, i64::from(months % 12), 'M');
    part(&mut text, days.into(), 'D');
    if micros != 0 {
        text.push('T');
        let minutes = micros / (60 * MICROS_PER_SECOND);
        part(&mut text, minutes / 60, 'H');
        part(&mut text, minutes % 60, 'M');
        let rest = micros % (60 * MICROS_PER_SECOND);
        if rest != 0 {
            text.push_str(&seconds(rest));
        }
    }
    Ok(text)
}

fn seconds(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let (whole, fraction) = (micros / MICROS_PER_SECOND.unsigned_abs(), micros % MICROS_PER_SECOND.unsigned_abs());
    let fraction = format!(".{fraction:06}");
    format!("{sign}{whole}{}S", fraction.trim_end_matches('0').trim_end_matches('.'))
}
