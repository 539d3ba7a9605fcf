//! The shell that writes the secrets of a release, and removes those that no container uses. Deliberately absent: keeping a value.
//!
//! The script holds the values: it is sent on standard input and nowhere else. `printf` is a part of the shell, so that no value stands in
//! a process list, and its format carries any byte.
use super::super::ScriptContext;
use super::super::quote::{line, quote};
use super::prelude::{report, subshell};
use crate::docker::{self, Command};
use crate::model::{MissingSecret, SecretName, Secrets};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The file that holds the proof, beside the secrets. No secret has a name that begins with a dot.
pub const PROOF: &str = ".proof";

// The folder of the release is made complete under another name, and renamed: there is never a half of it.
const PUT: &str = r#"folder=@FOLDER@
service=${folder%/*}
new=$service/.new
root=@ROOT@
owner=@OWNER@
broken() {
    rm -rf "$new"
    fail "the secrets in $folder cannot be written by user $(id -un): $message" "files with mode 400 in a folder with mode 700" "$1"
}
put() {
    [ "$(($(wc -c <"$new/$1")))" -eq "$2" ] || {
        message="$1 has another size than it should have"
        broken 'is the disk full?'
    }
    message=$(chmod 400 "$new/$1" 2>&1) || broken ''
}
umask 022
message=$(mkdir -p @ENV@ 2>&1) || broken "make $root writable for $(id -un)"
umask 077
message=$({ mkdir -p "$service" && chmod 700 "${service%/*}" "$service" && rm -rf "$new" && mkdir "$new"; } 2>&1) || broken ''
@FILES@if [ -z "$owner" ]; then
    owner=$(@IMAGE_USER@ 2>/dev/null)
    owner=${owner%%:*}
    case $owner in
        '' | 0 | root) owner= ;;
        *[!0-9]*)
            echo "note: the image runs as user $owner, who cannot read the secrets: give its number as secrets_owner"
            owner=
            ;;
    esac
fi
[ -z "$owner" ] || [ "$owner" = "$(id -u)" ] || message=$(cd "$new" && chown "$owner" @NAMES@ 2>&1) ||
    broken "only root can give files to user $owner: become = \"sudo\" for this server in the inventory"
message=$({ rm -rf "$folder" && mv "$new" "$folder"; } 2>&1) || broken ''
done_with "@COUNT@ in $folder"
"#;

const REMOVE: &str = r#"folder=@FOLDER@
service=${folder%/*}
[ -d "$folder" ] || [ -d "$service/.new" ] || done_with "there is no folder $folder"
ids=$(@PS@ 2>&1) || fail "docker cannot list its containers: $ids" '' ''
users=
if [ -n "$ids" ]; then
    # One may go away meanwhile: each line that is no mount has to say so.
    mounts=$(@MOUNTS@ $ids 2>&1) || case $mounts in
        *[Nn]"o such container"* | *[Nn]"o such object"*)
            other=$(printf '%s\n' "$mounts" | grep -Ev '^([^ ]* (/.*)?)?$' | grep -Eiv 'no such (container|object)')
            [ -z "$other" ] || fail "docker cannot say what its containers mount: $other" '' ''
            ;;
        *) fail "docker cannot say what its containers mount: $mounts" '' '' ;;
    esac
    users=$(printf '%s\n' "$mounts" | grep -F " $folder/" | cut -d ' ' -f 1 | sort -u | tr -d / | tr '\n' ' ')
fi
[ -z "$users" ] || done_with "$folder is kept: ${users}uses it"
message=$(rm -rf "$folder" "$service/.new" 2>&1) || fail "$folder cannot be removed by user $(id -un): $message" "no secrets that nobody uses" ''
rmdir "$service" "${service%/*}" "${service%/*/*}" "${service%/*/*/*}" 2>/dev/null
done_with "$folder removed"
"#;

/// Writes the secrets of a release; `folder` is `…/PROJECT/ENV/secrets/SERVICE/RELEASE`.
///
/// # Errors
/// [`MissingSecret`] for one whose value is not there.
pub fn put_secrets(
    ctx: &ScriptContext,
    folder: &str,
    names: &BTreeSet<SecretName>,
    owner: Option<u32>,
    image: &str,
    secrets: &Secrets,
) -> Result<String, MissingSecret> {
    let mut files = String::new();
    let mut file = |name: &str, bytes: &[u8]| {
        let target = format!("\"$new\"/{}", quote(name));
        let _ =
            writeln!(files, "message=$({{ printf {} >{target}; }} 2>&1) || broken ''\nput {} {}", format(bytes), quote(name), bytes.len());
    };
    for name in names {
        file(name.as_str(), secrets.value(name)?.bytes());
    }
    file(PROOF, secrets.proof(names)?.text().as_bytes());
    let env = folder.rsplitn(4, '/').last().unwrap_or(folder);
    let words: Vec<String> = names.iter().map(|name| quote(name.as_str())).collect();
    let count = if names.len() == 1 { "1 secret".to_owned() } else { format!("{} secrets", names.len()) };
    let body = PUT
        .replace("@FOLDER@", &quote(folder))
        .replace("@ENV@", &quote(env))
        .replace("@ROOT@", &quote(&ctx.remote_root))
        .replace("@OWNER@", &owner.map(|owner| owner.to_string()).unwrap_or_default())
        .replace("@IMAGE_USER@", &line(&docker::inspect_image(&ctx.docker, "{{.Config.User}}", image)))
        .replace("@NAMES@", &words.join(" "))
        .replace("@COUNT@", &count);
    // Last, and once: a value may hold anything.
    let (before, after) = body.split_once("@FILES@").unwrap_or((&body, ""));
    Ok(subshell(&[&report(), before, &files, after].concat()))
}

/// Removes a folder that [`put_secrets`] wrote, and the folders above it that are empty then. One that a container still mounts from,
/// running or not, is kept: the container could not start again.
#[must_use]
pub fn remove_secrets(ctx: &ScriptContext, folder: &str) -> String {
    let mounts = "{{$name := .Name}}{{range .Mounts}}{{println $name .Source}}{{end}}";
    let inspect = Command::new(&ctx.docker).word("inspect").option("--type", "container").option("--format", mounts);
    let list = Command::new(&ctx.docker).word("ps").word("-aq").word("--no-trunc");
    let body = REMOVE.replace("@FOLDER@", &quote(folder)).replace("@PS@", &line(&list)).replace("@MOUNTS@", &line(&inspect));
    subshell(&(report() + &body))
}

/// The bytes as one word that is a format of `printf`: whatever is not a letter, a digit or one of a few signs is an octal escape of three
/// digits (POSIX), so that no shell, quote or locale can change it.
fn format(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('\'');
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b" _./:,+@=".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text.push('\'');
    text
}
