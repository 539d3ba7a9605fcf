//! Copies that fail while they serve: which are asked and from where, what so many answers in a row say, and the plan that takes them out of
//! every upstream or in again. What is out is read from NGINX's own files. Deliberately absent: asking, and how often.
mod change;
mod copies;
mod out;
mod streaks;

pub use change::check_plan;
pub use copies::{CopyCheck, copy_checks};
pub(super) use out::{keep_out, notes, troubles};
pub use streaks::{News, Streaks, together};
