//! DataFusion's errors in windrow's words.

use datafusion::error::DataFusionError;
use windrow_common::error;

use crate::error::WorkerError;

/// An error while planning: the SQL does not fit the input.
pub(super) fn planning(cause: &DataFusionError) -> WorkerError {
    WorkerError::never(error::BAD_SQL, cleaned(cause)).fix("a step is one SELECT over the table `input`")
}

/// An error while running.
pub(super) fn running(cause: &DataFusionError) -> WorkerError {
    match cause.find_root() {
        DataFusionError::ResourcesExhausted(_) => WorkerError::never(
            error::OUT_OF_MEMORY,
            format!("the transform needs more memory than it may take: {}", cleaned(cause)),
        )
        .fix("raise `limits.memory`, or make the windows smaller"),
        _ => WorkerError::never(error::SQL_FAILED, cleaned(cause))
            .fix("select the rows it fails on with a filter, or use TRY_CAST where a value may not fit"),
    }
}

/// The innermost message, on one line, without DataFusion's headings.
fn cleaned(cause: &DataFusionError) -> String {
    let text = cause.find_root().strip_backtrace();
    let headings = [
        "Error during planning: ",
        "Schema error: ",
        "SQL error: ",
        "Execution error: ",
        "Arrow error: ",
        "Optimizer rule ",
    ];
    let mut text = text.as_str();
    while let Some(rest) = headings.iter().find_map(|heading| text.strip_prefix(heading)) {
        text = rest;
    }
    let text = text.strip_prefix("ParserError(\"").and_then(|rest| rest.strip_suffix("\")")).unwrap_or(text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // A capital that only begins a sentence, not one that belongs to a word like SQL.
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(std::iter::once(second)).chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}
