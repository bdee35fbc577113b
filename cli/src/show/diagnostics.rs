//! Diagnostics as people read them: message, place, the line with the spot underlined, the fix. And as programs do.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    file::{Diagnostic, Loaded, Severity, Span},
    show::Style,
};

/// Most characters of a source line that are shown.
const MAX_LINE: usize = 120;

/// All diagnostics and the summary line.
pub fn render(loaded: &Loaded, style: Style) -> String {
    let mut text = String::new();
    for found in &loaded.diagnostics {
        text.push_str(&one(found, loaded, style));
    }
    text.push_str(&summary(loaded));
    text.push('\n');
    text
}

/// `1 error, 0 warnings in 3 files`.
pub fn summary(loaded: &Loaded) -> String {
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    format!(
        "{}, {} in {}",
        count(loaded.count(Severity::Error), "error"),
        count(loaded.count(Severity::Warning), "warning"),
        count(loaded.files.len(), "file"),
    )
}

fn one(found: &Diagnostic, loaded: &Loaded, style: Style) -> String {
    let head = format!("{}[{}]", found.severity.word(), found.code);
    let head = match found.severity {
        Severity::Error => style.red(head),
        Severity::Warning => style.yellow(head),
    };
    let mut text = format!("{head}{}\n", style.bold(format!(": {}", found.message)));
    let name = loaded.files.get(found.span.file).map_or("?", |file| &file.name);
    if found.span.line == 0 {
        let _ = writeln!(text, "  {name}");
    } else {
        let _ = writeln!(text, "  {name}:{}:{}", found.span.line, found.span.column);
        text.push_str(&snippet(found, loaded, style).unwrap_or_default());
    }
    let more = style.dim(format!("more: windrow explain {}", found.code));
    match &found.fix {
        Some(fix) => {
            let _ = writeln!(text, "  {} {fix}     {more}", style.blue("fix:"));
        }
        None => {
            let _ = writeln!(text, "  {more}");
        }
    }
    text
}

/// The line with the spot underlined.
fn snippet(found: &Diagnostic, loaded: &Loaded, style: Style) -> Option<String> {
    let span = found.span;
    let line = loaded.files.get(span.file)?.text.lines().nth(span.line as usize - 1)?;
    let shown = shown(line, span, &loaded.hidden);
    let start = (span.column as usize).saturating_sub(1).min(shown.len());
    let length = (span.length as usize).min(shown.len() - start).max(1);
    // Of a long line, the stretch around the spot.
    let from = if shown.len() > MAX_LINE { start.saturating_sub(MAX_LINE / 3) } else { 0 };
    let excerpt: String = shown[from..].iter().take(MAX_LINE).collect();
    let under = "^".repeat(length.min(MAX_LINE.saturating_sub(start - from).max(1)));
    let under = match found.severity {
        Severity::Error => style.red(under),
        Severity::Warning => style.yellow(under),
    };
    let number = style.blue(format!("{:>5} |", span.line));
    let bar = style.blue("      |");
    Some(format!("{number} {}\n{bar} {}{under}\n", excerpt.trim_end(), " ".repeat(start - from)))
}

/// The line as it may be shown: no secrets, and nothing a terminal would act upon.
fn shown(line: &str, span: Span, hidden: &[Span]) -> Vec<char> {
    let on_line = |secret: &&Span| secret.file == span.file && secret.line == span.line;
    let secrets: Vec<_> = hidden.iter().filter(on_line).collect();
    line.chars()
        .enumerate()
        .map(|(index, character)| {
            let column = index + 1;
            let secret = secrets
                .iter()
                .any(|secret| (secret.column as usize..(secret.column + secret.length) as usize).contains(&column));
            match character {
                _ if secret => '*',
                character if character.is_control() => ' ',
                character => character,
            }
        })
        .collect()
}

/// The same for programs.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    pub errors: usize,
    pub warnings: usize,
    pub files: usize,
    pub diagnostics: Vec<Item<'a>>,
}

#[derive(Debug, Serialize)]
pub struct Item<'a> {
    pub severity: &'static str,
    pub code: &'static str,
    pub file: &'a str,
    /// From 1; 0 for the file as a whole.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    pub length: u32,
    pub message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'a str>,
}

pub fn report(loaded: &Loaded) -> Report<'_> {
    Report {
        errors: loaded.count(Severity::Error),
        warnings: loaded.count(Severity::Warning),
        files: loaded.files.len(),
        diagnostics: loaded.diagnostics.iter().map(|found| Item::of(found, loaded)).collect(),
    }
}

impl<'a> Item<'a> {
    fn of(found: &'a Diagnostic, loaded: &'a Loaded) -> Self {
        Self {
            severity: found.severity.word(),
            code: found.code.code,
            file: loaded.files.get(found.span.file).map_or("", |file| &file.name),
            line: found.span.line,
            column: found.span.column,
            length: found.span.length,
            message: &found.message,
            fix: found.fix.as_deref(),
        }
    }
}
