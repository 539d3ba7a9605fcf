//! A container that Flipside did not start and that a service takes the place of. Deliberately absent: its labels, which are somebody else's.
use serde::{Deserialize, Serialize};

/// Which one it is, and how it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Adopted {
    /// Its name, for people.
    pub name: String,
    /// Its full id: one that was made anew under the same name is another one, and is left alone.
    pub id: String,
    /// Its restart policy in docker's words: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:5`.
    pub restart: String,
}
