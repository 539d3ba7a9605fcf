//! The local fleet: started once, put back before each test, and held by one test at a time.
//! Deliberately absent: how servers are made, which `vagrant/fleet` knows.
use crate::server::Server;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// How many servers the tests have.
const N_SERVERS: usize = 3;
/// A test that has the fleet for longer will not end: all wait for it, so it ends the whole run and is named.
const LONGEST_TURN: Duration = Duration::from_secs(420);
/// `make sweep` takes its time.
const WHOLE_SWEEP: Duration = Duration::from_secs(8 * 3600);

/// What is the same for the whole run.
struct Facts {
    key: PathBuf,
    known_hosts: PathBuf,
    addresses: Vec<String>,
}

/// The fleet, clean, and nobody else's until this value is dropped.
pub(crate) struct Fleet {
    facts: &'static Facts,
    _watch: mpsc::Sender<()>,
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Waits for the test's turn, starts the fleet where it is not up, and puts every server back to empty.
    ///
    /// # Panics
    /// With the words of `vagrant/fleet` where it cannot.
    pub(crate) fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static FACTS: OnceLock<Facts> = OnceLock::new();
        // A test that failed leaves nothing behind that the reset does not put back.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = FACTS.get_or_init(|| {
            tell_at_once();
            tool(&["up", &N_SERVERS.to_string()]);
            read_facts(&tool(&["env"]))
        });
        tool(&["reset"]);
        Self { facts, _watch: watch(), _turn: turn }
    }

    /// Server 1 to 3.
    pub(crate) fn server(&self, number: usize) -> Server {
        Server { name: format!("server{number}"), address: self.facts.addresses[number - 1].clone() }
    }

    /// All servers.
    pub(crate) fn servers(&self) -> Vec<Server> {
        (1..=N_SERVERS).map(|number| self.server(number)).collect()
    }

    /// The private key that every server's users accept.
    pub(crate) fn key(&self) -> &Path {
        &self.facts.key
    }

    /// The servers' host keys.
    pub(crate) fn known_hosts(&self) -> &Path {
        &self.facts.known_hosts
    }

    /// Every container's name, id and state and the live generation, on every server. Equal before and after: nothing was touched.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, String> {
        self.servers()
            .iter()
            .map(|server| {
                let seen = server.run("docker ps -a --no-trunc --format '{{.Names}} {{.ID}} {{.State}}' | sort; readlink /local/flipside/nginx/current; docker inspect -f '{{.State.StartedAt}}' $(docker ps -aq | sort) 2>/dev/null; docker network ls --format '{{.Name}}' | sort");
                (server.name.clone(), seen)
            })
            .collect()
    }
}

/// Says why a test failed when it does: the test runner shows it when all tests have ended, and of a run that is cut off nothing.
fn tell_at_once() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let test = thread::current().name().unwrap_or("a thread").to_owned();
        drop(std::io::stderr().write_all(format!("{test} fails: {info}\n").as_bytes()));
        usual(info);
    }));
}

/// Ends the process, with the test's name, where what is returned has not been dropped in time.
fn watch() -> mpsc::Sender<()> {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let (held, end) = mpsc::channel();
    thread::spawn(move || {
        let longest = if crate::sweep::is_long() { WHOLE_SWEEP } else { LONGEST_TURN };
        if end.recv_timeout(longest) == Err(RecvTimeoutError::Timeout) {
            // Not by eprintln!, whose words are another test's to show.
            let words = format!("{test} has not ended within {longest:?}, and every other test waits for it.\n");
            drop(std::io::stderr().write_all(words.as_bytes()));
            std::process::exit(1);
        }
    });
    held
}

/// Runs `vagrant/fleet` and returns its output.
///
/// # Panics
/// With its words where it fails.
pub(crate) fn tool(arguments: &[&str]) -> String {
    let output = Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|problem| panic!("{} cannot be run: {problem}", program().display()));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "vagrant/fleet {} failed ({}):\n{stderr}{stdout}", arguments.join(" "), output.status);
    stdout.into_owned()
}

/// The tool.
pub(crate) fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vagrant/fleet")
}

/// Reads the assignments of `vagrant/fleet env`: values are quoted for a shell, so a shell reads them.
fn read_facts(assignments: &str) -> Facts {
    let value = |name: &str| {
        let output = Command::new("bash").args(["-c", &format!("{assignments}\nprintf %s \"${name}\"")]).output().expect("bash");
        String::from_utf8(output.stdout).expect("the fleet's files have names in UTF-8")
    };
    // Relative paths are relative to the repository's top, where the tests run too.
    let path = |name: &str| std::path::absolute(value(name)).expect("a path");
    let addresses: Vec<String> = value("FLEET_ADDRESSES").split_whitespace().map(str::to_owned).collect();
    assert!(addresses.len() >= N_SERVERS, "the fleet has too few servers: {assignments}");
    Facts { key: path("FLEET_KEY"), known_hosts: path("FLEET_KNOWN_HOSTS"), addresses }
}
