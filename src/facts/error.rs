//! Why an answer is no facts. Deliberately absent: errors of the connection, which are not seen here.

/// Why a server's answer cannot be used. Every sentence names what was seen and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The answer has no beginning or no end.
    #[error("the server's answer breaks off {after}: the connection or the shell ended early; try again")]
    CutOff {
        /// Where, such as `after "disk"`.
        after: String,
    },
    /// There is no such command.
    #[error(
        "`{docker}` is not installed on the server (or not in the PATH of its login shell): install Docker there, or name the command by `docker` in the inventory"
    )]
    DockerMissing {
        /// The docker command.
        docker: String,
    },
    /// The user may not use the engine.
    #[error(
        "user `{user}` may not use docker ({seen}): add the user to the group docker (`sudo usermod -aG docker {user}`) \
         and log in again, or set `become = \"sudo\"` for this server"
    )]
    NotPermitted {
        /// Who asked.
        user: String,
        /// The engine's words.
        seen: String,
    },
    /// `sudo` wants a password.
    #[error("sudo asks user `{user}` for a password ({seen}): allow it without one (NOPASSWD), or add the user to the group docker")]
    SudoRefused {
        /// Who asked.
        user: String,
        /// The words of sudo.
        seen: String,
    },
    /// The command is there, the daemon is not.
    #[error("the docker daemon does not answer ({seen}): start it with `sudo systemctl start docker` and look into `journalctl -u docker`")]
    DaemonDown {
        /// The client's words.
        seen: String,
    },
    /// The command does not come back.
    #[error(
        "the docker daemon does not answer: `{docker}` was given up after {seconds} s, at the question for its {section}; look at dockerd on the \
         server (`systemctl status docker`, `journalctl -u docker`): one that stays like this has to be restarted"
    )]
    DaemonHangs {
        /// The docker command.
        docker: String,
        /// What it was asked for.
        section: String,
        /// How long was waited for the whole answer.
        seconds: u64,
    },
    /// Another question does not come back.
    #[error(
        "the server did not say its {section} within {seconds} s: log in and see what hangs there (a disk, a network mount, too much load)"
    )]
    Slow {
        /// Which question.
        section: String,
        /// How long was waited for the whole answer.
        seconds: u64,
    },
    /// A question failed.
    #[error("the server could not say its {section}: exit code {exit}: {seen}")]
    Section {
        /// Which question.
        section: String,
        /// Its exit code.
        exit: i32,
        /// Its standard error, in one line.
        seen: String,
    },
    /// A question was answered in a way that cannot be read.
    #[error("the server's answer about its {section} cannot be read: saw `{seen}`, wanted {wanted}")]
    Unreadable {
        /// Which question.
        section: String,
        /// The text, shortened.
        seen: String,
        /// What would have been understood.
        wanted: String,
    },
}

impl FactsError {
    /// The server did not come to the end of its answer in this time: at which question it hangs is told by what has come.
    #[must_use]
    pub fn late(answer: &[u8], docker: &str, seconds: u64) -> Self {
        let section = super::unanswered(answer).unwrap_or_else(|| "first word".to_owned());
        match section.as_str() {
            "docker" => Self::DaemonHangs { docker: docker.to_owned(), section: "version".to_owned(), seconds },
            "containers" | "networks" | "images" | "served" => Self::DaemonHangs { docker: docker.to_owned(), section, seconds },
            _ => Self::Slow { section, seconds },
        }
    }

    /// An answer that cannot be read, its text shortened to 120 characters.
    pub(super) fn unreadable(section: &str, seen: &str, wanted: &str) -> Self {
        let mut short: String = seen.chars().take(120).collect();
        if short.len() < seen.len() {
            short.push('…');
        }
        Self::Unreadable { section: section.to_owned(), seen: short, wanted: wanted.to_owned() }
    }
}
