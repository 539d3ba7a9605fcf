//! What can be asked of servers: the seam between deciding and doing. Deliberately absent: how it is done.
use crate::model::{Action, Millis, Outcome, ServerName, StepId};
use std::future::Future;
use tokio::sync::mpsc::UnboundedSender;

/// Actions that count as one step, or as the undo of one.
#[derive(Debug, Clone)]
pub struct Call {
    /// The step.
    pub id: StepId,
    /// In order. All must be done for the call to be done.
    pub actions: Vec<Action>,
    /// For all of them.
    pub within: Millis,
}

/// What is told while calls are performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The call is being worked on.
    Begun(StepId),
    /// Passing progress, such as `answer 2 of 3`.
    Chatter(StepId, String),
    /// The call came back. Exactly one for every call.
    Ended(StepId, Outcome),
}

/// Servers on which actions can be performed.
pub trait Remote: Send + Sync + 'static {
    /// Performs the calls on one server, in order, and tells how each ended. The first that is not done ends it: those behind it
    /// are told as [`Outcome::NotReached`]. Always comes back: within the calls' deadlines, and
    /// what connecting and taking the lease again may take.
    fn perform(&self, server: ServerName, calls: Vec<Call>, tell: UnboundedSender<Update>) -> impl Future<Output = ()> + Send;
}
