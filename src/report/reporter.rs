//! The reporter: the one place that the run's events are shown from. It is handed events and never asks for any.
use super::bars::Bars;
use super::progress::Progress;
use super::style::{Sinks, Style};
use super::{failure, json, lines, probe, summary};
use crate::ledger::Ledger;
use crate::model::{Event, Millis, ProbeFailure, ProbeTally, ServiceName, StepId, Verdict};
use crate::plan::{CommandsOf, Paint, Plan, prose};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// What is known at the end of a run besides its events.
pub struct Ending<'a> {
    /// From the program's start.
    pub elapsed: Millis,
    /// For services that were handed over: the measured time without an answer.
    pub gaps: &'a BTreeMap<ServiceName, Millis>,
    /// The count of the requests that watched the run, where some did.
    pub probes: Option<&'a ProbeTally>,
    /// How the program was called, without the command: `flipside -e prod`. What to type next begins with it.
    pub program: &'a str,
    /// The exact commands of an action, for what has to be put back by hand.
    pub commands: &'a CommandsOf<'a>,
}

/// Shows a run while it happens and when it is over. It may be moved to another thread and shared behind a mutex.
///
/// A sink that cannot be written to is passed over in silence: a deploy must not stop half-way because a pipe was closed.
pub struct Reporter {
    style: Style,
    paint: Paint,
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    bars: Bars,
    progress: Progress,
    mends: bool,
}

impl Reporter {
    /// A reporter; `paint` is the colour of talk. In [`Style::Json`] nothing is coloured.
    #[must_use]
    pub fn new(style: Style, paint: Paint, sinks: Sinks) -> Self {
        let paint = match style {
            Style::Bars | Style::Lines => paint,
            Style::Json => Paint::Plain,
        };
        let bars = Bars::new(sinks.terminal, paint);
        Self { style, paint, stdout: sinks.stdout, stderr: sinks.stderr, bars, progress: Progress::default(), mends: false }
    }

    /// The run only brings a fleet that is half switched to one side. Once that is done the deploy itself follows, with a reporter of its
    /// own, whose one line is then the last on stdout.
    #[must_use]
    pub fn mending(self) -> Self {
        Self { mends: true, ..self }
    }

    /// A run of this plan begins.
    pub fn plan_begins(&mut self, plan: &Plan) {
        self.progress = Progress::new(plan, &Ledger::default());
        if plan.waves.is_empty() {
            return;
        }
        let text = format!(
            "{} {}/{} {}: {} in {} on {}",
            plan.intent.as_str(),
            plan.project,
            plan.env,
            plan.version,
            prose::count(plan.n_steps(), "step"),
            prose::count(plan.waves.len(), "wave"),
            prose::count(plan.servers().len(), "server")
        );
        self.say(&self.paint.bold(&text));
    }

    /// A run of this plan that was cut off goes on from here. Called instead of [`Reporter::plan_begins`].
    pub fn plan_resumes(&mut self, plan: &Plan, ledger: &Ledger) {
        self.progress = Progress::new(plan, ledger);
        let what = if ledger.unwinding() { "undoing" } else { "resuming" };
        let text = format!("{what} {} {}/{}: {}", plan.intent.as_str(), plan.project, plan.env, summary::how_far(plan, ledger));
        self.say(&self.paint.bold(&text));
    }

    /// Something happened.
    pub fn event(&mut self, plan: &Plan, event: &Event) {
        for notice in self.progress.take(plan, event) {
            match self.style {
                Style::Bars => {
                    for line in self.bars.show(plan, &notice) {
                        self.say(&line);
                    }
                }
                Style::Lines => {
                    for line in lines::lines(plan, &notice, self.paint) {
                        self.say(&line);
                    }
                }
                Style::Json => {}
            }
        }
        match self.style {
            Style::Json => self.result(&json::event_line(plan, event).unwrap_or_default()),
            Style::Bars | Style::Lines => {}
        }
    }

    /// Passing progress of a step, such as `answer 2 of 3`. Only live lines show it: it is not in the journal.
    pub fn chatter(&mut self, step: &StepId, text: &str) {
        match self.style {
            Style::Bars => self.bars.chatter(step, text),
            Style::Lines | Style::Json => {}
        }
    }

    /// The count so far of the requests that watch the run. Only live lines show it.
    pub fn probes(&mut self, tally: &ProbeTally) {
        match self.style {
            Style::Bars => self.bars.note(&probe::short(tally)),
            Style::Lines | Style::Json => {}
        }
    }

    /// One of them failed.
    pub fn probe_failed(&mut self, failure: &ProbeFailure) {
        self.say(&self.paint.red(&format!("== probe failed: {}", probe::failure(failure))));
    }

    /// No step has come back for so long: says who is waited for, and for what. Live lines show it all the time.
    pub fn quiet(&mut self, plan: &Plan, silence: Duration) {
        match self.style {
            Style::Lines => {
                if let Some(line) = lines::waiting(plan, &self.progress.waited_for(plan), silence, self.paint) {
                    self.say(&line);
                }
            }
            Style::Bars | Style::Json => {}
        }
    }

    /// One line of talk, around the live lines.
    pub fn say(&mut self, text: &str) {
        let stderr = &mut self.stderr;
        self.bars.around(|| {
            let _ = writeln!(stderr, "{text}");
            let _ = stderr.flush();
        });
    }

    /// The run is over, or goes no further: what came of it, what the fleet serves now, and what to type next.
    /// The last line, on stdout, is one that suits a mail from cron.
    pub fn finished(&mut self, plan: &Plan, ledger: &Ledger, ending: &Ending<'_>) {
        self.bars.end();
        if !plan.waves.is_empty() {
            let mut talk = vec![String::new()];
            talk.extend(failure::lines(plan, ledger, ending, self.paint));
            talk.extend(summary::lines(plan, ledger, ending, &self.progress.times, self.paint));
            talk.extend(ending.probes.into_iter().flat_map(|tally| probe::lines(tally, ledger, self.paint)));
            self.say(&talk.join("\n"));
        }
        let text = summary::one_line(plan, ledger, ending);
        let mended = self.mends && matches!(ledger.closed, Some(Verdict::Done | Verdict::DoneWithLeftovers));
        match self.style {
            Style::Bars | Style::Lines if mended => self.say(&text),
            Style::Bars | Style::Lines => self.result(&text),
            Style::Json => {
                self.say(&text);
                let line = json::summary_line(plan, ledger, ending, &self.progress.times, (&text, mended)).unwrap_or_default();
                self.result(&line);
            }
        }
    }

    fn result(&mut self, line: &str) {
        let _ = writeln!(self.stdout, "{line}");
        let _ = self.stdout.flush();
    }
}
