//! The shell of a file. Deliberately absent: secrets, which are written by `secrets`.
use super::super::quote::quote;
use super::prelude::{report, subshell};

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

/// Writes a file beside itself and renames it into place.
#[must_use]
pub fn put_file(path: &str, mode: u32, content: &str) -> String {
    let body = FILE.replace("@MODE@", &octal(mode)).replace("@SIZE@", &content.len().to_string()).replace("@PATH@", &quote(path));
    subshell(&(report() + &body.replace("@CONTENT@", &quote(content))))
}

fn octal(mode: u32) -> String {
    format!("{:o}", mode & 0o7777)
}
