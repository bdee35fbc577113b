//! How many of something, in words for people. Pure.

/// `336,776`.
pub fn grouped(number: impl TryInto<u64>) -> String {
    let digits = whole(number).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `336,776 files`.
pub fn counted(number: impl TryInto<u64>, what: &str) -> String {
    let number = whole(number);
    format!("{} {what}{}", grouped(number), either(number, "", "s"))
}

/// What is said of one, or of any other number.
pub fn either(number: impl TryInto<u64>, one: &'static str, many: &'static str) -> &'static str {
    if whole(number) == 1 { one } else { many }
}

/// Nothing that is counted is more, or less than none.
fn whole(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_others_are_many() {
        assert_eq!([0_u64, 999, 336_776, 350_217_607].map(grouped), ["0", "999", "336,776", "350,217,607"]);
        assert_eq!([0, 1, 2_000].map(|number| counted(number, "row")), ["0 rows", "1 row", "2,000 rows"]);
        assert_eq!([0_usize, 1, 2].map(|number| either(number, "is", "are")), ["are", "is", "are"]);
    }
}
