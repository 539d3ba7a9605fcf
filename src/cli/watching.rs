//! A run that is shown, and watched by requests where `--probe` asks for it. Deliberately absent: what counts as a failure (`run`), and
//! how anything reads (`report`).
use super::args::Probing;
use super::survey::Surveyed;
use crate::ledger::Ledger;
use crate::model::{Action, HookPlace, Millis, ProbeTally, Sample};
use crate::plan::{Plan, probes, prose};
use crate::remote::Prober;
use crate::report::{Reporter, running};
use crate::run::{Gaps, Notice, Order, Probes, Stop};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

/// Everything that takes part in showing a run.
pub(super) struct Watching<'a> {
    plan: &'a Plan,
    pub(super) reporter: Reporter,
    pub(super) gaps: Gaps,
    /// What gaps are measured from: the workstation's clock may be set meanwhile.
    began: Instant,
    probes: Option<(Probes, Prober)>,
    stop: watch::Sender<Stop>,
}

impl<'a> Watching<'a> {
    /// Begins to watch, where that was asked for. Requests come back by the receiver, to be given to [`Watching::sample`].
    pub(super) fn new(
        plan: &'a Plan,
        ledger: &Ledger,
        surveyed: &Surveyed,
        reporter: Reporter,
        probing: &Probing,
        stop: watch::Sender<Stop>,
    ) -> (Watching<'a>, UnboundedReceiver<Sample>) {
        let (tell, samples) = unbounded_channel();
        let mut watching = Watching { plan, reporter, gaps: Gaps::default(), began: Instant::now(), probes: None, stop };
        if probing.probe {
            let loaded = &surveyed.loaded;
            let (targets, unprobed) = probes(plan, &loaded.playbook, &loaded.inventory, &surveyed.fleet);
            let prober = Prober::new(&surveyed.servers, targets.len(), tell);
            let probes = Probes::new(plan, ledger, targets, unprobed, u64::from(probing.probe_budget));
            let orders = probes.begin(ledger);
            watching.probes = Some((probes, prober));
            watching.obey(orders);
        }
        (watching, samples)
    }

    /// Something happened in the run.
    pub(super) fn notice(&mut self, notice: &Notice<'_>) {
        match notice {
            Notice::Event(event) => {
                let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.gaps.event(self.plan, &event.kind, Millis(since));
                self.reporter.event(self.plan, event);
                let orders = self.probes.as_mut().map(|(probes, _)| probes.event(self.plan, event)).unwrap_or_default();
                self.obey(orders);
            }
            Notice::Begun(step) => {
                if let Some(found) = self.plan.step(step) {
                    self.reporter.chatter(step, &running(&found.title));
                }
            }
            Notice::Chatter(step, text) => match self.plan.step(step).map(|found| &found.action) {
                Some(Action::Hook(hook)) => {
                    let who = if hook.place == HookPlace::Workstation { "workstation" } else { step.server.as_str() };
                    self.reporter.say(&format!("[{who}] {}", prose::clean(text)));
                }
                Some(_) | None => self.reporter.chatter(step, text),
            },
            Notice::Quiet(silence) => self.reporter.quiet(self.plan, *silence),
        }
    }

    fn obey(&mut self, orders: Vec<Order>) {
        let Some((_, prober)) = &mut self.probes else { return };
        for order in orders {
            match order {
                Order::Begin(target) => prober.begin(target),
                Order::End(at) => prober.end(&at),
                Order::EndAll => prober.end_all(),
            }
        }
    }

    /// A request came back. Where it was one failure too many, the run is asked to undo, unless somebody has asked for anything already.
    pub(super) fn sample(&mut self, sample: &Sample) {
        let Some((probes, _)) = &mut self.probes else { return };
        let n_failures = probes.tally.failures.len();
        let undo = probes.sample(sample);
        for failure in probes.tally.failures.iter().skip(n_failures) {
            self.reporter.probe_failed(failure);
        }
        self.reporter.probes(&probes.tally);
        if let Some(reason) = undo {
            self.stop.send_if_modified(|asked| {
                let is_first = *asked == Stop::No;
                if is_first {
                    *asked = Stop::UndoFor(reason);
                }
                is_first
            });
        }
    }

    /// The run is over: no more requests are sent, and those that are under way are waited for.
    pub(super) async fn finish(&mut self, samples: &mut UnboundedReceiver<Sample>) {
        if let Some((_, prober)) = &mut self.probes {
            prober.finish().await;
        }
        while let Ok(sample) = samples.try_recv() {
            self.sample(&sample);
        }
    }

    /// What the requests say, where there were any.
    pub(super) fn tally(&self) -> Option<ProbeTally> {
        self.probes.as_ref().map(|(probes, _)| probes.tally.clone())
    }
}
