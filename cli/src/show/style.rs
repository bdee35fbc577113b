//! Colours, where they are wanted: on a terminal, unless `NO_COLOR` or `TERM=dumb` says otherwise.

use std::{env, fmt::Display, io::IsTerminal};

/// How to set off parts of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// What suits the stream.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { coloured: stream.is_terminal() && !unwanted }
    }

    pub fn plain() -> Self {
        Self { coloured: false }
    }

    pub fn coloured() -> Self {
        Self { coloured: true }
    }

    pub fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: impl Display) -> String {
        self.paint("1;31", text)
    }

    pub fn green(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: impl Display) -> String {
        self.paint("1;33", text)
    }

    pub fn blue(self, text: impl Display) -> String {
        self.paint("34", text)
    }

    fn paint(self, colour: &str, text: impl Display) -> String {
        if self.coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}
