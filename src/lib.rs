//! Flipside: an agentless fleet deployer over SSH. This page is the map; the README says what it does for its users.
//!
//! Two values carry the program: the [`plan::Plan`], all that should happen, and the [`ledger::Ledger`], all that has happened. One
//! pure function, [`plan::next`], stands between them. A fresh run, a resumed run, one that is held or waits for promotion and is
//! taken up, and one that is being put back are the same loop with another ledger.
//!
//! ```text
//! playbook, inventory ──load──▶ Playbook, Inventory                     config
//! servers ──ask──▶ Facts (a silent server is left out, and named)        facts, remote
//! Playbook + Inventory + Facts ──build──▶ Plan, Findings                 plan
//! Plan ──▶ plan.json on disk: from here on the run exists                run
//! loop: next(plan, ledger) ──▶ journal ──▶ perform ──▶ journal           run, remote
//! every event ──▶ one reporter                                           report
//! ```
//!
//! # Rooms and floors
//!
//! A room imports only rooms below it in this table. Rooms that are called pure have no async, no files, no sockets, no processes, no
//! environment and no clock: whatever they decide can be decided again, and is tested with plain data.
//!
//! | Floor | Room | What it is for |
//! | --- | --- | --- |
//! | 7 | `main.rs` | The command line in, the exit code out. |
//! | 6 | [`cli`] | One function a command: read the files, call, print; the only room that knows clap; `watch` alone goes on asking, and what the answers mean is `plan`'s. |
//! | 5 | [`run`] | The loop that journals, performs and journals; it decides nothing. |
//! | 5 | [`report`] | Events in, bytes out: bars on a terminal, lines in a pipe, JSON for programs, and the one printer of failures. |
//! | 4 | [`plan`] | Pure, the heart: what should run where, on which ports, in which waves, what a careful operator would object to, and what is next. |
//! | 4 | [`remote`] | Bytes over SSH: connecting, host keys, keys, scripts, tunnels and probes; the only room that knows russh. |
//! | 3 | [`facts`] | Pure: what to ask a server in one round trip, and how to read the answer. |
//! | 3 | [`nginx`] | Pure: services and backends to the files of one NGINX generation, through templates, and back. |
//! | 2 | [`config`] | Pure: text to playbook and inventory, and every problem with its line and a caret. |
//! | 2 | [`script`] | Pure: actions to shell text, through the one quoting function; nothing else writes shell that changes a server. |
//! | 2 | [`docker`] | Pure: typed docker commands as lists of words. |
//! | 2 | [`ledger`] | Pure: the state of each step, folded from events; an event that cannot be is an error. |
//! | 1 | [`model`] | Pure: the words that all rooms speak, such as names, sides, ports, actions and events. |
//!
//! # What holds everywhere
//!
//! - Nothing happens on a server that is not a step of the saved plan, and no step begins before its beginning is on disk.
//! - What NGINX routes is the truth about which side is live; labels and journals only confirm it.
//! - The live side is never stopped, renamed or removed, but by `remove` and by a handover.
//! - Containers of others are left alone, but for those that `adopt` names: they are stopped, and never removed.
//! - [`model::Action`] is the seam: tests interpret it, [`script`] turns it into shell, and no match on it has a wildcard.

// Both panic when the reader of a pipe has gone away: `cli::print` and the reporter's sinks do not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod config;
pub mod docker;
pub mod facts;
pub mod ledger;
pub mod model;
pub mod nginx;
pub mod plan;
pub mod remote;
pub mod report;
pub mod run;
pub mod script;
