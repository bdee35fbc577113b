//! Texts with placeholders. The set is closed: `{window.start:FMT}` and `{window.end:FMT}` with a strftime format, written
//! in the zone of whoever wrote it. What the text is (a path, an address) is not known here.

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use windrow_common::{error, window::Window};

use crate::error::{Result, WorkerError};

/// A text whose placeholders are known to make sense.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: String,
    pieces: Vec<Piece>,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Time { bound: Bound, format: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Start,
    End,
}

/// Whether a text as it is written depends on the window.
pub(crate) fn names_window(text: &str) -> bool {
    pieces(text).is_ok_and(|pieces| pieces.iter().any(Piece::is_time))
}

impl Template {
    /// Reads a text; the error says what is wrong with it.
    pub(crate) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), pieces: pieces(text)?, zone })
    }

    /// The text as it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the window decides what the text becomes.
    pub(crate) fn by_window(&self) -> bool {
        self.pieces.iter().any(Piece::is_time)
    }

    /// Whether the window's end decides what the text becomes.
    pub(crate) fn names_end(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Time { bound: Bound::End, .. }))
    }

    /// Another text, its times in the same zone.
    pub(crate) fn beside(&self, text: &str) -> Result<Self, String> {
        Self::parse(text, self.zone.clone())
    }

    /// The text in a window; `write` puts a time's text into the form its place needs.
    pub(crate) fn in_window(&self, window: &Window, write: impl Fn(String) -> String) -> Result<String> {
        let filled = match (self.by_window(), window.instants()) {
            (false, _) => Ok(self.text.clone()),
            (true, Some((start, end))) => self.fill(
                |bound| match bound {
                    Bound::Start => start,
                    Bound::End => end,
                },
                write,
            ),
            (true, None) => {
                return Err(WorkerError::never(
                    error::CONTRADICTION,
                    format!("the path {:?} asks for a window of time, and {window} is none", self.text),
                )
                .fix("take the placeholders out of `path`, or use `pattern: incremental`"));
            }
        };
        filled.map_err(|message| WorkerError::never(error::BAD_VALUE, message))
    }

    /// The text at one instant, which shows every fault a format can have.
    pub(crate) fn sample(&self) -> Result<String, String> {
        self.fill(|_| Timestamp::UNIX_EPOCH, |text| text)
    }

    /// The text with `any` in the place of every placeholder.
    pub(crate) fn in_any_window(&self, any: &str) -> String {
        let texts = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.as_str(),
            Piece::Time { .. } => any,
        });
        texts.collect()
    }

    fn fill(&self, instant: impl Fn(Bound) -> Timestamp, write: impl Fn(String) -> String) -> Result<String, String> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => filled.push_str(text),
                Piece::Time { bound, format } => {
                    let time = instant(*bound).to_zoned(self.zone.clone());
                    let text = strtime::format(format, &time).map_err(|cause| format!("{format:?}: {cause}"))?;
                    filled.push_str(&write(text));
                }
            }
        }
        Ok(filled)
    }
}

impl Piece {
    fn is_time(&self) -> bool {
        matches!(self, Self::Time { .. })
    }
}

/// Splits a text into literals and placeholders.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or("a `{` is not closed")? + open;
        let inner = &rest[open + 1..close];
        let piece = placeholder(inner)?;
        // `{a,b}` is no placeholder, in a path a glob's alternatives, and stays as it is.
        let literal_end = if piece.is_some() { open } else { close + 1 };
        if literal_end > 0 {
            pieces.push(Piece::Literal(rest[..literal_end].to_owned()));
        }
        pieces.extend(piece);
        rest = &rest[close + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

/// The placeholder between braces, or `None` for a glob's alternatives.
fn placeholder(inner: &str) -> Result<Option<Piece>, String> {
    let (name, format) = match inner.split_once(':') {
        Some((name, format)) => (name, Some(format)),
        None => (inner, None),
    };
    let bound = match (name.trim(), format) {
        ("window.start", Some(_)) => Bound::Start,
        ("window.end", Some(_)) => Bound::End,
        (name @ ("window.start" | "window.end"), None) => {
            return Err(format!("{{{name}}} needs a format: {{{name}:%Y-%m-%d}}"));
        }
        (_, None) if inner.contains(',') => return Ok(None),
        _ => {
            return Err(format!(
                "{{{inner}}} is no placeholder; there are {{window.start:FORMAT}} and {{window.end:FORMAT}}"
            ));
        }
    };
    let format = format.unwrap_or_default().to_owned();
    if !format.contains('%') || format.contains(['*', '?', '[', '\0']) {
        return Err(format!("{format:?} is no time format like %Y-%m-%d"));
    }
    Ok(Some(Piece::Time { bound, format }))
}
