//! The signals that ask a command to end: Ctrl-C, SIGTERM, SIGHUP. Once one of them is caught, the process ends by none of them any more,
//! whoever listens. So they are counted from then on, and one that comes between two who would act on it is not lost. SIGHUP is no
//! request to end where whoever started us has had it ignored, as `nohup` does; SIGINT is one all the same, which scripts have ignored by
//! whatever they start in the background.
//! Deliberately absent: what they do to a run (see `carry_out`).
use super::exit::Outcome;
use super::passphrase;
use super::print::{complain, talk};
use std::future::poll_fn;
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How many have come. There is one for the process, as of its signals; the sender is kept here, so no receiver is ever left alone.
static CAME: OnceLock<watch::Sender<u32>> = OnceLock::new();

/// Begins to catch them, where nobody has: from here on and not from when somebody first waits, or one that comes before would end the
/// process. One that cannot be caught never comes.
fn counted() -> watch::Receiver<u32> {
    let begin = || {
        let (came, _) = watch::channel(0);
        let is_under_nohup = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status));
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            if kind == SignalKind::hangup() && is_under_nohup {
                continue;
            }
            let Ok(caught) = signal(kind) else { continue };
            tokio::spawn(count(caught, came.clone()));
        }
        came
    };
    CAME.get_or_init(begin).subscribe()
}

async fn count(mut caught: Signal, came: watch::Sender<u32>) {
    while caught.recv().await.is_some() {
        came.send_modify(|n| *n = n.saturating_add(1));
    }
}

/// A process ignores SIGHUP, the lowest bit of the mask in its `/proc/PID/status`.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Ends once so many have come. They are caught from the call on. Of two who wait for the same one neither is late: the count is looked at
/// each time, since who waits is woken one after the other.
pub(super) fn came(n: u32) -> impl Future<Output = ()> {
    let mut counted = counted();
    let seen = counted.clone();
    async move {
        // It fails only where the sender is gone.
        let mut wait = pin!(counted.wait_for(|came| *came >= n));
        poll_fn(|context| if *seen.borrow() >= n { Poll::Ready(()) } else { wait.as_mut().poll(context).map(drop) }).await;
    }
}

/// Ends with the next one, however many have come before.
pub(super) fn next() -> impl Future<Output = ()> {
    let mut counted = counted();
    async move {
        let _ = counted.changed().await;
    }
}

/// One has come.
pub(super) fn is_stopped() -> bool {
    CAME.get().is_some_and(|came| *came.borrow() > 0)
}

/// Does this work until that happens; None where it was given up. A signal may come while the work is looked at, and after it has looked for
/// one itself: so it is looked at once more.
async fn unless<T>(happens: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        () = happens => {}
    }
    tokio::select! {
        biased;
        done = &mut work => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// What comes before a run: it is done no further once a signal has come. Work that looks for signals itself has the first word.
///
/// # Errors
/// Those of the work; or it was stopped, which is said.
pub(super) async fn before_the_run<T>(work: impl Future<Output = Result<T, Outcome>>) -> Result<T, Outcome> {
    if !is_stopped()
        && let Some(done) = unless(came(1), work).await
    {
        return done;
    }
    passphrase::give_up();
    if io::stderr().is_terminal() {
        // Below the question that has no answer, or the `^C`.
        talk("\n");
    }
    complain("stopped by a signal; nothing was changed on any server");
    Err(Outcome::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::pending;

    #[tokio::test]
    async fn work_that_looks_for_signals_itself_has_the_first_word() {
        // It comes right after the work has looked.
        let has_come = Cell::new(false);
        let looks = poll_fn(|_| if has_come.replace(true) { Poll::Ready("stopped, and why") } else { Poll::Pending });
        let comes = poll_fn(|_| if has_come.get() { Poll::Ready(()) } else { Poll::Pending });
        assert_eq!(unless(comes, looks).await, Some("stopped, and why"));
        assert_eq!(unless(async {}, pending::<()>()).await, None);
        assert_eq!(unless(pending(), async { 1 }).await, Some(1));
    }

    #[tokio::test]
    async fn they_are_caught_before_anybody_waits_for_them() {
        drop(came(1));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        for signal in [2, 15] {
            assert_eq!((mask >> (signal - 1)) & 1, 1, "signal {signal} is not caught: {status}");
        }
    }

    #[test]
    fn what_is_ignored_is_read_from_the_status_of_the_process() {
        let status = |mask: &str| format!("SigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001002")) && !ignores_hangup("Name:\tflipside\n"));
    }
}
