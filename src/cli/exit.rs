//! The exit codes: what a script or a cron job may rely on. Deliberately absent: deciding how a command went.
use crate::model::Verdict;

/// Done, or nothing to do.
pub const DONE: u8 = 0;
/// A bug in this program.
pub const BUG: u8 = 1;
/// Usage or configuration: nothing was asked of any server, but for a template that turns out to be wrong once there is something to fill in.
pub const USAGE: u8 = 2;
/// The plan has fatal findings; nothing was changed.
pub const FATAL_FINDINGS: u8 = 3;
/// A server cannot be reached or its engine cannot be used; nothing was changed. `status` has printed what the others say.
pub const UNREACHABLE: u8 = 4;
/// Failed, and everything was put back.
pub const PUT_BACK: u8 = 5;
/// Failed, and something could not be put back. It is listed.
pub const STUCK: u8 = 6;
/// Another run holds the lock; nothing was changed.
pub const LOCKED: u8 = 7;
/// Failed, and nothing was undone: the run is held, as the playbook wants. Also of a command that does not begin because a run is held.
pub const HELD: u8 = 8;
/// A canary has stood the test, and the run waits for `promote`. Also of a command that does not begin because one waits.
pub const WAITING: u8 = 9;
/// `watch --once`: a copy is out of every server's NGINX, fails its checks or could not be asked, or a server does not answer.
pub const UNHEALTHY: u8 = 10;
/// Interrupted; a run that had begun can be resumed. 128 + SIGINT, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// Every code with its meaning, as `--help` shows them.
pub const MEANINGS: [(u8, &str); 12] = [
    (DONE, "done, or nothing to do"),
    (BUG, "a bug in flipside"),
    (USAGE, "wrong usage or configuration"),
    (FATAL_FINDINGS, "the plan has fatal findings; nothing was changed"),
    (UNREACHABLE, "a server cannot be asked; nothing was changed"),
    (PUT_BACK, "failed, and everything was put back"),
    (STUCK, "failed, and something could not be put back (it is listed)"),
    (LOCKED, "locked by another run; nothing was changed"),
    (HELD, "failed, and is held: nothing was undone (flipside resume tries again, flipside abort undoes)"),
    (WAITING, "a canary waits for promotion (flipside promote goes on, flipside abort undoes)"),
    (UNHEALTHY, "watch --once: a copy is out, fails its checks or cannot be asked, or a server does not answer"),
    (INTERRUPTED, "interrupted (flipside resume goes on, flipside abort undoes)"),
];

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for was done and seen, or shown.
    Done,
    /// The servers are already as asked.
    NothingToDo,
    /// A run came to its end.
    Closed(Verdict),
    /// The command line makes no sense.
    Usage,
    /// A file is missing or wrong.
    Configuration,
    /// The plan's checks forbid it; also a rollback with nothing to go back to.
    FatalFindings,
    /// A server cannot be reached, and nothing was changed anywhere.
    Unreachable,
    /// Another run holds a server's lock.
    Locked,
    /// An earlier run is held, and comes first.
    Held,
    /// A copy is out, or fails its active checks, and nothing more can be done about it now.
    Unhealthy,
    /// An earlier run waits for promotion, and comes first.
    Waiting,
    /// The answer to the question was no, before anything began.
    Declined,
    /// The run stopped in the middle and can be resumed.
    Interrupted,
    /// Something that cannot happen did.
    Bug,
}

/// The exit code of an outcome.
#[must_use]
pub fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Done | Outcome::NothingToDo | Outcome::Closed(Verdict::Done | Verdict::DoneWithLeftovers) => DONE,
        Outcome::Usage | Outcome::Configuration => USAGE,
        Outcome::FatalFindings => FATAL_FINDINGS,
        Outcome::Unreachable => UNREACHABLE,
        Outcome::Closed(Verdict::PutBack) => PUT_BACK,
        Outcome::Closed(Verdict::Stuck) => STUCK,
        Outcome::Locked => LOCKED,
        Outcome::Held | Outcome::Closed(Verdict::Held) => HELD,
        Outcome::Unhealthy => UNHEALTHY,
        Outcome::Waiting | Outcome::Closed(Verdict::Waiting) => WAITING,
        Outcome::Declined | Outcome::Interrupted => INTERRUPTED,
        Outcome::Bug => BUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_a_promise() {
        for (outcome, expected) in [
            (Outcome::Done, 0),
            (Outcome::NothingToDo, 0),
            (Outcome::Closed(Verdict::Done), 0),
            (Outcome::Closed(Verdict::DoneWithLeftovers), 0),
            (Outcome::Bug, 1),
            (Outcome::Usage, 2),
            (Outcome::Configuration, 2),
            (Outcome::FatalFindings, 3),
            (Outcome::Unreachable, 4),
            (Outcome::Closed(Verdict::PutBack), 5),
            (Outcome::Closed(Verdict::Stuck), 6),
            (Outcome::Locked, 7),
            (Outcome::Held, 8),
            (Outcome::Closed(Verdict::Held), 8),
            (Outcome::Waiting, 9),
            (Outcome::Closed(Verdict::Waiting), 9),
            (Outcome::Unhealthy, 10),
            (Outcome::Interrupted, 130),
            (Outcome::Declined, 130),
        ] {
            assert_eq!(code(outcome), expected, "{outcome:?}");
            assert!(MEANINGS.iter().any(|(code, _)| *code == expected), "{expected} is not explained");
        }
    }
}
