//! The lease of a server: a lock that lives exactly as long as the process that holds it. Deliberately absent: keeping that process.
use super::ScriptContext;
use super::{layout, quote::quote};

/// A script that takes the lease, prints `locked`, and holds it until it is ended; or prints `held: WHO` and ends.
///
/// The lock is a kernel lock on an open file (`flock`), so nothing is left to clean up when the holder dies. `holder` says who
/// holds it, in words for a person.
#[must_use]
pub fn lease(context: &ScriptContext, holder: &str) -> String {
    let folder = quote(&format!("{}/lock", layout::folder(&context.remote_root)));
    format!(
        "umask 022\nmessage=$(mkdir -p {folder} 2>&1) || {{ echo \"failed: $message\"; exit 1; }}\ncd {folder} || exit 1\n\
         command -v flock >/dev/null 2>&1 || {{ echo 'failed: there is no flock on this server; install util-linux'; exit 1; }}\n\
         exec 9>>lease || {{ echo 'failed: the lock file cannot be opened'; exit 1; }}\n\
         flock -n 9 || {{ printf 'held: %s\\n' \"$(cat holder 2>/dev/null)\"; exit 1; }}\n\
         printf '%s\\n' {holder} > holder.new && mv holder.new holder\necho locked\n\
         while :; do sleep 3600 9>&-; done\n",
        holder = quote(holder)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    fn take(root: &str, holder: &str) -> (Child, String) {
        let context = ScriptContext { docker: "docker".to_owned(), remote_root: root.to_owned() };
        let mut child =
            Command::new("sh").args(["-c", &lease(&context, holder)]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line)
    }

    #[test]
    fn the_second_is_told_who_holds_it_and_the_lock_dies_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let (mut first, line) = take(root, "ann's laptop; $(id)");
        assert_eq!(line, "locked\n");
        let (mut second, line) = take(root, "bob");
        assert_eq!(line, "held: ann's laptop; $(id)\n");
        second.wait().unwrap();
        first.kill().unwrap();
        first.wait().unwrap();
        let (mut third, line) = take(root, "carol");
        assert_eq!(line, "locked\n");
        third.kill().unwrap();
        third.wait().unwrap();
    }
}
