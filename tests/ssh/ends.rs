//! Ends that nobody planned: deadlines, killed servers, frozen servers, our own death.
use crate::sshd::{Setup, Sshd, connector, is_alive, signal};
use flipside::model::ServerName;
use flipside::remote::{ChannelError, Connection, Lost, Reach, Target};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const LONG: Duration = Duration::from_secs(20);

/// A script that tells its process and that of a child, then sleeps.
const SLEEPER: &str = "sleep 100 & echo $$ $!; wait; echo over";

async fn both() -> (Sshd, Vec<(&'static str, Connection)>) {
    let sshd = Sshd::start(&Setup::default());
    let remote = sshd.connect().await;
    let here = Target { name: ServerName::new("here").unwrap(), reach: Reach::Local, sudo: false };
    let local = connector().connect(&here).await.unwrap();
    (sshd, vec![("ssh", remote), ("local", local)])
}

fn ids(line: &str) -> Vec<u32> {
    line.split(' ').map(|id| id.parse().unwrap()).collect()
}

async fn gone(ids: &[u32], within: Duration) -> bool {
    let until = Instant::now() + within;
    while ids.iter().any(|&id| is_alive(id)) {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

#[tokio::test]
async fn a_deadline_ends_the_script_on_the_server_too() {
    let (_sshd, connections) = both().await;
    for (way, connection) in &connections {
        let mut seen = Vec::new();
        let started = Instant::now();
        let error = connection
            .run_script(&format!("echo dying words >&2; {SLEEPER}"), Duration::from_secs(5), &mut |line| seen = ids(line))
            .await
            .unwrap_err();
        assert!(matches!(error, ChannelError::Deadline { .. }) && error.to_string().contains("dying words"), "{way}: {error}");
        assert!(started.elapsed() < Duration::from_secs(15), "{way}");
        assert!(seen.len() == 2 && gone(&seen, Duration::from_secs(10)).await, "{way}: {seen:?} survived");
        let mut lines = Vec::new();
        connection.run_script("echo alive", LONG, &mut |line| lines.push(line.to_owned())).await.unwrap();
        assert_eq!(lines, ["alive"], "{way}: the connection is still good");
    }
}

#[tokio::test]
async fn a_script_that_ignores_sigterm_is_killed() {
    let (_sshd, connections) = both().await;
    for (way, connection) in &connections {
        let mut held = connection.hold(&format!("trap '' TERM; {SLEEPER}; {SLEEPER}"), LONG).await.unwrap();
        let seen = ids(&held.line(LONG).await.unwrap().unwrap());
        drop(held);
        assert!(gone(&seen, Duration::from_secs(10)).await, "{way}: {seen:?} survived");
    }
}

#[tokio::test]
async fn what_a_script_leaves_behind_is_cleared_away() {
    let (_sshd, connections) = both().await;
    for (way, connection) in &connections {
        let mut seen = Vec::new();
        let started = Instant::now();
        let end = connection.run_script("sleep 100 & echo $!; exit 4", LONG, &mut |line| seen = ids(line)).await.unwrap();
        assert_eq!(end.exit, Some(4), "{way}");
        assert!(started.elapsed() < Duration::from_secs(10), "{way}: it held our channel");
        assert!(gone(&seen, Duration::from_secs(10)).await, "{way}: {seen:?} survived");
    }
}

#[tokio::test]
async fn a_held_script_lives_as_long_as_we_hold_it() {
    let (_sshd, connections) = both().await;
    for (way, connection) in &connections {
        let mut held = connection.hold("trap 'echo freed; exit 7' TERM; echo $$; while :; do sleep 0.1; done", LONG).await.unwrap();
        let seen = ids(&held.line(LONG).await.unwrap().unwrap());
        // Longer than a few heartbeats take.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(is_alive(seen[0]), "{way}");
        assert!(matches!(held.line(Duration::from_millis(50)).await, Err(ChannelError::Deadline { .. })), "{way}");
        let end = held.close(LONG).await.unwrap();
        assert_eq!(end.exit, Some(7), "{way}: it could tidy up");
        assert!(!is_alive(seen[0]), "{way}");

        let mut short = connection.hold("echo one; exit 2", LONG).await.unwrap();
        assert_eq!(short.line(LONG).await.unwrap().as_deref(), Some("one"), "{way}");
        assert_eq!(short.line(LONG).await.unwrap(), None, "{way}");
        assert_eq!(short.close(LONG).await.unwrap().exit, Some(2), "{way}");
    }
}

#[tokio::test]
async fn dropping_the_connection_ends_its_scripts() {
    let sshd = Sshd::start(&Setup::default());
    let connection = sshd.connect().await;
    let mut held = connection.hold(SLEEPER, LONG).await.unwrap();
    let seen = ids(&held.line(LONG).await.unwrap().unwrap());
    connection.clone().close().await;
    assert!(gone(&seen, Duration::from_secs(10)).await, "{seen:?} survived");
    assert!(matches!(held.line(LONG).await, Err(ChannelError::Lost { .. })));
    assert!(matches!(connection.run_script("true", LONG, &mut |_| {}).await, Err(ChannelError::Lost { .. })));
    assert_eq!(connection.lost().await, Lost::Ours);
}

#[tokio::test]
async fn a_killed_server_process_is_seen_at_once() {
    let sshd = Sshd::start(&Setup::default());
    let connection = sshd.connect().await;
    let (mut seen, mut started) = (Vec::new(), Instant::now());
    let watcher = connection.clone();
    let lost = tokio::spawn(async move { watcher.lost().await });
    let children = sshd.children();
    let error = connection
        .run_script(SLEEPER, LONG, &mut |line| {
            seen = ids(line);
            started = Instant::now();
            for &child in &children {
                signal("KILL", child);
            }
        })
        .await
        .unwrap_err();
    assert!(matches!(error, ChannelError::Lost { reason: Lost::Closed(_), .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(matches!(tokio::time::timeout(Duration::from_secs(5), lost).await.unwrap().unwrap(), Lost::Closed(_)));
    assert!(gone(&seen, Duration::from_secs(10)).await, "{seen:?} survived");
}

#[tokio::test]
async fn a_frozen_server_is_noticed_within_fifteen_seconds() {
    let sshd = Sshd::start(&Setup::default());
    // One that only waits, and one whose writes block: the keepalive of its session waits behind them.
    let (idle, busy) = (sshd.connect().await, sshd.connect().await);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tunnels = Vec::new();
    for _ in 0..12 {
        tunnels.push((busy.tunnel("127.0.0.1", port, LONG).await.unwrap(), listener.accept().await.unwrap()));
    }
    let children = sshd.children();
    children.iter().for_each(|&child| signal("STOP", child));
    let started = Instant::now();
    let mut writes = tokio::task::JoinSet::new();
    for (mut tunnel, _peer) in tunnels {
        writes.spawn(async move { tunnel.write_all(&vec![0; 4 << 20]).await });
    }
    let mut ignore = |_: &str| {};
    let script = idle.run_script("true", Duration::from_secs(30), &mut ignore);
    let all = async { tokio::join!(idle.lost(), busy.lost(), script, writes.join_all()) };
    let (idle, busy, script, writes) = tokio::time::timeout(LONG, all).await.unwrap();
    assert_eq!((idle, busy), (Lost::Silent, Lost::Silent));
    assert!(matches!(script, Err(ChannelError::Lost { reason: Lost::Silent, .. })), "{script:?}");
    assert!(writes.iter().all(Result::is_err), "a writer learns of it");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    children.iter().for_each(|&child| signal("CONT", child));
}
