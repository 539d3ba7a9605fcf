//! The six kinds of names as files write them, and how a wrong one is explained. Deliberately absent: the alphabets themselves.
use super::problem::Span;
use super::walk::Walk;
use crate::model::{EnvName, NameError, ProjectName, SecretName, ServerName, ServiceName, Zone};

/// A name of the model that can stand in a file.
pub(super) trait Name: Sized {
    /// The kind, with its article.
    const KIND: &'static str;
    /// What it is made of, to follow "use".
    const ALPHABET: &'static str;

    /// Reads it.
    fn read(text: &str) -> Result<Self, NameError>;
}

const NARROW: &str = "a lower-case letter, then lower-case letters, digits, `_` or `-`";
const WIDE: &str = "a lower-case letter or a digit, then also `_`, `-` or `.`";
const FILE: &str = "letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`";

macro_rules! name {
    ($type:ident, $kind:literal, $alphabet:ident) => {
        impl Name for $type {
            const KIND: &'static str = $kind;
            const ALPHABET: &'static str = $alphabet;

            fn read(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name!(ProjectName, "a project", NARROW);
name!(EnvName, "an environment", NARROW);
name!(ServiceName, "a service", NARROW);
name!(ServerName, "a server", WIDE);
name!(Zone, "a zone", WIDE);
name!(SecretName, "a secret", FILE);

impl Walk<'_> {
    /// The text as a name; reports it at `span` when it is none.
    pub(super) fn named<T: Name>(&mut self, text: &str, span: Span) -> Option<T> {
        let error = match T::read(text) {
            Ok(name) => return Some(name),
            Err(error) => error,
        };
        let (title, label) = match error {
            NameError::Empty => (format!("the name of {} is empty", T::KIND), format!("use {}", T::ALPHABET)),
            NameError::TooLong(text) => (format!("`{text}` is too long to name {}", T::KIND), "63 characters are the most".to_owned()),
            NameError::Alphabet(text) => (format!("`{text}` cannot name {}", T::KIND), advice::<T>(&text)),
            NameError::Reserved(text) => {
                let label = "names that end in `_secondary` or `_<number>` are kept for sides and replicas";
                (format!("`{text}` cannot name {}", T::KIND), label.to_owned())
            }
        };
        self.report(span, title, label);
        None
    }
}

/// The nearest name that would do, or the alphabet.
fn advice<T: Name>(text: &str) -> String {
    let near = text.trim().to_lowercase().replace(' ', "-");
    if T::read(&near).is_ok() { format!("write `{near}`") } else { format!("use {}", T::ALPHABET) }
}
