//! The lease of a server: a lock that lives exactly as long as the process that holds it. Deliberately absent: keeping that process.
use super::ScriptContext;
use super::{layout, quote::quote};

/// A script that takes the lease, prints `before: WHO` (who had it last, if anybody) and `locked`, and holds it until it is ended; or
/// prints `held: WHO`, or `failed: WHY`, and ends.
///
/// The lock is a kernel lock on an open file (`flock`), so nothing is left to clean up when the holder dies. `holder` says who
/// holds it, in words for a person. Whoever asks for facts meanwhile holds a shared lock for an instant, so a lock that is taken is
/// tried again for some three seconds; with `flock -n` each time, since busybox has no waiting one.
#[must_use]
pub fn lease(context: &ScriptContext, holder: &str) -> String {
    let folder = quote(&format!("{}/lock", layout::folder(&context.remote_root)));
    format!(
        "umask 022\nmessage=$(mkdir -p {folder} 2>&1) || {{ echo \"failed: $message\"; exit 1; }}\ncd {folder} || exit 1\n\
         command -v flock >/dev/null 2>&1 || {{ echo 'failed: there is no flock on this server; install util-linux'; exit 1; }}\n\
         message=$( (: >>lease) 2>&1) || {{ echo \"failed: $message\"; exit 1; }}\nexec 9>>lease\n\
         tries=0\nuntil flock -n 9; do\n    tries=$((tries + 1))\n\
         [ \"$tries\" -lt 15 ] || {{ printf 'held: %s\\n' \"$(cat holder 2>/dev/null)\"; exit 1; }}\n\
         sleep 0.2 2>/dev/null || {{ sleep 1; tries=$((tries + 4)); }}\ndone\n\
         [ ! -s holder ] || printf 'before: %s\\n' \"$(cat holder)\"\n\
         printf '%s\\n' {holder} > holder.new && mv holder.new holder\necho locked\n\
         while :; do sleep 3600 9>&-; done\n",
        holder = quote(holder)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    /// A shell in a process group of its own, that ends with all that it started.
    struct Shell(Child);

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", self.0.id())]).status();
            let _ = self.0.wait();
        }
    }

    /// Runs a script in a folder, and returns once it has said its first line.
    fn shell(script: &str, folder: &std::path::Path) -> (Shell, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Shell(child), line)
    }

    fn take(root: &std::path::Path, holder: &str) -> (Shell, String) {
        let context = ScriptContext { docker: "docker".to_owned(), remote_root: root.to_str().unwrap().to_owned() };
        shell(&lease(&context, holder), root)
    }

    #[test]
    fn the_second_is_told_who_holds_it_and_the_lock_dies_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let (first, line) = take(folder.path(), "ann's laptop; $(id)");
        assert_eq!(line, "locked\n");
        let (_second, line) = take(folder.path(), "bob");
        assert_eq!(line, "held: ann's laptop; $(id)\n");
        drop(first);
        let (_third, line) = take(folder.path(), "carol");
        assert_eq!(line, "before: ann's laptop; $(id)\n");
    }

    #[test]
    fn a_lock_file_that_cannot_be_opened_is_a_failure_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("flipside/lock/lease")).unwrap();
        let (_shell, line) = take(folder.path(), "ann");
        assert!(line.starts_with("failed: ") && line.contains("lease"), "{line}");
    }

    #[test]
    fn somebody_who_asks_for_facts_does_not_stand_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("flipside/lock");
        std::fs::create_dir_all(&lock).unwrap();
        let (_reader, line) = shell("exec 8>>lease; flock -s 8; echo reading; sleep 0.7", &lock);
        assert_eq!(line, "reading\n");
        let (_holder, line) = take(folder.path(), "ann");
        assert_eq!(line, "locked\n");
    }
}
