//! The one quoting function: every argument that reaches a remote shell goes through it. Deliberately absent: unquoting.
use crate::docker::Command;

/// One shell word that means exactly `text`, whatever it holds (POSIX `sh`, so also dash, bash and busybox ash).
///
/// Words that are plain letters, digits and `_ - . / : , + @ %` stay as they are, so that shown commands can be read; all else stands in
/// single quotes, where nothing but the single quote itself has a meaning. A NUL byte cannot be in an argument of any program: whoever
/// accepts text from a file refuses it there.
#[must_use]
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A command as one line of shell, and as it would be typed.
#[must_use]
pub fn line(command: &Command) -> String {
    command.0.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote("10.0.0.10:8959:5432"), "10.0.0.10:8959:5432");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("A=b"), "'A=b'", "an assignment in front would not be an argument");
    }
}
