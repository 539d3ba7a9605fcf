//! Looking at containers while they become healthy: their state, again and again; a command inside; their last words.
//! Deliberately absent: what counts as healthy.
use super::ScriptContext;
use super::quote::quote;
use crate::model::Secret;

/// Instead of the bytes of a secret that cannot be read.
const UNREAD: &str = "@unread";

/// What one look at a container shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSight {
    /// Its name.
    pub name: String,
    /// docker's word: `running`, `exited`, `restarting`, …
    pub status: String,
    /// The last exit code.
    pub exit: i32,
    /// Killed by the kernel for memory.
    pub oom_killed: bool,
    /// Restarts by the engine since it was started.
    pub restarts: u32,
}

/// A script that prints one line a container every half second until it is ended, or `unseen WHY` where docker says nothing of them.
#[must_use]
pub fn watch(context: &ScriptContext, containers: &[&str]) -> String {
    let names: Vec<String> = containers.iter().map(|name| quote(name)).collect();
    format!(
        "echo\nwhile :; do\nsaid=$({} inspect --type container --format 'sight {{{{.Name}}}} {{{{.State.Status}}}} {{{{.State.ExitCode}}}} {{{{.State.OOMKilled}}}} {{{{.RestartCount}}}}' {} 2>&1)\n\
         case $said in *'sight '*) ;; *) said=\"unseen $(printf '%s' \"$said\" | tr '\\n' ' ')\" ;; esac\nprintf '%s\\n' \"$said\"\nsleep 0.5 2>/dev/null || sleep 1\ndone\n",
        context.docker_words(),
        names.join(" ")
    )
}

/// Reads a line of [`watch`].
#[must_use]
pub fn read_sight(line: &str) -> Option<ContainerSight> {
    let mut words = line.strip_prefix("sight ")?.split_whitespace();
    Some(ContainerSight {
        name: words.next()?.trim_start_matches('/').to_owned(),
        status: words.next()?.to_owned(),
        exit: words.next()?.parse().ok()?,
        oom_killed: words.next()? == "true",
        restarts: words.next()?.parse().ok()?,
    })
}

/// Runs a health command in a container, after an empty line; the script's exit code is the command's.
#[must_use]
pub fn command_probe(context: &ScriptContext, container: &str, command: &str) -> String {
    format!("echo\n{} exec {} sh -c {} 2>&1\n", context.docker_words(), quote(container), quote(command))
}

/// Connects from the server itself, where tunnels are forbidden: exit 0 when the port accepts. With `request`, prints the first line of
/// the answer to it.
#[must_use]
pub fn connect_probe(address: &str, port: u16, request: Option<&str>) -> String {
    let ask = request.map_or(String::new(), |request| {
        format!("printf '%s' {} >&3; IFS= read -r -t 10 line <&3 && printf '\\nanswer %s\\n' \"$line\"", quote(request))
    });
    let script = format!("exec 3<>/dev/tcp/{address}/{port} || exit 1\n{ask}\n:");
    format!("command -v bash >/dev/null 2>&1 || {{ echo 'no bash to probe with'; exit 97; }}\nbash -c {} 2>&1\n", quote(&script))
}

/// Asks the engine for the least that it can say.
#[must_use]
pub fn engine_version(context: &ScriptContext) -> String {
    format!("{} version --format '{{{{.Server.Version}}}}' 2>&1\n", context.docker_words())
}

/// Prints the secrets that a container was given, as [`read_last_words`] wants them, and no log. One that cannot be read is said to be so. What a
/// start-up file of the login shell has said last may have no line feed: it gets one, or the first line would be lost.
#[must_use]
pub fn secrets_given(context: &ScriptContext, container: &str) -> String {
    format!(
        "echo\ngiven=$({docker} inspect --type container --format '{{{{range .Mounts}}}}{{{{println .Destination .Source}}}}{{{{end}}}}' {name} 2>/dev/null) || echo {UNREAD}\n\
         printf '%s\\n' \"$given\" | while read -r to from; do\ncase $to in /run/secrets/*) echo @secret; od -An -v -tx1 2>/dev/null <\"$from\" || echo {UNREAD} ;; esac\ndone\n\
         echo @log\n",
        docker = context.docker_words(),
        name = quote(container)
    )
}

/// Prints what [`secrets_given`] does, the last lines of the container's log, then `state STATUS EXIT OOM`. One that the engine keeps
/// restarting has an exit code only between two starts: that moment is waited for, 3 s at most. A container that is not there prints nothing.
#[must_use]
pub fn last_words(context: &ScriptContext, container: &str, n_lines: u32) -> String {
    let (docker, name) = (context.docker_words(), quote(container));
    format!(
        "tries=0\nwhile [ \"$tries\" -lt 15 ]; do\n\
         state=$({docker} inspect --type container --format '@state {{{{.State.Status}}}} {{{{.State.ExitCode}}}} {{{{.State.OOMKilled}}}} {{{{.RestartCount}}}}' {name} 2>/dev/null)\n\
         case $state in '@state running '*' 0' | '') break ;; '@state running '*) ;; *) break ;; esac\n\
         tries=$((tries + 1))\nsleep 0.2 2>/dev/null || {{ sleep 1 && tries=$((tries + 4)); }}\ndone\n\
         [ -n \"$state\" ] || exit 0\n\
         {}\
         {docker} logs --tail {n_lines} {name} 2>&1\necho\necho \"${{state% *}}\"\n",
        secrets_given(context, container)
    )
}

/// Takes what [`last_words`] printed apart: the values of the container's secrets, which its log must not show, and the rest. None, where
/// one of the values is not there: nobody can take it out of the rest then.
#[must_use]
pub fn read_last_words(lines: &[String]) -> (Option<Vec<Secret>>, Vec<String>) {
    let Some(log) = lines.iter().position(|line| line == "@log") else { return (None, Vec::new()) };
    let mut values: Vec<Vec<u8>> = Vec::new();
    for line in &lines[..log] {
        if line == "@secret" {
            values.push(Vec::new());
        } else if let Some(value) = values.last_mut() {
            value.extend(line.split_whitespace().filter_map(|byte| u8::from_str_radix(byte, 16).ok()));
        }
    }
    // Nobody is given an empty one.
    let whole = !lines[..log].iter().any(|line| line == UNREAD) && !values.iter().any(Vec::is_empty);
    (whole.then(|| values.into_iter().map(Secret::new).collect()), lines[log + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_come_before_the_log_which_cannot_forge_them() {
        let lines = ["Welcome!", "@secret", " 61 62", " 0a", "@secret", " ff", "@log", "@secret", " 63", "@state exited 1 false"];
        let (values, rest) = read_last_words(&lines.map(str::to_owned));
        assert_eq!(values, Some(vec![Secret::new(b"ab\n".to_vec()), Secret::new(vec![0xff])]));
        assert_eq!(rest, ["@secret", " 63", "@state exited 1 false"]);
        assert_eq!(read_last_words(&["@secret", " 61 62"].map(str::to_owned)), (None, Vec::new()), "it was cut off before the log");
        assert_eq!(read_last_words(&["@log", "well"].map(str::to_owned)), (Some(Vec::new()), vec!["well".to_owned()]), "it was given none");
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_not_taken_for_none() {
        for before in [
            &["@unread"][..],
            &["@secret", "@unread"],
            &["@secret"],
            &["@secret", " 61 62 63 64", "@unread"],
            &["@secret", "@secret", " 61"],
        ] {
            let lines: Vec<String> = before.iter().chain(&["@log", "the word is abcd"]).map(|line| (*line).to_owned()).collect();
            assert_eq!(read_last_words(&lines), (None, vec!["the word is abcd".to_owned()]), "{before:?}");
        }
    }
}
