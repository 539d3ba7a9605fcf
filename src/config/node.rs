//! One small tree for TOML and JSON, where every key and value knows its place, and the deep merge of environments.
//! Deliberately absent: what the keys mean.
use super::problem::Span;

/// A value and its place. The place of a table is its header or its key.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Span,
}

/// A value as both formats know it.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    /// As written: no digit is lost on the way into an environment variable. Also integers beyond 64 bits.
    Number(String),
    Flag(bool),
    Date,
    Null,
    List(Vec<Node>),
    Table(Table),
}

/// Keys and values in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Node {
    /// The kind, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Number(_) => "a decimal number",
            Value::Flag(_) => "true or false",
            Value::Date => "a date",
            Value::Null => "null",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The table, when it is one.
    pub(super) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            Value::Text(_) | Value::Integer(_) | Value::Number(_) | Value::Flag(_) | Value::Date | Value::Null | Value::List(_) => None,
        }
    }

    /// The place of the list item or table key `item`, or of the whole value.
    pub(super) fn item_span(&self, item: &str) -> Span {
        let found = match &self.value {
            Value::List(items) => items.iter().find(|node| matches!(&node.value, Value::Text(text) if text == item)).map(|node| node.span),
            Value::Table(table) => table.get(item).map(|entry| entry.key_span),
            Value::Text(_) | Value::Integer(_) | Value::Number(_) | Value::Flag(_) | Value::Date | Value::Null => None,
        };
        found.unwrap_or(self.span)
    }
}

impl Table {
    /// The entry of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The table at `key`, when there is one.
    pub(super) fn table(&self, key: &str) -> Option<&Table> {
        self.get(key).and_then(|entry| entry.node.table())
    }

    /// Takes the entry of `key` out.
    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Lays `over` on top: tables are merged, everything else is replaced, and the place of the value that won is kept.
    pub(super) fn merge(&mut self, over: Table) {
        for entry in over.entries {
            let Some(mine) = self.entries.iter_mut().find(|mine| mine.key == entry.key) else {
                self.entries.push(entry);
                continue;
            };
            match (&mut mine.node.value, entry.node) {
                (Value::Table(mine), Node { value: Value::Table(theirs), .. }) => mine.merge(theirs),
                (_, node) => {
                    mine.key_span = entry.key_span;
                    mine.node = node;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Source;

    fn tree(text: &str) -> Table {
        crate::config::toml::parse(&Source::new("a.toml", text)).0.unwrap()
    }

    #[test]
    fn tables_merge_and_everything_else_is_replaced_with_its_place() {
        let mut base = tree("a = { x = 1, y = 2 }\nl = [1, 2]\n");
        base.merge(tree("l = [3]\na = { y = 5, z = 6 }\n"));
        let a = base.table("a").unwrap();
        let keys: Vec<&str> = a.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["x", "y", "z"]);
        assert!(matches!(a.get("y").unwrap().node.value, Value::Integer(5)));
        assert_eq!(a.get("y").unwrap().node.span, Span { start: 18, end: 19 }, "the place of the value that won");
        assert!(matches!(&base.get("l").unwrap().node.value, Value::List(items) if items.len() == 1));
    }
}
