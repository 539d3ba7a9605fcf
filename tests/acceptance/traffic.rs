//! Clients around a deploy, and the judgement of what they saw: zero failed means zero.
use crate::fleet::program;
use crate::load::{self, Handle, Options, Summary, Target};
use crate::server::Server;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The name under which the shop is served.
pub(crate) const HOST: &str = "shop.example.com";
/// Fewer answers than this from one target, and the test has shown nothing.
const FEW: u64 = 100;
/// What a client waits after an answer.
const PAUSE: Duration = Duration::from_millis(30);

/// Clients that run until `end`.
pub(crate) struct Traffic {
    http: Option<Handle>,
    inside: Vec<Child>,
    folder: TempDir,
}

/// What the clients saw. Judge it.
#[derive(Debug)]
pub(crate) struct Seen(pub(crate) Summary);

impl Traffic {
    /// HTTP clients to every one of these servers: a new connection for every request, and kept connections that are not looked at
    /// before they are used.
    pub(crate) fn http(servers: &[Server]) -> Self {
        Self::to(servers.iter().flat_map(|server| ["new", "keep"].map(|kind| format!("{kind}:http://{}/#{HOST}", server.address))))
    }

    /// Clients to these targets, from this machine.
    pub(crate) fn to(targets: impl IntoIterator<Item = String>) -> Self {
        Self::with(targets, Options { pause: PAUSE, ..Options::default() })
    }

    /// Clients to these targets that behave like this.
    pub(crate) fn with(targets: impl IntoIterator<Item = String>, options: Options) -> Self {
        let targets: Vec<Target> = targets.into_iter().map(|target| target.parse().expect("a target")).collect();
        let http = load::start(targets, options).expect("threads for clients");
        Self { http: Some(http), inside: Vec::new(), folder: tempfile::tempdir().expect("a folder") }
    }

    /// And clients inside a server's network, where `127.0.0.1:INTERNAL_PORT` is the door of its host.
    pub(crate) fn and_inside(mut self, server: &Server, targets: &[String]) -> Self {
        let (end, phase) = (self.folder.path().join("end"), self.folder.path().join("phase"));
        let child = Command::new(program())
            .args(["traffic", &server.name, "--", "--json", "--seconds", "300", "--pause", &PAUSE.as_millis().to_string()])
            .arg("--until-file")
            .arg(&end)
            .arg("--phase-file")
            .arg(&phase)
            .args(targets)
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.file(self.inside.len())).expect("a file"))
            .spawn()
            .expect("vagrant/fleet runs");
        self.inside.push(child);
        self
    }

    fn file(&self, number: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("{number}.json"))
    }

    /// From now on requests are counted under this name as well.
    pub(crate) fn phase(&self, name: &str) {
        write(&self.folder.path().join("phase"), name);
        if let Some(http) = &self.http {
            http.phase(name);
        }
    }

    /// Lets the clients see what is there now, then ends them.
    pub(crate) fn end(mut self) -> Seen {
        std::thread::sleep(Duration::from_secs(1));
        write(&self.folder.path().join("end"), "");
        let mut summary = self.http.take().expect("ended once").stop();
        let mut children = std::mem::take(&mut self.inside);
        for (number, child) in children.iter_mut().enumerate() {
            child.wait().expect("a child");
            let text = fs::read_to_string(self.file(number)).expect("a summary");
            let inside: Summary = serde_json::from_str(&text).unwrap_or_else(|problem| panic!("no summary ({problem}): {text}"));
            summary.targets.extend(inside.targets);
        }
        Seen(summary)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // Where a test panics before `end`. Afterwards there is none left.
        write(&self.folder.path().join("end"), "");
        for child in &mut self.inside {
            drop(child.wait());
        }
    }
}

impl Seen {
    /// Every target was asked often, and every request of every client was answered with 2xx or a line.
    #[track_caller]
    pub(crate) fn none_failed(self) -> Self {
        for target in &self.0.targets {
            assert!(target.total.sent >= FEW, "{} was asked only {} times", target.target, target.total.sent);
            let lost = target.total.failed + target.total.cuts;
            assert_eq!(lost, 0, "{} lost {lost} of {} requests: {:#?}", target.target, target.total.sent, target.failures);
        }
        self
    }

    /// Every target was answered by exactly these versions.
    #[track_caller]
    pub(crate) fn versions(self, versions: &[&str]) -> Self {
        for target in &self.0.targets {
            let answers: Vec<&str> = target.total.answers.keys().map(String::as_str).collect();
            assert_eq!(answers, versions, "{}", target.target);
        }
        self
    }

    /// In this phase every target was answered by this version alone.
    #[track_caller]
    pub(crate) fn only(self, phase: &str, version: &str) -> Self {
        for target in &self.0.targets {
            let counts = target.phases.iter().find(|counts| counts.phase == phase);
            let answers = counts.map(|counts| counts.counts.answers.keys().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(answers, Some(vec![version]), "{} in phase \"{phase}\"", target.target);
        }
        self
    }
}

fn write(path: &Path, text: &str) {
    // Read by another process at any moment: whole, or not yet.
    let part = path.with_extension("part");
    fs::write(&part, text).expect("a file");
    fs::rename(&part, path).expect("a file");
}
