//! A hook on the workstation: a process group of its own, which is killed as a whole at the hook's deadline and at its end.
//! Deliberately absent: masking what it says, which whoever shows it does.
use crate::model::{Failure, Millis};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

/// What stands before a line that a hook has printed, wherever it is shown.
pub const HOOK_OUTPUT: &str = "│ ";
/// From SIGTERM to SIGKILL, and from there to giving it up.
const MERCY: Duration = Duration::from_secs(5);
/// What it has said is read for so long once it is over: a process that left its group may hold the pipe for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How many lines of its output a failure keeps.
const TAIL: usize = 20;

/// The shell's own `kill`, since small systems have no program of this name. That of busybox takes no `--`, and that of dash wants one.
const KILL: &str = "kill -s \"$1\" -- \"-$2\" || kill -s \"$1\" \"-$2\"";

/// Kills its process group when it is dropped: nobody waits for a hook of a run that was stopped.
struct Group(String);

impl Group {
    fn signal(&self, name: &str) {
        let kill = ["-c", KILL, "sh", name, &self.0];
        let sent = std::process::Command::new("sh").args(kill).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        // Nobody is left in the group: that is what was wanted.
        drop(sent);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// Runs a command to its end, or to its deadline. Its environment is ours with these variables; it is given nothing to read, and each line that
/// it prints is told.
///
/// # Errors
/// It did not exit with 0, and why; or it could not be started.
pub async fn run_here(
    words: &[String],
    variables: &BTreeMap<String, String>,
    folder: &Path,
    within: Millis,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Failure> {
    let failed = |seen: String, exit: Option<i32>, tail: Vec<String>| Failure {
        seen,
        wanted: "exit code 0".to_owned(),
        exit,
        tail,
        ..Failure::default()
    };
    let [program, arguments @ ..] = words else { return Err(failed("it names no program".to_owned(), None, Vec::new())) };
    let started = Command::new(program)
        .args(arguments)
        .envs(variables)
        .current_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|error| failed(format!("`{program}` cannot be started: {error}"), None, Vec::new()))?;
    let group = Group(child.id().map(|id| id.to_string()).unwrap_or_default());
    let (sender, mut lines) = unbounded_channel();
    tokio::spawn(read(child.stdout.take(), sender.clone()));
    tokio::spawn(read(child.stderr.take(), sender));
    let mut tail: Vec<String> = Vec::new();
    let mut hear = |line: String| {
        tell(&line);
        if tail.len() == TAIL {
            tail.remove(0);
        }
        tail.push(line);
    };
    let deadline = sleep(within.duration());
    tokio::pin!(deadline);
    let ended: Option<std::io::Result<ExitStatus>> = loop {
        tokio::select! {
            Some(line) = lines.recv() => hear(line),
            status = child.wait() => break Some(status),
            () = &mut deadline => break None,
        }
    };
    if ended.is_none() {
        group.signal("TERM");
        drop(timeout(MERCY, child.wait()).await);
    }
    drop(group);
    // Where no shell is to be had, the program itself ends at least; one that hangs in the kernel ends later.
    drop(child.start_kill());
    drop(timeout(MERCY, child.wait()).await);
    let rest = async {
        while let Some(line) = lines.recv().await {
            hear(line);
        }
    };
    drop(timeout(LAST_WORDS, rest).await);
    match ended {
        Some(Ok(status)) if status.success() => Ok(()),
        Some(Ok(status)) => Err(failed(format!("it failed with {}", in_words(status)), status.code(), tail)),
        Some(Err(error)) => Err(failed(format!("nobody can say how it ended: {error}"), None, tail)),
        None => {
            let seen = format!("it did not end within {within}, and was killed");
            Err(Failure { wanted: format!("exit code 0 within {within}"), ..failed(seen, None, tail) })
        }
    }
}

/// `exit code 3`, or what ended it.
fn in_words(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// Every line, whatever its bytes.
async fn read(stream: Option<impl AsyncRead + Unpin>, tell: UnboundedSender<String>) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(1..) = stream.read_until(b'\n', &mut bytes).await {
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        if tell.send(text).is_err() {
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(text: &str, within: Millis) -> (Result<(), Failure>, Vec<String>) {
        let mut said = Vec::new();
        let words = ["sh", "-c", text].map(str::to_owned);
        let variables = BTreeMap::from([("FLIPSIDE_HOOK".to_owned(), "it's $HOME".to_owned())]);
        let ended = run_here(&words, &variables, Path::new("/"), within, &mut |line| said.push(line.to_owned())).await;
        (ended, said)
    }

    #[tokio::test]
    async fn it_is_told_of_the_run_and_what_it_says_is_heard() {
        let (ended, said) = run("echo \"$FLIPSIDE_HOOK\"; cat; pwd; printf last", Millis::seconds(60)).await;
        assert_eq!((ended, said), (Ok(()), ["it's $HOME", "/", "last"].map(str::to_owned).to_vec()));
    }

    #[tokio::test]
    async fn a_failure_has_its_exit_code_and_its_last_lines() {
        let (ended, _) = run("for n in $(seq 30); do echo line $n; done; exit 3", Millis::seconds(60)).await;
        let failure = ended.unwrap_err();
        assert_eq!((failure.seen.as_str(), failure.exit, failure.tail.len()), ("it failed with exit code 3", Some(3), TAIL));
        assert_eq!(failure.tail[TAIL - 1], "line 30");
        let nothing = run_here(&["/nowhere/notify".to_owned()], &BTreeMap::new(), Path::new("/"), Millis::seconds(1), &mut |_| {}).await;
        assert!(nothing.unwrap_err().seen.starts_with("`/nowhere/notify` cannot be started: No such file"));
    }

    #[tokio::test]
    async fn at_its_deadline_and_at_its_end_its_whole_group_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        let (ended, said) = run(&format!("echo begun; sh -c 'sleep 3; echo >{}'", late.display()), Millis::seconds(1)).await;
        assert_eq!(
            (ended.unwrap_err().seen.as_str(), said.as_slice()),
            ("it did not end within 1s, and was killed", ["begun".to_owned()].as_slice())
        );
        let (ended, _) = run(&format!("sh -c 'sleep 3; echo >{}' & true", late.display()), Millis::seconds(60)).await;
        assert_eq!(ended, Ok(()), "what it leaves behind is not waited for");
        sleep(Duration::from_secs(5)).await;
        assert!(!late.exists(), "it goes on");
    }
}
