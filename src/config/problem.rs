//! What is wrong with a file, where, and how it is printed. Deliberately absent: deciding what is wrong.
use crate::model::is_invisible;
use std::fmt;

/// A range of bytes in the text of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Every problem of one file, in the order of its lines. Never empty when it is returned as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The problems.
    pub problems: Vec<Problem>,
}

/// One problem of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: String,
    /// What is wrong, in one sentence that names its object.
    pub title: String,
    /// Where; absent when the problem is that something is not there at all.
    pub place: Option<Place>,
    /// What to do, or what was seen: printed after the carets. May be empty.
    pub label: String,
    /// Further sentences: reasons, and where else to look.
    pub notes: Vec<String>,
}

/// A part of one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column of the first character, from 1, counted in characters.
    pub column: usize,
    /// The line, or the part of a very long line around the place, without control characters.
    pub excerpt: String,
    /// How many characters of the excerpt stand before the carets.
    pub indent: usize,
    /// How many characters are underlined, at least 1. Reaches at most one character past the excerpt's end, where something is missing.
    pub length: usize,
}

/// The most characters of a line that are shown; JSON may be one line of a megabyte.
const WIDEST: usize = 120;
/// How much of a long line is shown before the carets.
const BEFORE: usize = 40;

/// A file's name and text, with the starts of its lines.
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// A byte order mark is not part of the text.
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, starts }
    }

    /// A problem at `span`.
    pub(super) fn problem(&self, span: Span, title: impl Into<String>, label: impl Into<String>) -> Problem {
        Problem { place: Some(self.place(span)), ..self.problem_of_the_file(title, label) }
    }

    /// A problem that has no place.
    pub(super) fn problem_of_the_file(&self, title: impl Into<String>, label: impl Into<String>) -> Problem {
        Problem { file: self.file.to_owned(), title: title.into(), place: None, label: label.into(), notes: Vec::new() }
    }

    /// The line of `span`, from 1.
    pub(super) fn line(&self, span: Span) -> usize {
        self.starts.partition_point(|start| *start <= span.start)
    }

    /// The text of `span`; empty where the span does not fit.
    pub(super) fn slice(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn place(&self, span: Span) -> Place {
        let line = self.line(span);
        let start = self.starts[line - 1];
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        let whole = self.text[start..end].trim_end_matches('\r');
        let before = chars_up_to(whole, span.start.saturating_sub(start));
        let total = whole.chars().count();
        let last = chars_up_to(whole, span.end.saturating_sub(start));
        let length = last.saturating_sub(before).max(1);
        let (skip, cut) = if total <= WIDEST { (0, total) } else { window(before, total) };
        let mut excerpt: String = whole.chars().skip(skip).take(cut - skip).map(printable).collect();
        let mut indent = before - skip;
        if skip > 0 {
            excerpt.insert_str(0, "… ");
            indent += 2;
        }
        let room = (cut - before).max(1);
        if cut < total {
            excerpt.push_str(" …");
        }
        Place { line, column: before + 1, excerpt, indent, length: length.min(room) }
    }
}

/// The part of a long line that is shown, in characters.
fn window(before: usize, total: usize) -> (usize, usize) {
    let skip = before.saturating_sub(BEFORE).min(total - WIDEST);
    (skip, skip + WIDEST)
}

/// How many characters of `line` begin before byte `offset`.
fn chars_up_to(line: &str, offset: usize) -> usize {
    line.char_indices().take_while(|(at, _)| *at < offset).count()
}

/// A file must not be able to drive the terminal; a tab becomes one blank, so that carets stay below their characters.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || is_invisible(c) => '\u{fffd}',
        c => c,
    }
}

impl Problem {
    /// The same, with one more sentence.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = |text: &str| text.chars().map(printable).collect::<String>();
        write!(f, "error: {}", clean(&self.title))?;
        let file = clean(&self.file);
        let margin = match &self.place {
            Some(place) => {
                let number = place.line.to_string();
                let margin = " ".repeat(number.len());
                write!(f, "\n{margin}--> {file}:{number}:{}\n{margin} |", place.column)?;
                write!(f, "\n{number} | {}\n{margin} | ", place.excerpt)?;
                write!(f, "{}{}", " ".repeat(place.indent), "^".repeat(place.length))?;
                if !self.label.is_empty() {
                    write!(f, " {}", clean(&self.label))?;
                }
                margin
            }
            None => {
                write!(f, "\n --> {file}")?;
                if !self.label.is_empty() {
                    write!(f, "\n  = help: {}", clean(&self.label))?;
                }
                " ".to_owned()
            }
        };
        for note in &self.notes {
            write!(f, "\n{margin} = note: {}", clean(note))?;
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str, start: usize, end: usize) -> String {
        Source::new("a.toml", text).problem(Span { start, end }, "wrong", "here").to_string()
    }

    #[test]
    fn carets_stand_below_their_characters() {
        assert_eq!(printed("a = 1\nbcd = 2\n", 6, 9), "error: wrong\n --> a.toml:2:1\n  |\n2 | bcd = 2\n  | ^^^ here");
        assert_eq!(printed("ä\tb\r\n", 3, 4), "error: wrong\n --> a.toml:1:3\n  |\n1 | ä b\n  |   ^ here");
    }

    #[test]
    fn what_is_missing_at_the_end_of_a_line_is_shown_just_past_it() {
        assert_eq!(printed("a =\n", 3, 3), "error: wrong\n --> a.toml:1:4\n  |\n1 | a =\n  |    ^ here");
        assert_eq!(printed("", 0, 0), "error: wrong\n --> a.toml:1:1\n  |\n1 | \n  | ^ here");
    }

    #[test]
    fn a_span_over_several_lines_is_cut_at_the_first() {
        assert!(printed("a = [\n1,\n]", 4, 11).ends_with("1 | a = [\n  |     ^ here"));
    }

    #[test]
    fn a_very_long_line_is_shown_around_the_place() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let place = Source::new("a.json", &text).problem(Span { start: 5000, end: 5001 }, "", "").place.unwrap();
        assert_eq!(place.excerpt.chars().nth(place.indent), Some('X'));
        assert_eq!((place.column, place.excerpt.chars().count()), (5001, WIDEST + 4));
    }

    #[test]
    fn a_file_cannot_drive_the_terminal() {
        let text = Source::new("a", "k\u{1b}[2J = 1").problem(Span { start: 0, end: 1 }, "key `\u{1b}[2J`", "").to_string();
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
