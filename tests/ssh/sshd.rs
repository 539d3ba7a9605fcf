//! A real sshd for one test: on loopback, as the present user, with keys of its own, in a folder that goes away.
use flipside::model::ServerName;
use flipside::remote::{ConnectOptions, Connection, Connector, Hop, HostKey, Reach, Surroundings, Target};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A line of its configuration: a login shell that talks, and ends without a line feed.
pub(crate) const TALKS: &str = "ForceCommand echo Welcome; printf half; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"";

/// A running sshd.
pub(crate) struct Sshd {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    child: Child,
}

/// What is written into sshd_config besides the necessary.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    pub(crate) lines: &'a [&'a str],
    /// Types of host key; ed25519 when empty.
    pub(crate) host_keys: &'a [&'a str],
    /// A folder whose commands come before the system's.
    pub(crate) commands: Option<&'a Path>,
    /// How many addresses of 127.0.1.0/24 it listens on, besides 127.0.0.1.
    pub(crate) addresses: u8,
}

/// Runs a command to its end, with its output on failure.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a key pair without a passphrase, or with one.
pub(crate) fn keygen(path: &Path, kind: &str, passphrase: &str) {
    let bits = if kind == "rsa" { "2048" } else { "256" };
    run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-b", bits, "-N", passphrase, "-C", kind, "-f"]).arg(path));
}

impl Sshd {
    pub(crate) fn start(setup: &Setup<'_>) -> Sshd {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let host_keys = if setup.host_keys.is_empty() { &["ed25519"] } else { setup.host_keys };
        let mut config = String::from("ListenAddress 127.0.0.1\n");
        for kind in host_keys {
            keygen(&folder.path().join(format!("host_{kind}")), kind, "");
            config += &format!("HostKey {}\n", at(&format!("host_{kind}")));
        }
        keygen(&folder.path().join("id"), "ed25519", "");
        std::fs::copy(folder.path().join("id.pub"), folder.path().join("authorized_keys")).unwrap();
        for n in 1..=setup.addresses {
            config += &format!("ListenAddress 127.0.1.{n}\n");
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        config += &format!("Port {port}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n");
        config += &format!("KbdInteractiveAuthentication no\nAuthorizedKeysFile {}\n", at("authorized_keys"));
        // Without a home directory no start-up file of the user's shell takes its time.
        let before = setup.commands.map(|folder| format!("{}:", folder.display())).unwrap_or_default();
        config += &format!("SetEnv HOME=/nonexistent PATH={before}/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n");
        config += &setup.lines.join("\n");
        config += "\n";
        std::fs::write(folder.path().join("sshd_config"), config).unwrap();
        // Where sshd is not run by root it needs no such folder.
        let _ = std::fs::create_dir_all("/run/sshd");
        let child = spawn(folder.path());
        let mut sshd = Sshd { folder, port, child };
        sshd.wait_until_it_listens();
        let keys = host_keys.iter().map(|kind| sshd.host_line("127.0.0.1", kind)).collect::<String>();
        std::fs::write(sshd.path("known_hosts"), keys).unwrap();
        sshd
    }

    /// Nobody is there any more: connections break, and new ones are refused at once.
    pub(crate) fn go(&mut self) {
        for child in self.children() {
            signal("KILL", child);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// It is back after [`Sshd::go`].
    pub(crate) fn come_back(&mut self) {
        std::fs::write(self.path("log"), "").unwrap();
        self.child = spawn(self.folder.path());
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&mut self) {
        let until = Instant::now() + Duration::from_secs(10);
        while !self.log().contains("Server listening") {
            assert!(self.child.try_wait().unwrap().is_none() && Instant::now() < until, "sshd does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A line of known_hosts for one of its keys.
    pub(crate) fn host_line(&self, host: &str, kind: &str) -> String {
        let public = std::fs::read_to_string(self.path(&format!("host_{kind}.pub"))).unwrap();
        format!("[{host}]:{} {public}", self.port)
    }

    /// A route to it, with its own key and known_hosts.
    pub(crate) fn hop(&self) -> Hop {
        Hop {
            label: "web".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: self.port,
            user: run(Command::new("id").arg("-un")).trim().to_owned(),
            identity_files: vec![self.path("id")],
            host_key: HostKey::Strict,
            known_hosts: Some(self.path("known_hosts")),
            jump: None,
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        connector().connect(&target(self.hop())).await.unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The processes that serve connections.
    pub(crate) fn children(&self) -> Vec<u32> {
        let id = self.child.id();
        // Empty where it has gone.
        let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        text.split_ascii_whitespace().map(|id| id.parse().unwrap()).collect()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.go();
    }
}

fn spawn(folder: &Path) -> Child {
    Command::new("/usr/sbin/sshd")
        .arg("-D")
        .arg("-f")
        .arg(folder.join("sshd_config"))
        .arg("-E")
        .arg(folder.join("log"))
        .stdin(Stdio::null())
        .spawn()
        .expect("these tests need sshd: install the package openssh-server")
}

pub(crate) fn signal(name: &str, process: u32) {
    let _ = Command::new("kill").args(["-s", name, &process.to_string()]).stderr(Stdio::null()).status();
}

pub(crate) fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

pub(crate) fn target(hop: Hop) -> Target {
    Target { name: ServerName::new("web").unwrap(), reach: Reach::Ssh(hop), sudo: false }
}

/// Neither the user's agent nor the user's files.
pub(crate) fn options() -> ConnectOptions {
    let surroundings = Surroundings { home: Some(PathBuf::from("/nonexistent")), user: None, ..Surroundings::default() };
    ConnectOptions { agent: None, surroundings, ..ConnectOptions::default() }
}

pub(crate) fn connector() -> Connector {
    Connector::new(options())
}
