//! `windrow explain WR-XXXX`: the page of an error code, the same as in `docs/errors/`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use windrow_common::error::CATALOGUE;

/// The pages, as (code, text), made by the build script from `docs/errors/`.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// 0 when there is a page, 2 when there is no such code.
pub fn run(code: &str) -> anyhow::Result<ExitCode> {
    if let Some(page) = page(code) {
        io::stdout().write_all(page.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(io::stderr(), "there is no error code {code}; these are all:")?;
    for entry in CATALOGUE {
        writeln!(io::stderr(), "  {}  {}", entry.code, entry.meaning)?;
    }
    Ok(ExitCode::from(2))
}

/// Whether the text has the form of an error code, so that `explain` can tell it from a window or a task.
pub fn is_code(text: &str) -> bool {
    text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("WR-"))
}

/// The page of a code.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_catalogue_can_be_explained() {
        for entry in CATALOGUE {
            let page = page(&entry.code.to_lowercase());
            assert!(page.is_some_and(|page| page.contains(entry.code)), "{}", entry.code);
        }
    }
}
