//! JSON to the tree. Plain JSON: comments and trailing commas are errors, because no other tool would read the file.
//! Deliberately absent: what the keys mean.
use super::node::{Entry, Node, Table, Value};
use super::problem::{Problem, Source, Span};
use jsonc_parser::ast::{Object, Value as Ast};
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

/// The tree, unless the syntax is broken, and the problems: one syntax error, or every key that is given twice.
pub(super) fn parse(source: &Source<'_>) -> (Option<Table>, Vec<Problem>) {
    let plain = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = match parse_to_ast(source.text, &CollectOptions::default(), &plain) {
        Ok(parsed) => parsed.value,
        Err(error) => return (None, vec![explain(source, &error)]),
    };
    let mut problems = Vec::new();
    match parsed {
        Some(Ast::Object(object)) => {
            let root = table(source, &object, &mut problems);
            (Some(root), problems)
        }
        Some(other) => {
            let range = other.range();
            let span = Span { start: range.start, end: range.end };
            (None, vec![source.problem(span, "the file must hold one JSON object", "expected `{`")])
        }
        None => (None, vec![source.problem_of_the_file("the file is empty", "")]),
    }
}

fn table(source: &Source<'_>, object: &Object<'_>, problems: &mut Vec<Problem>) -> Table {
    let mut table = Table::default();
    for property in &object.properties {
        let range = property.name.range();
        let key_span = Span { start: range.start, end: range.end };
        let key = property.name.as_str().to_owned();
        if let Some(first) = table.get(&key) {
            let line = source.line(first.key_span);
            problems.push(
                source
                    .problem(key_span, format!("`{key}` is given twice"), "remove one of the two")
                    .note(format!("the first is in line {line}")),
            );
            continue;
        }
        let node = node(source, &property.value, Some(key_span), problems);
        table.entries.push(Entry { key, key_span, node });
    }
    table
}

fn node(source: &Source<'_>, value: &Ast<'_>, key: Option<Span>, problems: &mut Vec<Problem>) -> Node {
    let range = value.range();
    let mut span = Span { start: range.start, end: range.end };
    let value = match value {
        Ast::StringLit(text) => Value::Text(text.value.to_string()),
        Ast::NumberLit(number) => number.value.parse().map_or_else(|_| Value::Number(number.value.to_owned()), Value::Integer),
        Ast::BooleanLit(flag) => Value::Flag(flag.value),
        Ast::NullKeyword(_) => Value::Null,
        Ast::Array(list) => Value::List(list.elements.iter().map(|item| node(source, item, None, problems)).collect()),
        Ast::Object(object) => {
            span = key.unwrap_or(Span { start: span.start, end: span.start + 1 });
            Value::Table(table(source, object, problems))
        }
    };
    Node { value, span }
}

fn explain(source: &Source<'_>, error: &ParseError) -> Problem {
    let range = error.range();
    let span = Span { start: range.start, end: range.end };
    let (title, label) = match error.kind() {
        ParseErrorKind::CommentsNotAllowed => ("JSON has no comments", "remove it, or write the file as TOML"),
        ParseErrorKind::TrailingCommasNotAllowed => ("a comma before the closing bracket is not JSON", "remove this comma"),
        ParseErrorKind::ExpectedComma => ("a comma is missing", "expected `,` here"),
        ParseErrorKind::SingleQuotedStringsNotAllowed => ("a JSON string stands in double quotes", "write `\"`"),
        ParseErrorKind::ExpectedStringObjectProperty => ("a JSON key stands in double quotes", "put the key in `\"`"),
        ParseErrorKind::ExpectedObjectValue => ("a value is missing", "expected a value here"),
        ParseErrorKind::UnterminatedObject => ("this `{` is never closed", "expected a `}` at the end"),
        ParseErrorKind::UnterminatedArray => ("this `[` is never closed", "expected a `]` at the end"),
        kind => return source.problem(span, format!("the JSON is not valid: {}", lower_first(&kind.to_string())), ""),
    };
    source.problem(span, title, label)
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}
