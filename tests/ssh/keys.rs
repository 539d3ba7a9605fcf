//! Who we are and who the server is: identities, agent, known_hosts.
use crate::sshd::{Setup, Sshd, connector, keygen, options, run, target};
use flipside::remote::{ConnectError, ConnectOptions, Connector, Hop, HostKey};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

async fn whoami(connector: &Connector, hop: Hop) -> Result<Vec<String>, ConnectError> {
    let connection = connector.connect(&target(hop)).await?;
    let mut lines = Vec::new();
    connection.run_script("echo hello", Duration::from_secs(10), &mut |line| lines.push(line.to_owned())).await.unwrap();
    Ok(lines)
}

async fn failure(connector: &Connector, hop: Hop) -> ConnectError {
    match connector.connect(&target(hop)).await {
        Ok(_) => panic!("it connected"),
        Err(error) => error,
    }
}

fn authorize(sshd: &Sshd, names: &[&str]) {
    let keys: String = names.iter().map(|name| std::fs::read_to_string(sshd.path(&format!("{name}.pub"))).unwrap()).collect();
    std::fs::write(sshd.path("authorized_keys"), keys).unwrap();
}

/// An agent that ends with the test.
struct Agent(Child);

impl Agent {
    fn start(sshd: &Sshd) -> (Agent, ConnectOptions) {
        let socket = sshd.path("agent");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        for _ in 0..200 {
            if socket.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        (Agent(child), ConnectOptions { agent: Some(socket), ..options() })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn every_type_of_key_on_both_sides() {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let sshd = Sshd::start(&Setup { host_keys: &[kind], ..Setup::default() });
        keygen(&sshd.path("mine"), kind, "");
        authorize(&sshd, &["mine"]);
        let hop = Hop { identity_files: vec![sshd.path("mine")], ..sshd.hop() };
        assert_eq!(whoami(&connector(), hop).await.unwrap(), ["hello"], "{kind}");
    }
}

#[tokio::test]
async fn the_agent_signs_also_for_an_encrypted_file() {
    let sshd = Sshd::start(&Setup::default());
    for kind in ["ed25519", "rsa"] {
        let name = format!("agent_{kind}");
        keygen(&sshd.path(&name), kind, "");
        authorize(&sshd, &[&name]);
        let (_agent, options) = {
            let _ = std::fs::remove_file(sshd.path("agent"));
            Agent::start(&sshd)
        };
        run(Command::new("ssh-add").arg("-q").arg(sshd.path(&name)).env("SSH_AUTH_SOCK", sshd.path("agent")));
        // The same key with a passphrase on disk: the agent holds it, so nobody asks.
        run(Command::new("ssh-keygen").args(["-q", "-p", "-N", "a secret", "-f"]).arg(sshd.path(&name)));
        let by_file = Hop { identity_files: vec![sshd.path(&name)], ..sshd.hop() };
        let by_agent = Hop { identity_files: Vec::new(), ..sshd.hop() };
        assert_eq!(whoami(&Connector::new(options.clone()), by_file.clone()).await.unwrap(), ["hello"], "{kind}");
        assert_eq!(whoami(&Connector::new(options), by_agent).await.unwrap(), ["hello"], "{kind}");
        let message = failure(&connector(), by_file).await.to_string();
        assert!(message.contains("is encrypted: load it once with ssh-add"), "{message}");
    }
}

#[tokio::test]
async fn a_passphrase_is_asked_for_once() {
    let sshd = Sshd::start(&Setup::default());
    keygen(&sshd.path("locked"), "ed25519", "open sesame");
    authorize(&sshd, &["locked"]);
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = Arc::clone(&asked);
    // Mistyped once.
    let ask = move |_: &std::path::Path, attempt: u32| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Some(if attempt == 1 { "open seasem" } else { "open sesame" }.to_owned())
    };
    let connector = Connector::new(ConnectOptions { passphrase: Some(Arc::new(ask)), ..options() });
    let hop = Hop { identity_files: vec![sshd.path("locked")], ..sshd.hop() };
    connector.prepare(&[&target(hop.clone())]).await.unwrap();
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    for _ in 0..3 {
        assert_eq!(whoami(&connector, hop.clone()).await.unwrap(), ["hello"]);
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    let nobody = Connector::new(options());
    let message = nobody.prepare(&[&target(hop.clone()), &target(hop.clone())]).await.unwrap_err().to_string();
    assert_eq!(message.matches("is encrypted: load it once with ssh-add").count(), 1, "{message}");
    assert_eq!(nobody.prepare(&[&target(hop), &target(sshd.hop())]).await, Ok(()), "one server has a key");
}

#[tokio::test]
async fn keys_that_are_refused_are_listed_and_tried_once() {
    let sshd = Sshd::start(&Setup::default());
    for name in ["one", "two"] {
        keygen(&sshd.path(name), "ed25519", "");
    }
    let files = vec![sshd.path("one"), sshd.path("missing"), sshd.path("two"), sshd.path("id")];
    assert_eq!(whoami(&connector(), Hop { identity_files: files.clone(), ..sshd.hop() }).await.unwrap(), ["hello"]);
    let error = failure(&connector(), Hop { identity_files: files[..3].to_vec(), ..sshd.hop() }).await;
    let message = error.to_string();
    assert!(matches!(error, ConnectError::NoKeyAccepted { .. }) && !error.is_unreachable(), "{message}");
    for part in ["web (127.0.0.1:", "/one (ssh-ed25519 SHA256:", "/two (", "/missing does not exist", "offers publickey"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    assert_eq!(sshd.log().matches("Failed none").count(), 0, "a probe costs a round trip");
    let none = failure(&connector(), Hop { identity_files: Vec::new(), ..sshd.hop() }).await;
    assert!(matches!(none, ConnectError::NoKey { .. }), "{none}");
}

#[tokio::test]
async fn no_more_keys_are_tried_than_a_server_allows() {
    let sshd = Sshd::start(&Setup { lines: &["LogLevel VERBOSE"], ..Setup::default() });
    let names: Vec<String> = (1..=7).map(|n| format!("key{n}")).collect();
    for name in &names {
        keygen(&sshd.path(name), "ed25519", "");
    }
    let error = failure(&connector(), Hop { identity_files: names.iter().map(|name| sshd.path(name)).collect(), ..sshd.hop() }).await;
    assert!(error.to_string().contains("/key5 (") && !error.to_string().contains("/key6 ("), "{error}");
    assert_eq!(sshd.log().matches("Failed publickey").count(), 5, "{}", sshd.log());
}

#[tokio::test]
async fn a_server_that_allows_one_try_gets_one() {
    let sshd = Sshd::start(&Setup { lines: &["MaxAuthTries 1", "LogLevel VERBOSE"], ..Setup::default() });
    keygen(&sshd.path("wrong"), "ed25519", "");
    let error = failure(&connector(), Hop { identity_files: vec![sshd.path("wrong"), sshd.path("id")], ..sshd.hop() }).await;
    assert!(
        matches!(error, ConnectError::NoKeyAccepted { .. }) && error.to_string().contains("Too many authentication failures"),
        "{error}"
    );
    assert_eq!(sshd.log().matches("Connection from").count(), 1, "a failed authentication is not repeated");
    assert_eq!(whoami(&connector(), sshd.hop()).await.unwrap(), ["hello"]);
}

#[tokio::test]
async fn unknown_changed_and_revoked_host_keys() {
    let sshd = Sshd::start(&Setup::default());
    let known = sshd.path("known_hosts");
    let right = std::fs::read_to_string(&known).unwrap();

    std::fs::write(&known, "").unwrap();
    let error = failure(&connector(), sshd.hop()).await;
    let fingerprint = run(Command::new("ssh-keygen").arg("-lf").arg(sshd.path("host_ed25519.pub")));
    let fingerprint = fingerprint.split(' ').nth(1).unwrap().to_owned();
    let fix = format!("ssh-keyscan -p {} 127.0.0.1 >> {}", sshd.port, known.display());
    assert!(matches!(error, ConnectError::UnknownKey { .. }), "{error}");
    assert!(error.to_string().contains(&fingerprint) && error.to_string().ends_with(&fix), "{error}");
    // The command that the message gives does what it says.
    run(Command::new("sh").arg("-c").arg(fix));
    assert_eq!(whoami(&connector(), sshd.hop()).await.unwrap(), ["hello"]);

    keygen(&sshd.path("other"), "ed25519", "");
    let other = std::fs::read_to_string(sshd.path("other.pub")).unwrap();
    std::fs::write(&known, format!("# first\n[127.0.0.1]:{} {other}", sshd.port)).unwrap();
    for host_key in [HostKey::Strict, HostKey::AcceptNew] {
        let error = failure(&connector(), Hop { host_key, ..sshd.hop() }).await;
        assert!(matches!(error, ConnectError::ChangedKey { .. }), "{error}");
        assert!(error.to_string().contains("known_hosts line 2") && error.to_string().contains(&fingerprint), "{error}");
    }
    let fix = failure(&connector(), sshd.hop()).await.to_string();
    run(Command::new("sh").arg("-c").arg(fix.rsplit_once("run: ").unwrap().1));
    assert!(matches!(failure(&connector(), sshd.hop()).await, ConnectError::UnknownKey { .. }));

    std::fs::write(&known, format!("{right}@revoked * {}", right.split_once(' ').unwrap().1)).unwrap();
    assert!(matches!(failure(&connector(), sshd.hop()).await, ConnectError::RevokedKey { .. }));
    std::fs::write(&known, format!("@cert-authority * {other}")).unwrap();
    assert!(matches!(failure(&connector(), sshd.hop()).await, ConnectError::AuthorityOnly { .. }));
    assert_eq!(whoami(&connector(), Hop { host_key: HostKey::Off, ..sshd.hop() }).await.unwrap(), ["hello"]);
}

#[tokio::test]
async fn accept_new_records_what_ssh_itself_believes() {
    let sshd = Sshd::start(&Setup { host_keys: &["ed25519", "rsa"], ..Setup::default() });
    let known = sshd.path("new_known_hosts");
    let hop = Hop { host_key: HostKey::AcceptNew, known_hosts: Some(known.clone()), ..sshd.hop() };
    assert_eq!(whoami(&connector(), hop.clone()).await.unwrap(), ["hello"]);
    assert_eq!(whoami(&connector(), Hop { host_key: HostKey::Strict, ..hop.clone() }).await.unwrap(), ["hello"]);
    assert_eq!(std::fs::read_to_string(&known).unwrap().lines().count(), 1);
    let by_ssh = Command::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none", "-o", "IdentityAgent=none", "-n", "-i"])
        .arg(sshd.path("id"))
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .args(["-p", &sshd.port.to_string(), &format!("{}@127.0.0.1", hop.user), "true"])
        .status()
        .unwrap();
    assert!(by_ssh.success());
}

#[tokio::test]
async fn hashed_names_and_keys_of_a_less_preferred_type() {
    let sshd = Sshd::start(&Setup { host_keys: &["ed25519", "ecdsa", "rsa"], ..Setup::default() });
    for kind in ["rsa", "ecdsa", "ed25519"] {
        std::fs::write(sshd.path("known_hosts"), sshd.host_line("127.0.0.1", kind)).unwrap();
        run(Command::new("ssh-keygen").arg("-q").arg("-H").arg("-f").arg(sshd.path("known_hosts")));
        assert!(std::fs::read_to_string(sshd.path("known_hosts")).unwrap().starts_with("|1|"));
        assert_eq!(whoami(&connector(), sshd.hop()).await.unwrap(), ["hello"], "{kind}");
    }
}
