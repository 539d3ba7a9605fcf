//! What an ill container says over a real sshd, before a run that knows none of its secrets, as in a rollback: they are masked by what the
//! server holds, or nothing is said. Deliberately absent: Docker, for which a script stands in.
use crate::sshd::{Setup, Sshd, TALKS, options};
use flipside::config::read_inventory;
use flipside::model::{Action, HealthPolicy, Millis, Outcome, Probe, ProbeKind, ServerName, StepId};
use flipside::remote::{Call, Connector, Remote, Servers, Update};
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

const VALUE: &str = "sentinel-4f1c";
const WITHHELD: &str = "(its words are not shown: the secrets that it was given cannot be read)";

/// An engine with one container, which runs, prints its secret and is not well. What it has mounted is in a file; without it that is not
/// to be had.
const ENGINE: &str = r#"#!/bin/sh
case $* in
    *sight*) echo 'sight /w running 0 false 0' ;;
    *Mounts*) cat "${0%/*}/mounts" ;;
    *@state*) echo '@state running 0 false 0' ;;
    exec*) echo 'the word is sentinel-4f1c'; exit 1 ;;
    logs*) echo 'started with sentinel-4f1c' ;;
esac
"#;

/// What a terminal's live line shows, one after the other, and what the run is told in the end.
async fn said(sshd: &Sshd, probe: Probe) -> (Vec<String>, Outcome) {
    let (hop, path) = (sshd.hop(), |name: &str| sshd.path(name).display().to_string());
    let text = format!(
        "[nginx]\nimage = \"nginx\"\n\n[servers.a]\naddress = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\nzone = \"here\"\nidentity_files = [\"{}\"]\nknown_hosts = \"{}\"\n",
        hop.port,
        hop.user,
        path("id"),
        path("known_hosts")
    );
    let inventory = read_inventory("inventory.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let servers = Servers::new(Connector::new(options()), &inventory, Path::new("/"), "ann").unwrap();
    let server = ServerName::new("a").unwrap();
    let policy = HealthPolicy {
        start_period: Millis(0),
        interval: Millis(100),
        timeout: Millis::seconds(20),
        retries: 1,
        deadline: Millis::seconds(1),
    };
    let id = StepId { wave: 0, server: server.clone(), index: 0 };
    let actions = vec![Action::AwaitHealthy { container: "w".to_owned(), probe, policy }];
    let (sender, mut updates) = unbounded_channel();
    servers.perform(server, vec![Call { id, actions, within: Millis::seconds(60) }], sender).await;
    let (mut chatter, mut end) = (Vec::new(), None);
    while let Some(update) = updates.recv().await {
        match update {
            Update::Begun(_) => {}
            Update::Chatter(_, text) => chatter.push(text),
            Update::Ended(_, outcome) => end = Some(outcome),
        }
    }
    servers.release().await;
    (chatter, end.unwrap())
}

/// An sshd whose server has the engine; the folder is the engine's.
fn server() -> (TempDir, Sshd) {
    let folder = TempDir::new().unwrap();
    let engine = folder.path().join("docker");
    fs::write(&engine, ENGINE).unwrap();
    fs::set_permissions(&engine, Permissions::from_mode(0o755)).unwrap();
    let sshd = Sshd::start(&Setup { commands: Some(folder.path()), lines: &[TALKS], ..Setup::default() });
    (folder, sshd)
}

#[tokio::test]
async fn an_ill_containers_words_are_masked_by_what_it_was_given_or_not_shown() {
    let (folder, sshd) = server();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("value"), format!("{VALUE}\n")).unwrap();
    fs::write(file("empty"), "").unwrap();
    let mounted = |name: &str| Some(format!("/data /local/data\n/run/secrets/other {}\n\n", file(name).display()));
    let command = || Probe { kind: ProbeKind::Command("ask".to_owned()), address: Ipv4Addr::LOCALHOST, port: 1 };
    for (mounts, word, log) in [
        (mounted("value"), "the word is [secret]", "started with [secret]"),
        (mounted("nowhere"), WITHHELD, WITHHELD),
        (mounted("empty"), WITHHELD, WITHHELD),
        (None, WITHHELD, WITHHELD),
        // It was given none: it can only know what everybody may.
        (Some("/data /local/data\n\n".to_owned()), "the word is sentinel-4f1c", "started with sentinel-4f1c"),
    ] {
        match &mounts {
            Some(mounts) => fs::write(file("mounts"), mounts).unwrap(),
            None => fs::remove_file(file("mounts")).unwrap(),
        }
        let (chatter, end) = said(&sshd, command()).await;
        let Outcome::Failed(failure) = end else { panic!("{end:?}") };
        assert!(!chatter.is_empty() && chatter.iter().all(|text| *text == format!("`ask` exits 1: {word}")), "{mounts:?}: {chatter:?}");
        assert!(failure.seen.contains(&format!("`ask` exits 1: {word} (")), "{mounts:?}: {failure:?}");
        assert_eq!(failure.tail, [log], "{mounts:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_masked_too() {
    let (folder, sshd) = server();
    let value = folder.path().join("value");
    fs::write(&value, VALUE).unwrap();
    fs::write(folder.path().join("mounts"), format!("/run/secrets/other {}\n", value.display())).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(format!("hello from {VALUE}\n").as_bytes()).await;
        }
    });
    let kind = ProbeKind::Http { path: "/".to_owned(), host: "x".to_owned() };
    let (chatter, end) = said(&sshd, Probe { kind, address: Ipv4Addr::LOCALHOST, port }).await;
    app.abort();
    assert!(chatter.contains(&"an answer that is not HTTP: hello from [secret]".to_owned()), "{chatter:?}");
    assert!(!format!("{chatter:?} {end:?}").contains(VALUE), "{chatter:?} {end:?}");
}
