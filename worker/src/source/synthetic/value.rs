//! The values of made-up rows: pure functions of a seed and a position. Their definition is part of what the source
//! promises, so it never changes.

use std::fmt::Write;

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A well-mixed 64-bit value of another (the finaliser of SplitMix64).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The `lane`th 64 bits of a position.
fn bits(seed: u64, position: u64, lane: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(position)).wrapping_add(lane))
}

/// 128 bits as 32 hexadecimal digits.
pub(super) fn hash(seed: u64, position: u64) -> String {
    let mut text = String::with_capacity(32);
    // Writing to a String cannot fail.
    let _ = write!(text, "{:016x}{:016x}", bits(seed, position, 0), bits(seed, position, 1));
    text
}

/// A number in [0, 1), of 53 random bits.
pub(super) fn fraction(seed: u64, position: u64) -> f64 {
    (bits(seed, position, 2) >> 11) as f64 / (1_u64 << 53) as f64
}

/// `length` letters and digits.
pub(super) fn payload(seed: u64, position: u64, length: usize, text: &mut String) {
    text.clear();
    let mut lane = 3;
    while text.len() < length {
        let word = bits(seed, position, lane);
        lane += 1;
        let letters = (0..12).map(|i| char::from(LETTERS[(word >> (5 * i)) as usize & 31]));
        text.extend(letters.take(length - text.len()));
    }
}
