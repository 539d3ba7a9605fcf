//! The one quoting function: every argument that reaches a remote shell goes through it. Deliberately absent: unquoting.

/// One shell word that means exactly `text`, whatever it holds (POSIX `sh`, so also dash, bash and busybox ash).
///
/// Words that are plain letters, digits and `_ - . / : , = + @ %` stay as they are, so that shown commands can be read; all else stands in
/// single quotes, where nothing but the single quote itself has a meaning. A NUL byte cannot be in an argument of any program: whoever
/// accepts text from a file refuses it there.
#[must_use]
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) && !text.contains('=') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;
    use std::process::Command;

    /// What `sh` makes of the word.
    fn through_sh(text: &str) -> Vec<u8> {
        let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(text))).output().unwrap();
        assert!(output.status.success(), "{text:?}: {output:?}");
        output.stdout
    }

    #[test]
    fn every_byte_but_nul_survives_a_real_shell() {
        for byte in 1..=127_u8 {
            let text = format!("a{}b", char::from(byte));
            assert_eq!(through_sh(&text), text.as_bytes(), "{byte}");
        }
        let all: String = (1..=127_u8).map(char::from).collect();
        assert_eq!(through_sh(&all), all.as_bytes());
    }

    #[test]
    fn newlines_quotes_and_other_scripts_survive() {
        for text in
            ["", " ", "'", "''", "a'b'c", "\n", "a\n\n", "$HOME `id` $(id) \\", "-n", "~", "*", "é ü 漢字 🦀", "a=b", "{a,b}", "#x", "!x"]
        {
            assert_eq!(through_sh(text), text.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote("10.0.0.10:8959:5432"), "10.0.0.10:8959:5432");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("A=b"), "'A=b'", "an assignment in front would not be an argument");
    }
}
