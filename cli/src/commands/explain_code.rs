//! `windrow explain WR-XXXX`: the page of an error code, the same as in `docs/errors/`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use windrow_common::error::CATALOGUE;

/// The pages, as (code, text), made by the build script from `docs/errors/`.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// Explain an error code
// Flattened into the arguments of `explain`, which are called `Args` too: the group needs a name of its own.
#[derive(Debug, clap::Args)]
#[group(id = "error_code")]
pub struct Args {
    /// The code, as it stands in the error: WR-W002
    code: String,
}

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

/// The page of a code.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use clap::{Command, Subcommand};

    use super::*;

    fn command_line() -> Command {
        super::super::Command::augment_subcommands(Command::new("windrow"))
    }

    /// What of a command line as it stands in a page the command does not know.
    fn unknown(line: &str) -> Option<String> {
        let mut command = command_line();
        for word in line.split_whitespace() {
            let known = match word.strip_prefix("--") {
                Some("help" | "version") => true,
                Some(flag) => command.get_arguments().any(|argument| argument.get_long() == Some(flag)),
                None if word.chars().all(|c| c.is_ascii_lowercase()) && command.has_subcommands() => {
                    let inner = command.find_subcommand(word).cloned();
                    inner.map(|inner| command = inner).is_some()
                }
                None => true,
            };
            if !known {
                return Some(word.to_owned());
            }
        }
        None
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command_line().debug_assert();
    }

    #[test]
    fn pages_advise_only_commands_that_exist() {
        for (code, text) in PAGES {
            for line in text.split("`windrow ").skip(1).filter_map(|rest| rest.split('`').next()) {
                assert_eq!(unknown(line), None, "{code}: windrow {line}");
            }
        }
        assert_eq!(unknown("frobnicate"), Some("frobnicate".to_owned()));
        assert_eq!(unknown("backfill create NAME --frm 1"), Some("--frm".to_owned()));
    }

    #[test]
    fn every_code_of_the_catalogue_can_be_explained() {
        for entry in CATALOGUE {
            let page = page(&entry.code.to_lowercase());
            assert!(page.is_some_and(|page| page.contains(entry.code)), "{}", entry.code);
        }
    }
}
