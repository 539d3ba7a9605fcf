//! Takes typed values out of the tree and goes on after a problem. Deliberately absent: what a service or a server is.
use super::keys::{Part, did_you_mean, joined, listing};
use super::naming::Name;
use super::node::{Entry, Node, Table, Value};
use super::problem::{Problem, Source, Span};
use super::values;
use crate::model::Millis;
use std::ops::RangeInclusive;

/// The problems so far. Every reader returns nothing for a key that is absent, and reports and returns nothing for one that is wrong.
pub(super) struct Walk<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) problems: Vec<Problem>,
}

/// One table, what it is called in a sentence, and which keys it may have.
pub(super) struct Section<'n> {
    pub(super) what: String,
    pub(super) part: Part,
    pub(super) table: &'n Table,
    pub(super) span: Span,
}

/// A value and its place.
pub(super) type At<T> = (T, Span);

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self { source, problems: Vec::new() }
    }

    /// Reports a problem at a place.
    pub(super) fn report(&mut self, span: Span, title: impl Into<String>, label: impl Into<String>) {
        let problem = self.source.problem(span, title, label);
        self.problems.push(problem);
    }

    /// Reports a problem at a place, with a further sentence.
    pub(super) fn report_with_note(&mut self, span: Span, title: impl Into<String>, label: impl Into<String>, note: impl Into<String>) {
        let problem = self.source.problem(span, title, label).note(note);
        self.problems.push(problem);
    }

    /// Reports that a whole file lacks something.
    pub(super) fn report_absent(&mut self, title: impl Into<String>, label: impl Into<String>) {
        let problem = self.source.problem_of_the_file(title, label);
        self.problems.push(problem);
    }

    /// The value as a table whose keys are all known.
    pub(super) fn section<'n>(&mut self, entry: &'n Entry, part: Part, what: impl Into<String>) -> Option<Section<'n>> {
        let what = what.into();
        let Some(table) = entry.node.table() else {
            self.report(entry.node.span, format!("{what} must be a table, not {}", entry.node.kind()), "");
            return None;
        };
        let section = Section { what, part, table, span: entry.node.span };
        self.check_keys(&section);
        Some(section)
    }

    /// The table at `key` inside a section.
    pub(super) fn subsection<'n>(&mut self, section: &Section<'n>, key: &str, part: Part, what: String) -> Option<Section<'n>> {
        section.table.get(key).and_then(|entry| self.section(entry, part, what))
    }

    /// Reports every key that the section's part does not have.
    pub(super) fn check_keys(&mut self, section: &Section<'_>) {
        let keys = section.part.keys();
        for entry in &section.table.entries {
            let key = entry.key.as_str();
            if keys.contains(&key) {
                continue;
            }
            if let Some(later) = section.part.later(key) {
                self.report(entry.key_span, format!("`{}` is not supported by this version", later.key), later.instead);
                continue;
            }
            let advice = section.part.advice(key);
            let title = format!("unknown key `{key}` in {}", section.what);
            if advice.is_empty() {
                let known = format!("the keys are {}", listing(keys.iter().copied()));
                self.report_with_note(entry.key_span, title, "", known);
            } else {
                self.report(entry.key_span, title, advice);
            }
        }
    }

    /// Reports that a key is absent, at the section's header; not when an unknown key was reported that was meant to be it.
    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, label: &str) {
        let keys = section.part.keys();
        let mut unknown = section.table.entries.iter().filter(|entry| !keys.contains(&entry.key.as_str()));
        if unknown.any(|entry| section.part.advice(&entry.key).contains(&format!("`{key}`"))) {
            return;
        }
        self.report(section.span, format!("{} has no `{key}`", section.what), label);
    }

    /// One line of text, not empty.
    pub(super) fn text(&mut self, section: &Section<'_>, key: &str) -> Option<At<String>> {
        let entry = section.table.get(key)?;
        let subject = format!("`{key}` in {}", section.what);
        self.line(&entry.node, &subject)
    }

    /// A name.
    pub(super) fn name<T: Name>(&mut self, section: &Section<'_>, key: &str) -> Option<T> {
        let (text, span) = self.text(section, key)?;
        self.named(&text, span)
    }

    /// A list of single lines without repetition.
    pub(super) fn texts(&mut self, section: &Section<'_>, key: &str) -> Option<Vec<At<String>>> {
        let entry = section.table.get(key)?;
        let subject = format!("`{key}` in {}", section.what);
        let items = self.list(&entry.node, &subject)?;
        let mut texts: Vec<At<String>> = Vec::new();
        for item in items {
            let Some((text, span)) = self.line(item, &format!("an item of {subject}")) else { continue };
            if texts.iter().any(|(seen, _)| *seen == text) {
                self.report(span, format!("`{text}` stands twice in {subject}"), "remove one of the two");
            } else {
                texts.push((text, span));
            }
        }
        Some(texts)
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, subject: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            Value::Text(text) => {
                self.report(node.span, format!("{subject} must be a list, not a string"), format!("write `[{}]`", values::quoted(text)));
                None
            }
            Value::Integer(_) | Value::Number(_) | Value::Flag(_) | Value::Date | Value::Null | Value::Table(_) => {
                self.report(node.span, format!("{subject} must be a list, not {}", node.kind()), "");
                None
            }
        }
    }

    /// One line of text, not empty, without blanks at its ends.
    pub(super) fn line(&mut self, node: &Node, subject: &str) -> Option<At<String>> {
        let text = self.any_text(node, subject)?;
        let fault = if text.is_empty() {
            "is empty"
        } else if text.chars().any(char::is_control) {
            "has a line break or another control character"
        } else if text.trim() != text {
            "begins or ends with a blank"
        } else {
            return Some((text, node.span));
        };
        self.report(node.span, format!("{subject} {fault}"), "");
        None
    }

    /// Any text that an argument of a command can carry.
    pub(super) fn any_text(&mut self, node: &Node, subject: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.contains('\0') => {
                self.report(node.span, format!("{subject} has a NUL character, which no command can carry"), "");
                None
            }
            Value::Text(text) => Some(text.clone()),
            Value::Integer(_) | Value::Number(_) | Value::Flag(_) | Value::Date => {
                let label = format!("write `{}`", values::quoted(self.source.slice(node.span)));
                self.report(node.span, format!("{subject} must be a string, not {}", node.kind()), label);
                None
            }
            Value::Null | Value::List(_) | Value::Table(_) => {
                self.report(node.span, format!("{subject} must be a string, not {}", node.kind()), "");
                None
            }
        }
    }

    /// An integer in a range; `why` explains the range and may be empty.
    pub(super) fn number(&mut self, section: &Section<'_>, key: &str, range: RangeInclusive<u32>, why: &str) -> Option<At<u32>> {
        let entry = section.table.get(key)?;
        let span = entry.node.span;
        let subject = format!("`{key}` in {}", section.what);
        let (from, to) = (range.start(), range.end());
        match &entry.node.value {
            Value::Integer(number) => {
                let fits = u32::try_from(*number).ok().filter(|number| range.contains(number));
                if fits.is_none() {
                    self.report(span, format!("{subject} must be from {from} to {to}, not {number}"), why);
                }
                fits.map(|number| (number, span))
            }
            Value::Text(text) if text.parse::<i64>().is_ok() => {
                self.report(span, format!("{subject} must be an integer, not a string"), format!("write `{text}` without the quotes"));
                None
            }
            Value::Number(number) if number.parse::<i128>().is_ok() => {
                self.report(span, format!("{subject} must be from {from} to {to}, not {number}"), why);
                None
            }
            Value::Text(_) | Value::Number(_) | Value::Flag(_) | Value::Date | Value::Null | Value::List(_) | Value::Table(_) => {
                let label = format!("write an integer from {from} to {to}");
                self.report(span, format!("{subject} must be an integer, not {}", entry.node.kind()), label);
                None
            }
        }
    }

    /// A port in a range within 1 to 65535.
    pub(super) fn port(&mut self, section: &Section<'_>, key: &str, range: RangeInclusive<u16>, why: &str) -> Option<At<u16>> {
        let wide = u32::from(*range.start())..=u32::from(*range.end());
        let (number, span) = self.number(section, key, wide, why)?;
        u16::try_from(number).ok().map(|port| (port, span))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, section: &Section<'_>, key: &str) -> Option<At<bool>> {
        let entry = section.table.get(key)?;
        match &entry.node.value {
            Value::Flag(flag) => Some((*flag, entry.node.span)),
            Value::Text(text) if text == "true" || text == "false" => {
                let title = format!("`{key}` in {} must be true or false, not a string", section.what);
                self.report(entry.node.span, title, format!("write `{text}` without the quotes"));
                None
            }
            Value::Text(_) | Value::Integer(_) | Value::Number(_) | Value::Date | Value::Null | Value::List(_) | Value::Table(_) => {
                let title = format!("`{key}` in {} must be true or false, not {}", section.what, entry.node.kind());
                self.report(entry.node.span, title, "");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, section: &Section<'_>, key: &str, choices: &[(&str, T)]) -> Option<At<T>> {
        let (text, span) = self.text(section, key)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some((*value, span));
        }
        let words = || choices.iter().map(|(word, _)| *word);
        let mut label = did_you_mean(&text, words());
        if label.is_empty() {
            let quoted: Vec<String> = words().map(values::quoted).collect();
            label = format!("use {}", joined(&quoted, "or"));
        }
        self.report(span, format!("`{text}` is not a value of `{key}` in {}", section.what), label);
        None
    }

    /// A duration in a range; `why` explains the range and may be empty.
    pub(super) fn duration(&mut self, section: &Section<'_>, key: &str, range: RangeInclusive<Millis>, why: &str) -> Option<At<Millis>> {
        let entry = section.table.get(key)?;
        let span = entry.node.span;
        let subject = format!("`{key}` in {}", section.what);
        if let Value::Integer(_) | Value::Number(_) = &entry.node.value {
            let label = values::duration(self.source.slice(span)).err().unwrap_or_default();
            self.report(span, format!("{subject} must be a duration, not {}", entry.node.kind()), label);
            return None;
        }
        let (text, span) = self.line(&entry.node, &subject)?;
        match values::duration(&text) {
            Err(label) => self.report(span, format!("{subject} is not a duration: `{text}`"), label),
            Ok(duration) if !range.contains(&duration) => {
                self.report(span, format!("{subject} must be from {} to {}, not {duration}", range.start(), range.end()), why);
            }
            Ok(duration) => return Some((duration, span)),
        }
        None
    }
}
