//! How times, counts and lists of servers read. Deliberately absent: colour.
use crate::model::{Millis, ServerName, ServiceName, is_invisible};
use crate::plan::types::Finding;

/// How many names of a list are written out before the rest is counted.
const NAMES_SHOWN: usize = 6;

/// A measured time: `0.3 s`, `12.4 s`, `2 m 05 s`, `1 h 02 m`.
#[must_use]
pub fn seconds(time: Millis) -> String {
    let tenths = (time.0 + 50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let whole = (time.0 + 500) / 1000;
    if whole < 3600 { format!("{} m {:02} s", whole / 60, whole % 60) } else { format!("{} h {:02} m", whole / 3600, whole % 3600 / 60) }
}

/// `1 server`, `3 servers`: the noun gets an `s`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// `a, b, c`; a long list ends in `and 12 more`.
pub fn server_list<'a>(servers: impl IntoIterator<Item = &'a ServerName>) -> String {
    let names: Vec<&str> = servers.into_iter().map(ServerName::as_str).collect();
    if names.len() <= NAMES_SHOWN + 1 {
        return names.join(", ");
    }
    format!("{} and {} more", names[..NAMES_SHOWN].join(", "), names.len() - NAMES_SHOWN)
}

/// Text that came from elsewhere, made safe to print on one line: escape sequences, control characters and those that turn or hide the
/// text around them are taken out, a tab becomes a blank. A container's log must not be able to move the cursor of whoever reads it.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\t' => out.push(' '),
            _ if character.is_control() || is_invisible(character) => {}
            _ => out.push(character),
        }
    }
    out
}

/// As [`clean`]; what are several lines stays so.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// ECMA-48: `ESC [` parameters and a final byte from `@` to `~`; `ESC ]` up to BEL or `ESC \`; otherwise one character.
fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
        Some(']') => {
            while let Some(character) = characters.next() {
                match character {
                    '\u{7}' => return,
                    '\u{1b}' => {
                        characters.next_if_eq(&'\\');
                        return;
                    }
                    _ => {}
                }
            }
        }
        Some(_) | None => {}
    }
}

/// A finding as lines: where and what, then what to do.
#[must_use]
pub fn finding(finding: &Finding) -> Vec<String> {
    let place: Vec<&str> = finding.server.iter().map(ServerName::as_str).chain(finding.service.iter().map(ServiceName::as_str)).collect();
    let place = if place.is_empty() { String::new() } else { format!("{}: ", place.join(", ")) };
    let mut lines = vec![format!("{place}{}", clean_lines(&finding.text))];
    lines.extend(Some(format!("  {}", clean_lines(&finding.hint))).filter(|_| !finding.hint.is_empty()));
    lines
}

/// Pads every column but the last to its widest cell, two blanks between; trailing blanks are cut. Cells hold no colour.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                if *width > 0 {
                    line.push_str(&format!("{cell:<width$}  "));
                }
            }
            line.trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        for (ms, text) in [
            (0, "0.0 s"),
            (349, "0.3 s"),
            (12_449, "12.4 s"),
            (59_940, "59.9 s"),
            (59_960, "1 m 00 s"),
            (125_000, "2 m 05 s"),
            (3_720_000, "1 h 02 m"),
        ] {
            assert_eq!(seconds(Millis(ms)), text);
        }
    }

    #[test]
    fn a_long_list_is_counted_and_never_hides_a_single_name() {
        let servers: Vec<ServerName> = (1..=9).map(|n| ServerName::new(format!("s{n}")).unwrap()).collect();
        assert_eq!(server_list(&servers[..7]), "s1, s2, s3, s4, s5, s6, s7");
        assert_eq!(server_list(&servers), "s1, s2, s3, s4, s5, s6 and 3 more");
    }

    #[test]
    fn a_log_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31;1mred\u{1b}[0m\tb\r\u{7}"), "ared b");
        assert_eq!(clean("\u{1b}]0;title\u{7}x\u{1b}]8;;u\u{1b}\\y"), "xy");
        assert_eq!(clean("\u{1b}[2J"), "");
        assert_eq!(clean("naïve – ✔"), "naïve – ✔");
        assert_eq!(clean("a\u{202e}b\u{200b}c"), "abc", "nor turn or hide what stands beside it");
        assert_eq!(clean_lines("a\u{1b}[2J\nb\r\n"), "a\nb\n");
    }
}
