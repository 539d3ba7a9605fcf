//! Live lines on a terminal: one per wave and, under the present wave, one per server. A wave that is over keeps its one line, and the
//! line of every server that failed in it. Deliberately absent: the summary.
use super::lines::wave_name;
use super::progress::{Notice, StepEnd, WaveEnd, Way};
use super::verbs;
use crate::model::{Millis, ServerName, StepId};
use crate::plan::{Paint, Plan, prose};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Servers with a line of their own at once; of a larger fleet, those that failed or run come first.
const LIVE_LINES: usize = 12;
/// The longest wave name that is written out, so that name, count and time fit 60 columns.
const NAME_WIDTH: usize = 28;
const TICK: Duration = Duration::from_millis(100);
const SPINNER: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ";

/// The drawing.
pub(super) struct Bars {
    multi: MultiProgress,
    paint: Paint,
    wave: Option<WaveBars>,
    /// Behind the line of every wave.
    note: String,
}

struct WaveBars {
    name: String,
    head: ProgressBar,
    slots: Vec<ProgressBar>,
    rows: BTreeMap<ServerName, Row>,
    n_servers: usize,
    server_width: usize,
}

/// The order is the order of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Bad,
    Running,
    Waiting,
    Good,
}

struct Row {
    mark: Mark,
    text: String,
    /// ` (2 of 5)`, of a row that runs. It makes room for chatter.
    place: String,
    /// What was seen, of a row that failed.
    why: String,
    open: BTreeSet<usize>,
    chatter: String,
}

impl Bars {
    pub(super) fn new(terminal: ProgressDrawTarget, paint: Paint) -> Self {
        Self { multi: MultiProgress::with_draw_target(terminal), paint, wave: None, note: String::new() }
    }

    /// What stands behind the line of the wave from now on.
    pub(super) fn note(&mut self, text: &str) {
        text.clone_into(&mut self.note);
        if let Some(wave) = &self.wave {
            wave.head.set_message(text.to_owned());
        }
    }

    /// Clears the live lines, runs `write`, draws them again.
    pub(super) fn around(&self, write: impl FnOnce()) {
        self.multi.suspend(write);
    }

    /// Shows one notice. Text that is not a live line comes back, to be written around them.
    pub(super) fn show(&mut self, plan: &Plan, notice: &Notice) -> Vec<String> {
        match notice {
            Notice::WaveBegan { wave, way, n_servers } => self.begin(plan, *wave, *way, *n_servers),
            Notice::StepBegan { step, way } => self.change(plan, step, *way, |row| {
                row.open.insert(step.index);
                row.chatter.clear();
                row.mark = Mark::Running;
            }),
            Notice::StepCame { step, way, end, took: _ } => {
                let title = plan.step(step).map_or("", |found| found.title.as_str());
                self.change(plan, step, *way, |row| {
                    row.open.remove(&step.index);
                    row.chatter.clear();
                    row.came(title, *way, end);
                });
            }
            Notice::ServerOver { server, took } => {
                if let Some(wave) = &mut self.wave {
                    if let Some(row) = wave.rows.get_mut(server).filter(|row| row.mark != Mark::Bad) {
                        row.mark = Mark::Good;
                        row.text = prose::seconds(*took);
                    }
                    wave.draw(self.paint);
                }
            }
            Notice::WaveOver { end, n_good, n_servers, took, .. } => return self.finish(*end, *n_good, *n_servers, *took),
            Notice::AbortAsked { .. } | Notice::Held | Notice::Waits => return super::lines::lines(plan, notice, self.paint),
            Notice::Closed { .. } => {}
        }
        Vec::new()
    }

    /// Passing progress of the step that a server is at.
    pub(super) fn chatter(&mut self, step: &StepId, text: &str) {
        if let Some(wave) = &mut self.wave
            && let Some(row) = wave.rows.get_mut(&step.server)
        {
            row.chatter = prose::clean(text);
            wave.draw(self.paint);
        }
    }

    /// No live line is left, also of a wave that was stopped in the middle.
    pub(super) fn end(&mut self) {
        if let Some(wave) = self.wave.take() {
            self.clear(&wave);
        }
    }

    fn clear(&self, wave: &WaveBars) {
        for bar in wave.slots.iter().rev().chain([&wave.head]) {
            bar.finish_and_clear();
            self.multi.remove(bar);
        }
    }

    fn begin(&mut self, plan: &Plan, wave: usize, way: Way, n_servers: usize) {
        let name = clip(&wave_name(plan, wave, way));
        let widest = plan.waves.iter().map(|wave| wave.name.chars().count()).max().unwrap_or(0);
        let widest = match way {
            Way::Forward => widest.min(NAME_WIDTH),
            Way::Back => (widest + "undo ".len()).min(NAME_WIDTH),
        };
        let head = self.multi.add(ProgressBar::new_spinner());
        head.set_style(head_style());
        head.set_message(self.note.clone());
        head.enable_steady_tick(TICK);
        let servers = plan.waves.get(wave).map(|found| found.servers.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let rows: BTreeMap<ServerName, Row> = match way {
            Way::Forward => servers.into_iter().map(|server| (server, Row::waiting())).collect(),
            Way::Back => BTreeMap::new(),
        };
        let server_width = plan.servers().into_iter().map(|server| server.as_str().len()).max().unwrap_or(0);
        self.wave = Some(WaveBars { name: format!("{name:<widest$}"), head, slots: Vec::new(), rows, n_servers, server_width });
        if let Some(wave) = &mut self.wave {
            wave.fit(&self.multi);
            wave.draw(self.paint);
        }
    }

    fn change(&mut self, plan: &Plan, step: &StepId, way: Way, change: impl FnOnce(&mut Row)) {
        let Some(wave) = &mut self.wave else { return };
        let row = wave.rows.entry(step.server.clone()).or_insert_with(Row::waiting);
        change(row);
        row.describe(plan, step, way);
        wave.fit(&self.multi);
        wave.draw(self.paint);
    }

    /// What is over becomes ordinary text above the live lines, so that it scrolls away like any other.
    fn finish(&mut self, end: WaveEnd, n_good: usize, n_servers: usize, took: Millis) -> Vec<String> {
        let Some(wave) = self.wave.take() else { return Vec::new() };
        let text = format!("{}  {n_good}/{n_servers}  {}", wave.name, prose::seconds(took));
        let text = match end {
            WaveEnd::Passed | WaveEnd::Undone if n_good == n_servers => format!("{} {text}", self.paint.green("✔")),
            WaveEnd::Passed => format!("{} {text}", self.paint.yellow("!")),
            WaveEnd::Undone | WaveEnd::Broken => format!("{} {text}", self.paint.red("✘")),
        };
        let bad = wave.rows.iter().filter(|(_, row)| row.mark == Mark::Bad).take(LIVE_LINES);
        let bad: Vec<String> = bad.flat_map(|(server, row)| wave.epitaph(server, row, self.paint)).collect();
        self.clear(&wave);
        std::iter::once(text).chain(bad).collect()
    }
}

impl WaveBars {
    /// As many lines as there are servers, and never too many for a terminal.
    fn fit(&mut self, multi: &MultiProgress) {
        while self.slots.len() < self.rows.len().min(LIVE_LINES) {
            let slot = multi.insert_after(self.slots.last().unwrap_or(&self.head), ProgressBar::new_spinner());
            slot.set_style(template("{wide_msg}"));
            slot.enable_steady_tick(TICK);
            self.slots.push(slot);
        }
    }

    fn draw(&self, paint: Paint) {
        let over = self.rows.values().filter(|row| row.mark == Mark::Good).count();
        let more = self.rows.len().saturating_sub(self.slots.len());
        let more = if more == 0 { String::new() } else { format!("  (and {more} more)") };
        self.head.set_prefix(format!("{}  {over}/{}{more}", self.name, self.n_servers));
        let mut shown: Vec<(&ServerName, &Row)> = self.rows.iter().collect();
        shown.sort_by_key(|(_, row)| row.mark);
        shown.truncate(self.slots.len());
        shown.sort_by_key(|(server, _)| *server);
        for (slot, (server, row)) in self.slots.iter().zip(shown) {
            slot.set_style(if row.mark == Mark::Running { template("  {spinner} {wide_msg}") } else { template("{wide_msg}") });
            slot.set_message(self.line(server, row, paint));
        }
    }

    fn line(&self, server: &ServerName, row: &Row, paint: Paint) -> String {
        let text = format!("{server:<width$}  {}", row.text, width = self.server_width);
        match row.mark {
            Mark::Running if row.chatter.is_empty() || row.chatter == row.text => format!("{text}{}", row.place),
            Mark::Running => format!("{text} · {}", row.chatter),
            Mark::Waiting => format!("  · {}", paint.dim(&text)),
            Mark::Good => format!("  {} {text}", paint.green("✔")),
            Mark::Bad => format!("  {} {text}: {}", paint.red("✘"), row.why),
        }
    }

    /// What stays of a server that failed: the step on one line, what was seen below it.
    fn epitaph(&self, server: &ServerName, row: &Row, paint: Paint) -> [String; 2] {
        let gap = " ".repeat(self.server_width + 6);
        let line = format!("  {} {server:<width$}  {}", paint.red("✘"), row.text, width = self.server_width);
        [line, format!("{gap}{}", row.why)]
    }
}

impl Row {
    fn waiting() -> Self {
        Self {
            mark: Mark::Waiting,
            text: "waiting".to_owned(),
            place: String::new(),
            why: String::new(),
            open: BTreeSet::new(),
            chatter: String::new(),
        }
    }

    fn came(&mut self, title: &str, way: Way, end: &StepEnd) {
        match (way, end) {
            (_, StepEnd::Done(_) | StepEnd::NotReached) => {}
            (Way::Forward, StepEnd::Failed(failure)) => self.fail(title, &failure.seen),
            (Way::Forward, StepEnd::Lost(failure)) => {
                self.mark = Mark::Waiting;
                self.text = prose::clean(&format!("looking again: {title}: {}", failure.seen));
            }
            (Way::Back, StepEnd::Failed(failure) | StepEnd::Lost(failure)) => {
                self.fail(&format!("could not undo: {title}"), &failure.seen);
            }
        }
    }

    fn fail(&mut self, text: &str, why: &str) {
        self.mark = Mark::Bad;
        text.clone_into(&mut self.text);
        self.why = prose::clean(why);
    }

    /// The text of a running row: the step that is under way, and its place.
    fn describe(&mut self, plan: &Plan, step: &StepId, way: Way) {
        let present = match way {
            Way::Forward => self.open.first(),
            Way::Back => self.open.last(),
        };
        let (Mark::Running, Some(index)) = (self.mark, present) else { return };
        let id = StepId { index: *index, ..step.clone() };
        let title = plan.step(&id).map_or("", |found| found.title.as_str());
        let text = match way {
            Way::Forward => verbs::running(title),
            Way::Back => format!("undoing: {title}"),
        };
        let n_steps = plan.waves.get(step.wave).and_then(|wave| wave.servers.get(&step.server)).map_or(0, Vec::len);
        if n_steps > 1 && way == Way::Forward {
            self.place = format!(" ({} of {n_steps})", index + 1);
        } else {
            self.place.clear();
        }
        self.text = text;
    }
}

fn clip(name: &str) -> String {
    if name.chars().count() <= NAME_WIDTH {
        return name.to_owned();
    }
    let head: String = name.chars().take(NAME_WIDTH - 1).collect();
    format!("{head}…")
}

fn head_style() -> ProgressStyle {
    template("{spinner} {prefix}  {took}  {wide_msg}").with_key("took", |state: &ProgressState, out: &mut dyn fmt::Write| {
        let took = Millis(u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX));
        // The drawing is best effort: a line that cannot be formatted is left empty.
        let _ = out.write_str(&prose::seconds(took));
    })
}

/// The templates are constants of this file; one that indicatif refused would fall back to its default.
fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars(SPINNER)
}
