//! Docker actions as bodies of POSIX sh (dash, bash, busybox ash), one function an action. Each may be performed twice without
//! harm. A body prints what it met, then one last line `seen: …` with exit 0, or `error: …`, `wanted: …` and `hint: …` with
//! exit 1; `note: …` is worth a word and no failure. It defines functions and exits, so it runs in a subshell of its own, with
//! nothing on its standard input. Deliberately absent: the frame around bodies, deadlines, and everything about NGINX.
mod files;
mod images;
mod lifecycle;
mod networks;
mod ports;
mod prelude;
mod run;

pub use files::{MissingSecret, ensure_directory, put_file};
pub use images::pull_image;
pub use lifecycle::{remove_container, rename_container, set_aside, start_container, stop_container};
pub use networks::{connect_network, ensure_network, remove_network};
pub use run::run_container;
