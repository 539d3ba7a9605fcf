//! The only reader of secrets: files that nobody else may read, variables, and what commands of the user print. Each is read once a run.
//! Deliberately absent: what becomes of a value, and any message that holds one.
use super::exit::Outcome;
use super::load::Loaded;
use super::print::complain;
use crate::config::{SecretSource, Service};
use crate::model::{LARGEST_SECRET, Redactor, Secret, SecretName, Secrets, ServiceName};
use crate::script::quote::quote;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// How long a command may take: some ask a person first.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of what a command says is shown, in characters.
const MOST_WORDS: usize = 2000;

/// Why a value cannot be had.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error("there is no file {path}: {advice}")]
    Missing { path: String, advice: String },
    #[error("{path} cannot be read: {source}")]
    Io { path: String, source: io::Error },
    #[error("{path} can be read by others (mode {mode:o}): chmod {wanted} {quoted}")]
    Open { path: String, quoted: String, mode: u32, wanted: &'static str },
    #[error("{path} is not a file")]
    NoFile { path: String },
    #[error("the variable {0} is not set")]
    NoVariable(String),
    #[error("`{command}` cannot be started: {source}")]
    Start { command: String, source: io::Error },
    #[error("`{command}` has not ended within {seconds} s; it is given nothing to read")]
    Late { command: String, seconds: u64 },
    #[error("`{command}` failed ({status}){said}")]
    Failed { command: String, status: String, said: String },
    #[error("{from} gives more than {} KiB", LARGEST_SECRET >> 10)]
    Large { from: String },
    #[error("{from} gives an empty value")]
    Empty { from: String },
    #[error("there is no randomness to be had: {0}")]
    Random(String),
}

/// The secrets of these services; of all where none is named.
pub(super) fn needed(loaded: &Loaded, services: &[ServiceName]) -> BTreeSet<SecretName> {
    let selected = loaded.playbook.services.iter().filter(|(name, _)| services.is_empty() || services.contains(name));
    let of = |service: &Service| {
        let tls = service.proxy.as_ref().and_then(|proxy| proxy.tls.as_ref());
        let files = tls.map(|tls| [&tls.certificate, &tls.key]).into_iter().flatten();
        service.secrets.iter().chain(files).cloned().collect::<Vec<SecretName>>()
    };
    selected.flat_map(|(_, service)| of(service)).collect()
}

/// Reads the values of these secrets; what is wrong is printed, all of it.
///
/// # Errors
/// The outcome to exit with; no server was asked anything.
pub(super) async fn read_secrets(loaded: &mut Loaded, names: &BTreeSet<SecretName>) -> Result<(), Outcome> {
    if names.is_empty() {
        return Ok(());
    }
    let mut values = BTreeMap::new();
    let mut problems = BTreeSet::new();
    for name in names {
        match read(loaded, name).await {
            Ok(value) => {
                values.insert(name.clone(), value);
            }
            Err(error) => {
                problems.insert(format!("secret {name}: {error}"));
            }
        }
    }
    if problems.is_empty() {
        let mut salt = [0; 32];
        match getrandom::fill(&mut salt) {
            Ok(()) => {
                loaded.secrets = Secrets::new(salt, values);
                return Ok(());
            }
            Err(error) => {
                problems.insert(SecretError::Random(error.to_string()).to_string());
            }
        }
    }
    problems.iter().for_each(|problem| complain(problem));
    Err(Outcome::Configuration)
}

async fn read(loaded: &Loaded, name: &SecretName) -> Result<Secret, SecretError> {
    let (from, bytes) = match loaded.playbook.secrets.get(name) {
        None => {
            let folder = loaded.playbook_dir.join("secrets").join(loaded.playbook.env.as_str());
            let path = folder.join(name.as_str());
            guarded(&folder, &path)?;
            (path.display().to_string(), from_file(&path, is_public(loaded, name))?)
        }
        Some(SecretSource::File(text)) => {
            let path = resolve(&loaded.playbook_dir, text);
            (path.display().to_string(), from_file(&path, is_public(loaded, name))?)
        }
        Some(SecretSource::Env(variable)) => {
            let value = std::env::var_os(variable).ok_or_else(|| SecretError::NoVariable(variable.clone()))?;
            (format!("the variable {variable}"), std::os::unix::ffi::OsStringExt::into_vec(value))
        }
        Some(SecretSource::Command(words)) => (format!("`{}`", typed(words)), from_command(&loaded.playbook_dir, words, PATIENCE).await?),
    };
    match bytes.len() {
        0 => Err(SecretError::Empty { from }),
        length if length > LARGEST_SECRET => Err(SecretError::Large { from }),
        _ => Ok(Secret::new(bytes)),
    }
}

/// `~` is the home directory; a relative path is relative to the playbook.
fn resolve(folder: &Path, text: &str) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(rest) => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(rest),
        None => folder.join(text),
    }
}

/// The folder of an environment's secrets is its owner's alone, as the files in it are.
fn guarded(folder: &Path, file: &Path) -> Result<(), SecretError> {
    match fs::metadata(folder) {
        Ok(found) => closed(folder, &found, "700"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let advice = format!(
                "make it with mode 600 in a folder with mode 700 (install -d -m 700 {}), or say in [secrets] of the playbook where the value comes from",
                quote(&folder.display().to_string())
            );
            Err(SecretError::Missing { path: file.display().to_string(), advice })
        }
        Err(source) => Err(SecretError::Io { path: folder.display().to_string(), source }),
    }
}

fn closed(path: &Path, found: &fs::Metadata, wanted: &'static str) -> Result<(), SecretError> {
    let (mode, path) = (found.permissions().mode() & 0o7777, path.display().to_string());
    if mode & 0o077 == 0 { Ok(()) } else { Err(SecretError::Open { quoted: quote(&path), path, mode, wanted }) }
}

/// It is a certificate and nothing else, which everybody is shown anyway; tools such as certbot write it so.
fn is_public(loaded: &Loaded, name: &SecretName) -> bool {
    let services = || loaded.playbook.services.values();
    let of_tls = || services().filter_map(|service| service.proxy.as_ref()?.tls.as_ref());
    of_tls().any(|tls| tls.certificate == *name)
        && of_tls().all(|tls| tls.key != *name)
        && services().all(|service| !service.secrets.contains(name))
}

/// The bytes as they are, a final line feed too.
fn from_file(path: &Path, is_public: bool) -> Result<Vec<u8>, SecretError> {
    let shown = || path.display().to_string();
    // Looked at before it is opened: a pipe would be waited for.
    let found = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            let advice = "make it with mode 600, or say in [secrets] of the playbook where the value comes from".to_owned();
            SecretError::Missing { path: shown(), advice }
        }
        _ => SecretError::Io { path: shown(), source },
    })?;
    if !found.is_file() {
        return Err(SecretError::NoFile { path: shown() });
    }
    if !is_public {
        closed(path, &found, "600")?;
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_SECRET as u64 + 1).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| SecretError::Io { path: shown(), source })
}

/// What the command prints, without a final line feed. It runs in the playbook's folder, is given nothing to read, and what it printed
/// is shown to nobody, nor where it says it once more on stderr.
async fn from_command(folder: &Path, words: &[String], within: Duration) -> Result<Vec<u8>, SecretError> {
    let command = typed(words);
    let [program, arguments @ ..] = words else { return Err(SecretError::Empty { from: command }) };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| SecretError::Start { command: command.clone(), source })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        // What is read beyond the bound is not kept, but it is read: a command that is not heard to its end fails for another reason.
        tokio::join!(drain(stdout, LARGEST_SECRET + 2), drain(stderr, MOST_WORDS + LARGEST_SECRET), child.wait())
    };
    let Ok((mut bytes, said, status)) = tokio::time::timeout(within, work).await else {
        return Err(SecretError::Late { command, seconds: within.as_secs() });
    };
    let status = status.map_err(|source| SecretError::Start { command: command.clone(), source })?;
    if !status.success() {
        let said = Redactor::new(&[Secret::new(bytes)]).redact(&String::from_utf8_lossy(&said));
        // Not before: a value that is cut is not found any more.
        let said: String = said.chars().take(MOST_WORDS).collect();
        let said = said.lines().map(crate::plan::prose::clean).collect::<Vec<_>>().join("; ");
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        return Err(SecretError::Failed { command, status: status.to_string(), said });
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

/// Everything that comes, of which the first bytes are kept.
async fn drain(stream: Option<impl tokio::io::AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 8192]);
    let Some(mut stream) = stream else { return kept };
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        let room = most.saturating_sub(kept.len()).min(n);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

/// A command as somebody would type it.
fn typed(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "sentinel-4f1c";

    async fn asked(script: &str, within: Duration) -> Result<Vec<u8>, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        from_command(Path::new("/"), &words, within).await.map_err(|error| error.to_string())
    }

    async fn refused(script: &str) -> String {
        asked(script, PATIENCE).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_command_gives_what_it_prints_without_one_line_feed() {
        let given = |script| asked(script, PATIENCE);
        assert_eq!(given("printf 'a\\n\\n'; echo not this >&2").await.unwrap(), b"a\n");
        assert_eq!(given("pwd; cat").await.unwrap(), b"/", "it runs in the folder, and is given nothing to read");
        assert_eq!(given("printf '\\n'").await.unwrap(), b"", "which nobody takes for a value");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why_and_not_its_value() {
        let text = refused("v=sent; v=${v}inel-4f1c; echo $v; echo \"vault: sealed, after $v\" >&2; exit 3").await;
        assert!(text.ends_with("failed (exit status: 3): vault: sealed, after [secret]") && !text.contains(VALUE), "{text}");
        let text = refused("echo sent; kill -9 $$").await;
        assert!(text.contains("failed (signal: 9"), "{text}");
        let nothing = from_command(Path::new("/"), &["/nowhere/vault".to_owned()], PATIENCE).await.unwrap_err().to_string();
        assert!(nothing.starts_with("`/nowhere/vault` cannot be started: No such file"), "{nothing}");
    }

    #[tokio::test]
    async fn a_command_that_waits_for_somebody_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        // The program itself, without a shell around it that would leave it behind.
        let script = format!("exec sh -c 'sleep 3; echo late >{}'", late.display());
        let text = asked(&script, Duration::from_secs(1)).await.unwrap_err();
        assert!(text.ends_with("has not ended within 1 s; it is given nothing to read"), "{text}");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!late.exists(), "it goes on");
    }
}
