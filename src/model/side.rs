//! The two identities that take turns.
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the two identities of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Base names and base ports.
    Primary,
    /// Names with `_secondary`, ports + 10000.
    Secondary,
}

impl Side {
    /// Both, the primary first.
    pub const BOTH: [Side; 2] = [Side::Primary, Side::Secondary];

    /// The side that takes the next turn.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Primary => Side::Secondary,
            Side::Secondary => Side::Primary,
        }
    }

    /// The word used in labels and files: `primary`, `secondary`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Primary => "primary",
            Side::Secondary => "secondary",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
