//! What a bench found, line by line as it finds it, and which goals it missed.

use std::time::Duration;

/// One bench's figures.
pub(crate) struct Report {
    missed: usize,
}

/// What a figure has to be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    pub(crate) fn begin(name: &str) -> Self {
        println!("\n== {name}");
        Self { missed: 0 }
    }

    /// A line of its own.
    pub(crate) fn say(&mut self, text: impl AsRef<str>) {
        println!("{}", text.as_ref());
    }

    /// A figure that nothing is promised about.
    pub(crate) fn figure(&mut self, what: &str, value: impl AsRef<str>) {
        println!("  {what:<64} {:>14}", value.as_ref());
    }

    /// A figure with its goal.
    pub(crate) fn goal(&mut self, what: &str, found: f64, goal: Goal, unit: &str) {
        let (met, words) = match goal {
            Goal::AtMost(most) => (found <= most, format!("at most {most}{unit}")),
            Goal::AtLeast(least) => (found >= least, format!("at least {least}{unit}")),
        };
        self.missed += usize::from(!met);
        let verdict = if met { "met" } else { "MISSED" };
        println!("  {what:<64} {:>14}   {words}: {verdict}", format!("{}{unit}", rounded(found)));
    }

    /// How many goals were missed.
    pub(crate) fn end(self) -> usize {
        self.missed
    }
}

/// Three digits that mean something.
pub(crate) fn rounded(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{value:.2}"),
        medium if medium < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

pub(crate) fn millis(time: Duration) -> String {
    format!("{} ms", rounded(time.as_secs_f64() * 1e3))
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
