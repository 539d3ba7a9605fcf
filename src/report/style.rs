//! How the run is shown and where to: chosen once, at the start. Deliberately absent: showing it.
use crate::plan::Paint;
use indicatif::ProgressDrawTarget;
use std::io::{self, IsTerminal, Write};

/// How the run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Live lines on a terminal.
    Bars,
    /// One plain line for each thing that was seen to happen.
    Lines,
    /// One JSON object a line on stdout.
    Json,
}

impl Style {
    /// The style of a human run: bars where stderr is a terminal that can move its cursor, lines otherwise.
    #[must_use]
    pub fn for_people() -> Self {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        if io::stderr().is_terminal() && !dumb { Style::Bars } else { Style::Lines }
    }
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// What it comes to on stdout.
    #[must_use]
    pub fn on_stdout(self) -> Paint {
        self.decide(io::stdout().is_terminal(), &|name| std::env::var(name).ok())
    }

    /// What it comes to on stderr.
    #[must_use]
    pub fn on_stderr(self) -> Paint {
        self.decide(io::stderr().is_terminal(), &|name| std::env::var(name).ok())
    }

    /// `NO_COLOR` counts when it is set and not empty, as <https://no-color.org> says.
    fn decide(self, terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> Paint {
        let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty()) || variable("TERM").is_some_and(|value| value == "dumb");
        match self {
            ColorChoice::Always => Paint::Colour,
            ColorChoice::Auto if terminal && !refused => Paint::Colour,
            ColorChoice::Auto | ColorChoice::Never => Paint::Plain,
        }
    }
}

/// Where the bytes go. A test hands in its own.
pub struct Sinks {
    /// Results.
    pub stdout: Box<dyn Write + Send>,
    /// Talk.
    pub stderr: Box<dyn Write + Send>,
    /// The terminal that bars are drawn on.
    pub terminal: ProgressDrawTarget,
}

impl Sinks {
    /// The process's own streams.
    #[must_use]
    pub fn standard() -> Self {
        Self { stdout: Box::new(io::stdout()), stderr: Box::new(io::stderr()), terminal: ProgressDrawTarget::stderr() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_asked_for_in_one_place() {
        let none = |_: &str| None;
        let no_color = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let empty = |name: &str| (name == "NO_COLOR").then(String::new);
        let dumb = |name: &str| (name == "TERM").then(|| "dumb".to_owned());
        assert_eq!(ColorChoice::Auto.decide(true, &none), Paint::Colour);
        assert_eq!(ColorChoice::Auto.decide(false, &none), Paint::Plain);
        assert_eq!(ColorChoice::Auto.decide(true, &no_color), Paint::Plain);
        assert_eq!(ColorChoice::Auto.decide(true, &empty), Paint::Colour);
        assert_eq!(ColorChoice::Auto.decide(true, &dumb), Paint::Plain);
        assert_eq!(ColorChoice::Always.decide(false, &no_color), Paint::Colour);
        assert_eq!(ColorChoice::Never.decide(true, &none), Paint::Plain);
    }
}
