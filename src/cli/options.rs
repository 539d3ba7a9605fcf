//! Options that several commands share, and the words of those that have a choice. Deliberately absent: the commands.
use crate::model::Millis;
use crate::report::ColorChoice;
use clap::{Args as ClapArgs, ValueEnum};

/// `--probe` and its budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ClapArgs)]
pub struct Probing {
    /// Send requests to every service through every server's NGINX during the run, and count those that fail
    #[arg(long)]
    pub probe: bool,
    /// With --probe: undo the run when more than N of these requests fail
    #[arg(long, value_name = "N", default_value_t = 0, requires = "probe")]
    pub probe_budget: u32,
}

/// `--remove-orphans`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ClapArgs)]
pub struct Leaving {
    /// Take away the services of this project and environment that are not in the playbook, once everything else is done. Volumes stay
    #[arg(long)]
    pub remove_orphans: bool,
}

/// `--max-unreachable`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ClapArgs)]
pub struct DoingWithout {
    /// Go on without up to N servers that cannot be reached; they are left behind [default: `max_unreachable` of the playbook, or 0]
    #[arg(long, value_name = "N")]
    pub max_unreachable: Option<u32>,
}

/// `--lock-wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ClapArgs)]
pub struct Waiting {
    /// Wait this long for another run that works on the same servers, such as 5m; without it, exit 7 where there is one
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value_t = Millis(0), hide_default_value = true)]
    pub lock_wait: Millis,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting { lock_wait: Millis(0) }
    }
}

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Maintenance, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Requests for the public hosts get the maintenance page.
    On,
    /// They reach the service again.
    Off,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }
}

/// The shells that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names of the shells say it all, and a doc comment would become help text")]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// A time as it is typed: `90s`, `5m`.
pub(super) fn duration(text: &str) -> Result<Millis, String> {
    crate::config::duration(text).map_err(|advice| advice.replace(['`', '"'], ""))
}
