//! What is wrong with pipeline files: where, why and what to do. It knows nothing of YAML, pipelines or terminals.

use windrow_common::error::ErrorCode;

/// A stretch of one line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Index into the list of files that were read.
    pub file: usize,
    /// From 1; 0 when the whole file is meant.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// In characters; it may reach past the end of the line for a text of several lines.
    pub length: u32,
}

impl Span {
    /// The file as a whole.
    pub fn file(file: usize) -> Self {
        Self { file, line: 0, column: 0, length: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The files cannot be used.
    Error,
    /// They can, but perhaps not as their writer thinks.
    Warning,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: ErrorCode,
    pub span: Span,
    /// Lowercase, without a final dot; never with a secret in it.
    pub message: String,
    /// What the writer can do about it.
    pub fix: Option<String>,
}

impl Diagnostic {
    pub(crate) fn fix(&mut self, fix: impl Into<String>) {
        self.fix = Some(fix.into());
    }
}

/// Collects what is found, in any order.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Diagnostic>);

impl Findings {
    pub(crate) fn error(&mut self, code: ErrorCode, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, code, span, message.into())
    }

    pub(crate) fn warning(&mut self, code: ErrorCode, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, code, span, message.into())
    }

    fn push(&mut self, severity: Severity, code: ErrorCode, span: Span, message: String) -> &mut Diagnostic {
        let at = self.0.len();
        self.0.push(Diagnostic { severity, code, span, message, fix: None });
        &mut self.0[at]
    }

    /// How many errors there are so far: a block whose reading raised none is sound.
    pub(crate) fn errors(&self) -> usize {
        self.0.iter().filter(|found| found.severity == Severity::Error).count()
    }

    pub(crate) fn has(&self, code: ErrorCode, span: Span) -> bool {
        self.0.iter().any(|found| found.code == code && found.span == span)
    }

    /// All of them by place. What several pipelines share, such as a default, is reported once.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.0.sort_by_key(|found| (found.span, found.code.code));
        self.0.dedup();
        self.0
    }
}
