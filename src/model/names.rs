//! Names that cannot be wrong: checked once when a file is read, never again.
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than 63 characters, the limit of a DNS label, which container names become.
    #[error("`{0}` is longer than 63 characters")]
    TooLong(String),
    /// A character outside the alphabet.
    #[error("`{0}` is not a name: use a lower-case letter, then lower-case letters, digits, `_` or `-`")]
    Alphabet(String),
    /// A service name that would collide with the name of a side or a replica.
    #[error("`{0}` cannot be a service's name: names that end in `_secondary` or `_<number>` are kept for sides and replicas")]
    Reserved(String),
}

fn check(text: &str, dots: bool) -> Result<(), NameError> {
    let mut characters = text.chars();
    match characters.next() {
        None => return Err(NameError::Empty),
        Some(first) if first.is_ascii_lowercase() => {}
        Some(first) if dots && first.is_ascii_digit() => {}
        Some(_) => return Err(NameError::Alphabet(text.to_owned())),
    }
    if text.len() > 63 {
        return Err(NameError::TooLong(text.to_owned()));
    }
    if characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-' || (dots && c == '.')) {
        Ok(())
    } else {
        Err(NameError::Alphabet(text.to_owned()))
    }
}

/// A secret is the name of a file: not one that is hidden, or that leads out of its folder.
fn check_secret(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > 63 {
        return Err(NameError::TooLong(text.to_owned()));
    }
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) && !text.starts_with(['-', '.']);
    if fits { Ok(()) } else { Err(NameError::Alphabet(text.to_owned())) }
}

fn check_service(text: &str) -> Result<(), NameError> {
    check(text, false)?;
    let tail = text.rsplit_once('_').map(|(_, tail)| tail);
    let reserved = tail.is_some_and(|tail| tail == "secondary" || (!tail.is_empty() && tail.chars().all(|c| c.is_ascii_digit())));
    if reserved { Err(NameError::Reserved(text.to_owned())) } else { Ok(()) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Reads a name.
            ///
            /// # Errors
            /// [`NameError`] when the text is empty, longer than 63 characters, or outside the alphabet.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A project: `[a-z][a-z0-9_-]*`.
    ProjectName,
    |text| check(text, false)
);
name!(
    /// An environment (`uat`, `prod`): `[a-z][a-z0-9_-]*`.
    EnvName,
    |text| check(text, false)
);
name!(
    /// A service: `[a-z][a-z0-9_-]*`, not ending in `_secondary` or `_<number>`.
    ServiceName,
    check_service
);
name!(
    /// A server of the inventory: `[a-z0-9][a-z0-9_.-]*`.
    ServerName,
    |text| check(text, true)
);
name!(
    /// A server's location: `[a-z0-9][a-z0-9_.-]*`.
    Zone,
    |text| check(text, true)
);
name!(
    /// A secret, and the name of its file: `[A-Za-z0-9_][A-Za-z0-9_.-]*`.
    SecretName,
    check_secret
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_look_like_a_side_or_a_replica() {
        for text in ["api_secondary", "api_2", "a_b_10"] {
            assert_eq!(ServiceName::new(text), Err(NameError::Reserved(text.to_owned())), "{text}");
        }
        for text in ["api", "api2", "api-2", "secondary", "api_v2", "a_"] {
            assert!(ServiceName::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_alphabet_is_closed() {
        for text in ["", "Api", "2api", "a.b", "a b", "a$(id)", "ä", &"a".repeat(64)] {
            assert!(ProjectName::new(text).is_err(), "{text:?}");
        }
        assert!(ServerName::new("10.0.0.1").is_ok());
        assert!(ServerName::new("lon1-a.example").is_ok());
        for text in ["", ".", "..", ".key", "-f", "a/b", "a b", "a\n", &"a".repeat(64)] {
            assert!(SecretName::new(text).is_err(), "{text:?}");
        }
        assert!(SecretName::new("DB_password.v2").is_ok());
    }
}
