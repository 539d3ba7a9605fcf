//! What happened, as plain data: the lines of the journal.
use super::names::ServerName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The position of a wave in its plan, from 0.
pub type WaveIndex = usize;

/// A step's place in the plan: `wave/server/index`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId {
    /// The wave, from 0.
    pub wave: WaveIndex,
    /// The server.
    pub server: ServerName,
    /// The step's position on that server in that wave, from 0.
    pub index: usize,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.wave, self.server, self.index)
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// 0, 1, 2, … without a gap.
    pub seq: u64,
    /// Milliseconds since the Unix epoch, by the workstation's clock. For people; but for which requests of the run's probes failed before it was
    /// complete, nothing is decided by it.
    pub at: u64,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// The run exists from here on.
    RunOpened {
        /// The run's id.
        run: String,
        /// SHA-256 of the plan's bytes, hex.
        plan: String,
    },
    /// A step is about to be performed. On disk before it begins.
    StepStarted {
        /// The step.
        step: StepId,
    },
    /// A step came back.
    StepEnded {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// A step's undo is about to be performed. On disk before it begins.
    UndoStarted {
        /// The step.
        step: StepId,
    },
    /// A step's undo came back.
    UndoEnded {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
    /// Every step of a wave is done.
    GatePassed {
        /// The wave.
        wave: WaveIndex,
    },
    /// Somebody asked to undo the run: a signal, or `abort`.
    AbortRequested {
        /// Who or what.
        reason: String,
    },
    /// A step failed, and the plan says that nothing is undone; or a wave waits for promotion. The fleet stays as it is until somebody decides.
    RunHeld,
    /// Somebody asked to go on with a run that is held, or was cut off: what failed is tried again.
    RetryRequested {
        /// Steps that were done, and are done once more: what they saw may have changed since.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        anew: Vec<StepId>,
    },
    /// Somebody has said that this wave, which waits for that, may begin.
    Promoted {
        /// The wave.
        wave: WaveIndex,
        /// As of a run that is held.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        anew: Vec<StepId>,
    },
    /// The run is over.
    RunClosed {
        /// How.
        verdict: Verdict,
    },
}

/// How a step came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was seen to be done. `seen` is what proves it, such as `"generation 3f2a…"` or `"12 ms"`; may be empty.
    Done {
        /// The evidence, for people.
        seen: String,
    },
    /// It was seen to fail.
    Failed(Failure),
    /// Nobody saw how it ended: the connection went, or a deadline passed.
    Unknown(Failure),
    /// It was not begun, because a step before it on the same server did not succeed.
    NotReached,
}

/// Why a step failed, as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Failure {
    /// One sentence: what was seen.
    pub seen: String,
    /// One sentence: what was wanted. May be empty.
    pub wanted: String,
    /// From the outermost cause to the innermost.
    pub causes: Vec<String>,
    /// The exit code of the command, where there was one.
    pub exit: Option<i32>,
    /// The last lines of the command's or the container's output.
    pub tail: Vec<String>,
    /// What to do about it. May be empty.
    pub hint: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was done.
    Done,
    /// Everything that matters was done; some cleaning up was not.
    DoneWithLeftovers,
    /// A step failed, and everything was put back.
    PutBack,
    /// A step failed, and something could not be put back.
    Stuck,
    /// A step failed, and nothing was undone: the run is taken up again, forward or back.
    Held,
    /// A canary has stood the test, and the run waits for somebody to say that it goes on.
    Waiting,
}
