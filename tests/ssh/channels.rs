//! Scripts and tunnels on a healthy connection, over SSH and on this machine.
use crate::sshd::{Setup, Sshd, connector, options, target};
use flipside::model::ServerName;
use flipside::remote::{ChannelError, ConnectError, Connection, Connector, Hop, Reach, Target, TunnelError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

const LONG: Duration = Duration::from_secs(20);

pub(crate) async fn lines(connection: &Connection, script: &str) -> (Vec<String>, Option<u32>) {
    let mut lines = Vec::new();
    let end = connection.run_script(script, LONG, &mut |line| lines.push(line.to_owned())).await.unwrap();
    (lines, end.exit)
}

async fn local() -> Connection {
    let target = Target { name: ServerName::new("here").unwrap(), reach: Reach::Local, sudo: false };
    connector().connect(&target).await.unwrap()
}

async fn both() -> (Sshd, Vec<(&'static str, Connection)>) {
    let sshd = Sshd::start(&Setup::default());
    let remote = sshd.connect().await;
    (sshd, vec![("ssh", remote), ("local", local().await)])
}

#[tokio::test]
async fn exit_codes_output_and_odd_texts() {
    let (_sshd, connections) = both().await;
    for (way, connection) in &connections {
        for code in [0, 1, 77, 255] {
            assert_eq!(lines(connection, &format!("exit {code}")).await.1, Some(code), "{way}");
        }
        let end = connection.run_script("echo out; echo err >&2; printf half", LONG, &mut |_| {}).await.unwrap();
        assert_eq!((end.exit, end.unfinished.as_str(), end.stderr_tail.as_str()), (Some(0), "half", "err\n"), "{way}");
        let odd = "it's \"$HOME\" `id` \\n \\\\ ö !";
        let script = format!("cat <<'END'\n{odd}\nEND\nread -r x; echo \"stdin is empty: [$x]\"");
        assert_eq!(lines(connection, &script).await.0, [odd, "stdin is empty: []"], "{way}");
        let broken = connection.run_script("echo started\nif true; then", LONG, &mut |line| panic!("{line}")).await.unwrap();
        assert_ne!(broken.exit, Some(0), "{way}: a script that cannot be parsed does nothing");
        assert_eq!(lines(connection, "kill -9 $$").await.1, Some(137), "{way}");
    }
}

#[tokio::test]
async fn five_megabytes_in_and_out() {
    let (_sshd, connections) = both().await;
    let row = "x".repeat(99);
    let script = format!("cat <<'END'\n{}END\n", format!("{row}\n").repeat(52_429));
    for (way, connection) in &connections {
        let mut n_lines = 0;
        let end = connection
            .run_script(&script, LONG, &mut |line| {
                assert_eq!(line, row);
                n_lines += 1;
            })
            .await
            .unwrap();
        assert_eq!((n_lines, end.exit), (52_429, Some(0)), "{way}");
    }
}

#[tokio::test]
async fn scripts_side_by_side_more_than_a_server_allows() {
    let sshd = Sshd::start(&Setup::default());
    let connection = sshd.connect().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let connection = connection.clone();
        tasks.spawn(async move { (n.to_string(), lines(&connection, &format!("sleep 0.05; echo {n}")).await) });
    }
    while let Some(done) = tasks.join_next().await {
        let (wanted, got) = done.unwrap();
        assert_eq!(got, (vec![wanted], Some(0)));
    }
}

#[tokio::test]
async fn noise_at_login_does_no_harm() {
    let noisy = r#"ForceCommand echo "Welcome!"; printf "no newline, then: " >&2; eval "$SSH_ORIGINAL_COMMAND""#;
    let sshd = Sshd::start(&Setup { lines: &[noisy], ..Setup::default() });
    assert_eq!(lines(&sshd.connect().await, "echo ours; exit 3").await, (vec!["Welcome!".to_owned(), "ours".to_owned()], Some(3)));
}

#[tokio::test]
async fn other_shells() {
    for shell in ["/bin/dash", "/bin/bash", "/bin/busybox"] {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(shell, folder.path().join("sh")).unwrap();
        let sshd = Sshd::start(&Setup { commands: Some(folder.path()), ..Setup::default() });
        let connection = sshd.connect().await;
        assert_eq!(lines(&connection, "echo 'a  b'; exit 9").await, (vec!["a  b".to_owned()], Some(9)), "{shell}");
        let big = format!("cat <<'END'\n{}END\necho end", "0123456789abcdef\n".repeat(60_000));
        assert_eq!(lines(&connection, &big).await.0.len(), 60_001, "{shell}");
    }
}

#[tokio::test]
async fn sudo_that_works_and_sudo_that_asks() {
    let folder = tempfile::tempdir().unwrap();
    let sudo = folder.path().join("sudo");
    let write = |text: &str| {
        std::fs::write(&sudo, text).unwrap();
        std::fs::set_permissions(&sudo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let sshd = Sshd::start(&Setup { commands: Some(folder.path()), ..Setup::default() });
    let wanted = Target { sudo: true, ..target(sshd.hop()) };
    write("#!/bin/sh\n[ \"$1\" = -n ] || exit 9\nshift\nexec env AS_ROOT=1 \"$@\"\n");
    // Where the tests run as root the stand-in is as good as the real one; elsewhere its uid is not 0, and that is seen.
    match connector().connect(&wanted).await {
        Ok(connection) => assert_eq!(lines(&connection, "echo $AS_ROOT").await.0, ["1"]),
        Err(error) => assert!(matches!(error, ConnectError::Sudo { .. }), "{error}"),
    }
    write("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n");
    let error = connector().connect(&wanted).await.err().unwrap();
    assert!(matches!(error, ConnectError::Sudo { .. }) && error.to_string().contains("sudo: a password is required"), "{error}");
}

async fn echo_server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test]
async fn tunnels_carry_bytes_both_ways() {
    let (sshd, connections) = both().await;
    let port = echo_server().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (way, connection) in &connections {
        let (mut read, mut write) = tokio::io::split(connection.tunnel("127.0.0.1", port, LONG).await.unwrap());
        let writing = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let reading = read.read_to_end(&mut got);
        let (_, n) = tokio::time::timeout(LONG, async { tokio::join!(writing, reading) }).await.unwrap();
        assert_eq!((n.unwrap(), got == sent), (sent.len(), true), "{way}");

        let socket = sshd.path(&format!("socket-{way}"));
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = async { listener.accept().await.unwrap().0.write_all(b"over unix").await.unwrap() };
        let asking = async {
            let mut tunnel = connection.tunnel_unix(socket.to_str().unwrap(), LONG).await.unwrap();
            let mut got = String::new();
            tunnel.read_to_string(&mut got).await.unwrap();
            got
        };
        assert_eq!(tokio::join!(serving, asking).1, "over unix", "{way}");
    }
}

#[tokio::test]
async fn tunnels_that_cannot_be() {
    let (_sshd, connections) = both().await;
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    for (way, connection) in &connections {
        let refused = connection.tunnel("127.0.0.1", nobody, LONG).await.err().unwrap();
        assert!(matches!(refused, TunnelError::Refused { .. }), "{way}: {refused}");
        assert!(matches!(connection.tunnel_unix("/nonexistent", LONG).await.err().unwrap(), TunnelError::Refused { .. }), "{way}");
    }
    let strict = Sshd::start(&Setup { lines: &["AllowTcpForwarding no"], ..Setup::default() });
    let connection = strict.connect().await;
    let forbidden = connection.tunnel("127.0.0.1", echo_server().await, LONG).await.err().unwrap();
    assert!(matches!(forbidden, TunnelError::Forbidden { .. }), "{forbidden}");
    assert_eq!(lines(&connection, "echo alive").await.0, ["alive"]);
}

#[tokio::test]
async fn a_tunnel_that_nobody_reads_stalls_nothing() {
    let sshd = Sshd::start(&Setup::default());
    let connection = sshd.connect().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pouring = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        while stream.write_all(&[7; 65_536]).await.is_ok() {}
    });
    let mut idle = connection.tunnel("127.0.0.1", port, LONG).await.unwrap();
    tokio::time::timeout(LONG, pouring).await.expect("the tunnel is closed when too much waits").unwrap();
    assert_eq!(lines(&connection, "echo alive").await.0, ["alive"]);
    let mut got = Vec::new();
    assert_eq!(idle.read_to_end(&mut got).await.unwrap_err().kind(), std::io::ErrorKind::OutOfMemory);
}

#[tokio::test]
async fn jump_hosts_at_depth_two() {
    let sshd = Sshd::start(&Setup::default());
    let hop = |label: &str, jump: Option<Hop>| Hop { label: label.to_owned(), jump: jump.map(Box::new), ..sshd.hop() };
    let inner = hop("inner", Some(hop("middle", Some(hop("outer", None)))));
    let connector = Connector::new(options());
    let connection = connector.connect(&target(inner.clone())).await.unwrap();
    assert_eq!(lines(&connection, "echo through").await.0, ["through"]);
    assert_eq!(sshd.children().len(), 3);

    let mut bad = inner.clone();
    bad.port = 1;
    let error = connector.connect(&target(bad)).await.err().unwrap();
    assert!(matches!(error, ConnectError::JumpTunnel { source: TunnelError::Refused { .. }, .. }) && error.is_unreachable(), "{error}");
    let mut wrong = inner;
    wrong.jump.as_mut().unwrap().identity_files.clear();
    let error = connector.connect(&target(wrong)).await.err().unwrap();
    assert!(matches!(error, ConnectError::Jump { .. }) && !error.is_unreachable(), "{error}");
    assert!(error.to_string().contains("middle"), "{error}");
}

#[tokio::test]
async fn servers_that_are_not_there() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sshd = Sshd::start(&Setup::default());
    let options = flipside::remote::ConnectOptions { deadline: Duration::from_secs(2), ..options() };
    let error = async |hop: Hop| Connector::new(options.clone()).connect(&target(hop)).await.err().unwrap();
    let started = Instant::now();
    let silent = error(Hop { port, ..sshd.hop() }).await;
    assert!(matches!(silent, ConnectError::Deadline { .. }) && silent.is_unreachable(), "{silent}");
    let nobody = error(Hop { port: 1, ..sshd.hop() }).await;
    assert!(matches!(nobody, ConnectError::Tcp { .. }) && nobody.is_unreachable(), "{nobody}");
    // Longer than a label may be: no name server is asked.
    let nameless = error(Hop { address: "x".repeat(64), ..sshd.hop() }).await;
    assert!(matches!(nameless, ConnectError::Resolve { .. }) && nameless.is_unreachable(), "{nameless}");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await;
        }
    });
    let web = error(Hop { port, ..sshd.hop() }).await;
    assert!(matches!(web, ConnectError::Handshake { .. }) && web.to_string().contains("HTTP/1.1 400"), "{web}");
    assert!(started.elapsed() < Duration::from_secs(10));
    let shut = Sshd::start(&Setup { lines: &["MaxSessions 0"], ..Setup::default() });
    let refused = shut.connect().await.run_script("true", LONG, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, ChannelError::Refused { .. }), "{refused}");
}
