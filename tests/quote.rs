//! The quoting function against a real `sh`: every byte but NUL comes out as it went in.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use flipside::script::quote::quote;
use std::process::Command;

/// What `sh` makes of the word.
fn through_sh(text: &str) -> Vec<u8> {
    let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(text))).output().unwrap();
    assert!(output.status.success(), "{text:?}: {output:?}");
    output.stdout
}

#[test]
fn every_byte_but_nul_survives() {
    for byte in 1..=127_u8 {
        let text = format!("a{}b", char::from(byte));
        assert_eq!(through_sh(&text), text.as_bytes(), "{byte}");
    }
    let all: String = (1..=127_u8).map(char::from).collect();
    assert_eq!(through_sh(&all), all.as_bytes());
}

#[test]
fn newlines_quotes_and_other_scripts_survive() {
    let texts =
        ["", " ", "'", "''", "a'b'c", "\n", "a\n\n", "$HOME `id` $(id) \\", "-n", "~", "*", "é ü 漢字 🦀", "a=b", "{a,b}", "#x", "!x"];
    for text in texts {
        assert_eq!(through_sh(text), text.as_bytes(), "{text:?}");
    }
}
