//! Docker actions as subshells of POSIX sh (dash, bash, busybox ash), one function an action. Each may be performed twice without
//! harm. It prints what it met, then one last line `seen: …` with exit 0, or `error: …`, `wanted: …` and `hint: …` with
//! exit 1; `note: …` is worth a word and no failure. It reads nothing, so its standard input is the caller's to close.
//! Deliberately absent: the frame around steps, deadlines, and everything about NGINX.
mod adopted;
mod files;
mod images;
mod lifecycle;
mod networks;
mod ports;
mod prelude;
mod run;
mod secrets;

pub use adopted::{start_adopted, stop_adopted};
pub use files::put_file;
pub use images::pull_image;
pub use lifecycle::{remove_container, rename_container, set_aside, start_container, stop_container};
pub use networks::{connect_network, ensure_network, remove_network};
pub use run::run_container;
pub use secrets::{PROOF, put_secrets, remove_secrets};
