//! TOML to the tree, with every syntax error in words a user can act on. Deliberately absent: what the keys mean.
use super::node::{Entry, Node, Table, Value};
use super::problem::{Problem, Source, Span};
use ::toml::de::{DeInteger, DeTable, DeValue, Error};
use std::ops::Range;

/// More syntax errors than this in one file say nothing new.
const MOST: usize = 10;
/// The parser's word for a key that is given twice; the rest of the tree is sound then.
const DUPLICATE: &str = "duplicate key";

/// The tree, unless the syntax is too broken for one, and every syntax error, one a line.
pub(super) fn parse(source: &Source<'_>) -> (Option<Table>, Vec<Problem>) {
    let (root, mut errors) = DeTable::parse_recoverable(source.text);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    errors.dedup_by_key(|error| error.span().map_or(0, |span| source.line(place(span))));
    let sound = errors.iter().all(|error| error.message() == DUPLICATE);
    let mut problems: Vec<Problem> = errors.iter().take(MOST).map(|error| explain(source, error)).collect();
    if errors.len() > MOST
        && let Some(last) = problems.pop()
    {
        problems.push(last.note(format!("{} more lines have syntax errors", errors.len() - MOST)));
    }
    let table = sound.then(|| table(source, root.get_ref()));
    (table, problems)
}

fn place(span: Range<usize>) -> Span {
    Span { start: span.start, end: span.end }
}

fn table(source: &Source<'_>, from: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = from
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: place(key.span()),
            node: node(source, value.get_ref(), place(value.span())),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span);
    Table { entries }
}

fn node(source: &Source<'_>, value: &DeValue<'_>, span: Span) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => integer(number),
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(source, item.get_ref(), place(item.span()))).collect()),
        DeValue::Table(from) => Value::Table(table(source, from)),
    };
    Node { value, span }
}

fn integer(number: &DeInteger<'_>) -> Value {
    i64::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| Value::Number(number.to_string()), Value::Integer)
}

/// The parser's sentence, or a better one for the mistakes that are made most: text without quotes, and YAML.
fn explain(source: &Source<'_>, error: &Error) -> Problem {
    let span = error.span().map_or(Span { start: 0, end: 0 }, place);
    let message = error.message();
    if message == DUPLICATE {
        return source.problem(span, format!("`{}` is given twice", source.slice(span)), "remove one of the two");
    }
    if message.starts_with("key with no value") {
        return source.problem(span, "this line is not `key = value`", "TOML writes `=` between a key and its value");
    }
    if message.starts_with("invalid unquoted key") {
        return source.problem(
            span,
            format!("`{}` cannot stand in a key without quotes", source.slice(span)),
            "a key is letters, digits, `_` and `-`; TOML writes `key = value`",
        );
    }
    let bare = bare_word(source.text, span);
    let word = source.slice(bare);
    let like_a_value = ["string values must be quoted", "invalid float", "invalid integer", "invalid boolean", "unexpected leading zero"]
        .iter()
        .any(|start| message.starts_with(start))
        || message.contains("date") && !word.is_empty();
    if like_a_value && !word.is_empty() && !word.contains(['"', '\'', '\\']) {
        return source.problem(
            bare,
            format!("`{word}` is neither a number nor a text in quotes"),
            format!("a text is written `\"{word}\"`"),
        );
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        return source.problem(span, "this text has no closing quote", "expected the quote that opened it");
    }
    let (title, label) = match message.split_once(", expected ") {
        Some((title, "nothing")) => (title, String::new()),
        Some((title, expected)) => (title, format!("expected {expected}")),
        None => (message, String::new()),
    };
    source.problem(span, format!("the TOML is not valid: {title}"), label)
}

/// The unquoted word around `span`, as far as a TOML value reaches.
fn bare_word(text: &str, span: Span) -> Span {
    let ends = |c: char| c.is_whitespace() || matches!(c, '=' | ',' | '[' | ']' | '{' | '}' | '#' | '"' | '\'');
    let (Some(head), Some(tail)) = (text.get(..span.start), text.get(span.end..)) else { return span };
    let start = head.rfind(ends).map_or(0, |at| at + head[at..].chars().next().map_or(1, char::len_utf8));
    let end = span.end + tail.find(ends).unwrap_or(tail.len());
    Span { start, end }
}
