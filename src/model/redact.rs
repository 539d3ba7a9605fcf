//! Takes the values of secrets out of text that is about to be shown or written down: an app may print what it was given.
//! Deliberately absent: encodings of a value other than itself and JSON's.
use super::secret::Secret;
use zeroize::Zeroizing;

/// What stands in the place of a value.
const MASK: &str = "[secret]";
/// A shorter value would take innocent text away, and tell what it is by that.
const SHORTEST: usize = 4;
/// Of a value of several lines, a shorter line is hardly what makes it secret: `{`, `end`, `user:`.
const SHORTEST_LINE: usize = 8;

/// The texts that must not be shown, the longest first: one value may be a part of another.
#[derive(Clone, Default)]
pub struct Redactor {
    hidden: Vec<Zeroizing<String>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} texts)", self.hidden.len())
    }
}

impl Redactor {
    /// Hides each value of four characters or more, and each line of eight or more of a value that has several; also as a JSON string
    /// would have them.
    #[must_use]
    pub fn new<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut hidden = Vec::new();
        for value in values {
            let text = Zeroizing::new(String::from_utf8_lossy(value.bytes()).into_owned());
            let whole = text.trim();
            let shortest = if whole.contains('\n') { SHORTEST_LINE } else { SHORTEST };
            for line in whole.lines().chain([whole]).map(str::trim) {
                let json = Zeroizing::new(serde_json::to_string(line).unwrap_or_default());
                let inner = json.trim_matches('"');
                hidden.extend(
                    [line, inner].into_iter().filter(|text| text.chars().count() >= shortest).map(|text| Zeroizing::new(text.to_owned())),
                );
            }
        }
        hidden.sort_by(|a, b| (b.len(), b.as_str()).cmp(&(a.len(), a.as_str())));
        hidden.dedup();
        Self { hidden }
    }

    /// The text, with `[secret]` in the place of every value.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.hidden
            .iter()
            .filter(|hidden| hidden.len() <= text.len())
            .fold(text.to_owned(), |text, hidden| if text.contains(hidden.as_str()) { text.replace(hidden.as_str(), MASK) } else { text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(values: &[&str], text: &str) -> String {
        let values: Vec<Secret> = values.iter().map(|value| Secret::new(value.as_bytes().to_vec())).collect();
        Redactor::new(&values).redact(text)
    }

    #[test]
    fn a_value_is_hidden_wherever_it_stands() {
        assert_eq!(redact(&["hunter2\n"], "password=hunter2, again: hunter2!"), "password=[secret], again: [secret]!");
        assert_eq!(redact(&["it's $HOME ü"], "x it's $HOME ü y"), "x [secret] y");
        assert_eq!(redact(&["a\"b\\c"], r#"{"key":"a\"b\\c"}"#), r#"{"key":"[secret]"}"#);
        assert_eq!(redact(&["abcd", "abcdefgh"], "abcdefgh abcd"), "[secret] [secret]", "the longer one first");
    }

    #[test]
    fn each_long_line_of_a_long_value_is_hidden() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nab==\n-----END KEY-----\n";
        assert_eq!(redact(&[key], "key: MIIEvQIBADANBgkq"), "key: [secret]");
        assert_eq!(redact(&[key], "ab== stays"), "ab== stays");
    }

    #[test]
    fn what_is_too_short_would_take_innocent_text_away() {
        assert_eq!(redact(&["abc", "", "\n\n"], "abc stays"), "abc stays");
    }
}
