//! `numeric`: groups of four decimal digits with a weight, a sign and a display scale.

use arrow_buffer::i256;

use super::values::Wrong;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;
/// Digits of a group.
const GROUP: i32 = 4;
/// Groups whose digits fit 128 bits with room for a shift.
const FEW_GROUPS: usize = 8;
/// Digits of the widest decimal.
const WIDEST: usize = 76;
/// The powers of ten that 128 bits hold.
const POWERS: [i128; 39] = powers();

const fn powers() -> [i128; 39] {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
}

/// A number as it is sent.
pub(super) struct Numeric<'a> {
    /// Two bytes a group, most significant first.
    groups: &'a [u8],
    /// The first group counts 10000 to this power.
    weight: i32,
    negative: bool,
    /// Digits behind the point that are shown.
    scale: i32,
}

impl<'a> Numeric<'a> {
    /// NaN and infinity are [`Wrong::Special`].
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Wrong> {
        let (head, groups) = bytes.split_at_checked(8).ok_or(Wrong::Damaged)?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let count = usize::from(word(0));
        let weight = i32::from(word(2).cast_signed());
        let negative = match word(4) {
            0 => false,
            NEGATIVE => true,
            NAN => return Err(Wrong::Special("NaN")),
            INFINITY => return Err(Wrong::Special("Infinity")),
            MINUS_INFINITY => return Err(Wrong::Special("-Infinity")),
            _ => return Err(Wrong::Damaged),
        };
        let read = Self { groups, weight, negative, scale: i32::from(word(6)) };
        let sound = groups.len() == count * 2 && (0..count).all(|index| read.group(index) < 10_000);
        sound.then_some(read).ok_or(Wrong::Damaged)
    }

    fn count(&self) -> usize {
        self.groups.len() / 2
    }

    /// Groups that are not sent are zero.
    fn group(&self, index: usize) -> u16 {
        match self.groups.get(index * 2..index * 2 + 2) {
            Some(two) => u16::from_be_bytes([two[0], two[1]]),
            None => 0,
        }
    }

    /// The number times 10 to the power of `scale`, if that is a whole number of at most `precision` digits.
    pub(super) fn decimal128(&self, precision: u8, scale: i8) -> Result<i128, Wrong> {
        if self.count() > FEW_GROUPS {
            let wide = self.decimal256(precision, scale)?;
            return wide.to_i128().ok_or_else(|| self.misfit(precision, scale));
        }
        let misfit = || self.misfit(precision, scale);
        let digits = (0..self.count()).fold(0_i128, |sum, index| sum * 10_000 + i128::from(self.group(index)));
        if digits == 0 {
            return Ok(0);
        }
        let power = |exponent: u32| usize::try_from(exponent).ok().and_then(|exponent| POWERS.get(exponent).copied());
        let shift = self.exponent() + i32::from(scale);
        let scaled = match u32::try_from(shift) {
            Ok(up) => power(up).and_then(|power| digits.checked_mul(power)),
            Err(_) => power(shift.unsigned_abs()).and_then(|power| divided(digits, power)),
        };
        let (shifted, limit) = scaled.zip(power(precision.into())).ok_or_else(misfit)?;
        match shifted < limit {
            true => Ok(if self.negative { -shifted } else { shifted }),
            false => Err(misfit()),
        }
    }

    /// The same with more digits.
    pub(super) fn decimal256(&self, precision: u8, scale: i8) -> Result<i256, Wrong> {
        let misfit = || self.misfit(precision, scale);
        // Groups that are zero would only make the digits longer.
        if self.weight > (WIDEST as i32) / GROUP + 1 && self.count() > 0 {
            return Err(misfit());
        }
        let mut digits = String::new();
        self.push_whole(&mut digits);
        let whole = digits.len();
        let places = usize::try_from(scale).unwrap_or(0);
        let sent = (self.count() as i32 - 1 - self.weight).max(0) * GROUP;
        let sent = usize::try_from(sent).unwrap_or(0).max(places);
        self.push_fraction(sent, &mut digits);
        if digits[whole + places..].bytes().any(|digit| digit != b'0') {
            return Err(misfit());
        }
        digits.truncate(whole + places);
        let significant = digits.trim_start_matches('0');
        if significant.len() > usize::from(precision) {
            return Err(misfit());
        }
        let value = match significant.is_empty() {
            true => i256::ZERO,
            false => i256::from_string(significant).ok_or_else(misfit)?,
        };
        Ok(if self.negative { value.wrapping_neg() } else { value })
    }

    /// As PostgreSQL writes it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if self.negative {
            text.push('-');
        }
        self.push_whole(&mut text);
        if self.scale > 0 {
            text.push('.');
            self.push_fraction(usize::try_from(self.scale).unwrap_or(0), &mut text);
        }
        text
    }

    /// The power of ten that the last group sent counts.
    fn exponent(&self) -> i32 {
        (self.weight - self.count() as i32 + 1) * GROUP
    }

    /// The digits before the point, at least one.
    fn push_whole(&self, text: &mut String) {
        match usize::try_from(self.weight) {
            Err(_) => text.push('0'),
            Ok(last) => {
                text.push_str(&self.group(0).to_string());
                for index in 1..=last {
                    text.push_str(&format!("{:04}", self.group(index)));
                }
            }
        }
    }

    /// So many digits behind the point.
    fn push_fraction(&self, digits: usize, text: &mut String) {
        let from = text.len();
        let mut place = -1;
        while text.len() < from + digits {
            let group = usize::try_from(self.weight - place).map_or(0, |index| self.group(index));
            text.push_str(&format!("{group:04}"));
            place -= 1;
        }
        text.truncate(from + digits);
    }

    fn misfit(&self, precision: u8, scale: i8) -> Wrong {
        Wrong::Unfit(format!("{} does not fit decimal({precision},{scale})", self.text()))
    }
}

/// The quotient, if it is whole. A division of 128 bits is slow, and nearly all numbers need half of them.
fn divided(digits: i128, power: i128) -> Option<i128> {
    match (u64::try_from(digits), u64::try_from(power)) {
        (Ok(digits), Ok(power)) => (digits % power == 0).then(|| (digits / power).into()),
        _ => (digits % power == 0).then(|| digits / power),
    }
}
