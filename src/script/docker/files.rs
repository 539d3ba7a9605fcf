//! The shell of directories and files. Deliberately absent: keeping secrets; they are handed in at the last moment.
use super::super::quote::quote;
use super::prelude::{report, subshell};
use crate::model::Piece;

/// A file names a secret that nobody has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file {path} needs the secret `{name}`, which is not given")]
pub struct MissingSecret {
    /// The secret's name.
    pub name: String,
    /// The file that needs it.
    pub path: String,
}

// `printf` is a part of the shell, so that the content never stands in a process list.
const FILE: &str = r#"path=@PATH@
umask 077
[ ! -d "$path" ] || fail "$path is a directory" "a file" ''
beside=$path.flipside.$$
message=$({ printf %s @CONTENT@ >"$beside" && chmod @MODE@ "$beside" && mv -f "$beside" "$path"; } 2>&1) || {
    rm -f "$beside"
    fail "the file $path cannot be written by user $(id -un): $message" "the file $path with mode @MODE@" ''
}
done_with "file $path, @SIZE@ bytes"
"#;

/// Writes a file beside itself and renames it into place. The script holds the secrets that `resolve` gives: send it on
/// standard input and nowhere else.
///
/// # Errors
/// [`MissingSecret`] for a name that `resolve` does not know.
pub fn put_file(path: &str, mode: u32, content: &[Piece], resolve: impl Fn(&str) -> Option<String>) -> Result<String, MissingSecret> {
    let mut text = String::new();
    for piece in content {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Secret(name) => {
                let secret = resolve(name).ok_or_else(|| MissingSecret { name: name.clone(), path: path.to_owned() })?;
                text.push_str(&secret);
            }
        }
    }
    let body = FILE.replace("@MODE@", &octal(mode)).replace("@SIZE@", &text.len().to_string()).replace("@PATH@", &quote(path));
    Ok(subshell(&(report() + &body.replace("@CONTENT@", &quote(&text)))))
}

fn octal(mode: u32) -> String {
    format!("{:o}", mode & 0o7777)
}
