//! One script that runs on a server, over SSH or here: its stdin is fed by one task, its output drained by another, and whoever
//! holds the [`Process`] takes what came. Deliberately absent: deadlines, lines (see `connection.rs`).
use super::error::ChannelError;
use super::guard::{HEARTBEAT, guarded};
use super::inbox::{Filler, Inbox, Piece, inbox};
use super::session::{Session, Shell};
use super::tunnel::pump;
use bytes::Bytes;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// A watcher of ours kills a script five seconds after its stdin ends; then it is our turn.
const LAST_RESORT: Duration = Duration::from_secs(8);

/// Who runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The user who logged in.
    User,
    /// Root, by `sudo -n`.
    Root,
}

/// A running script. Dropping it ends the script's stdin, and with it the script.
pub(super) struct Process {
    pub(super) inbox: Inbox,
    /// Dropped: the feeder ends stdin.
    feeding: Option<oneshot::Sender<()>>,
    /// Dropped: the drainer closes the channel.
    _draining: oneshot::Sender<()>,
}

impl Process {
    /// Ends the script's stdin, and goes on receiving.
    pub(super) fn end_stdin(&mut self) {
        self.feeding = None;
    }

    /// Starts a script in a session channel.
    pub(super) async fn start_ssh(session: &Arc<Session>, role: Role, script: &str) -> Result<Process, ChannelError> {
        let server = session.label.clone();
        let Shell { channel, place } = match session.shell().await {
            Ok(shell) => shell,
            Err(russh::Error::ChannelOpenFailure(reason)) => {
                let seen = format!(
                    "it opens no channel ({}); look for MaxSessions in its sshd_config: 10 is its default, 4 do",
                    reason.description()
                );
                return Err(ChannelError::Refused { server, seen });
            }
            Err(_) => return Err(ChannelError::Lost { server, reason: session.why().await }),
        };
        if channel.exec(true, command(role).join(" ")).await.is_err() {
            return Err(ChannelError::Lost { server, reason: session.why().await });
        }
        let (read, write) = channel.split();
        let feeding = feed(Box::pin(write.make_writer()), script);
        let (filler, inbox) = inbox();
        let (draining, dropped) = oneshot::channel();
        let session = Arc::clone(session);
        tokio::spawn(async move {
            pump(read, write, filler, dropped).await;
            drop((place, session));
        });
        Ok(Process { inbox, feeding: Some(feeding), _draining: draining })
    }

    /// Starts a script on this machine.
    pub(super) fn start_local(server: &str, role: Role, script: &str) -> Result<Process, ChannelError> {
        let words = command(role);
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ChannelError::Refused { server: server.to_owned(), seen: format!("{}: {error}", words[0]) })?;
        let feeding = match child.stdin.take() {
            Some(stdin) => feed(Box::pin(stdin), script),
            None => oneshot::channel().0,
        };
        let (filler, inbox) = inbox();
        let (draining, dropped) = oneshot::channel();
        tokio::spawn(drain_child(child, filler, dropped));
        Ok(Process { inbox, feeding: Some(feeding), _draining: draining })
    }
}

fn command(role: Role) -> &'static [&'static str] {
    match role {
        Role::Root => &["sudo", "-n", "sh", "-s"],
        Role::User => &["sh", "-s"],
    }
}

/// Writes the script, then a heartbeat now and then, until the sender that it returns is dropped; then ends stdin.
fn feed(mut stdin: Pin<Box<dyn AsyncWrite + Send>>, script: &str) -> oneshot::Sender<()> {
    let text = guarded(script);
    let (sender, mut dropped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let feeding = async {
            stdin.write_all(text.as_bytes()).await?;
            stdin.flush().await?;
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                stdin.write_all(b"\n").await?;
                stdin.flush().await?;
            }
        };
        let broken: Option<io::Result<()>> = tokio::select! {
            broken = feeding => Some(broken),
            _ = &mut dropped => None,
        };
        if broken.is_none() {
            let _ = tokio::time::timeout(Duration::from_secs(5), stdin.shutdown()).await;
        }
    });
    sender
}

async fn drain_child(mut child: Child, filler: Filler, mut dropped: oneshot::Receiver<()>) {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let finished = {
        let work = async {
            let wait = async {
                if let Ok(status) = child.wait().await {
                    filler.put(ended(status));
                }
            };
            tokio::join!(drain(out, &filler, Piece::Out), drain(err, &filler, Piece::Err), wait);
            filler.put(Piece::Closed);
        };
        tokio::select! {
            () = work => true,
            _ = &mut dropped => false,
        }
    };
    if !finished && tokio::time::timeout(LAST_RESORT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

fn ended(status: ExitStatus) -> Piece {
    match status.code().and_then(|code| u32::try_from(code).ok()) {
        Some(code) => Piece::Exit(code),
        None => Piece::Signal(status.signal().map_or_else(|| "unknown".to_owned(), |number| format!("signal {number}"))),
    }
}

async fn drain(stream: Option<impl AsyncRead + Unpin>, filler: &Filler, piece: fn(Bytes) -> Piece) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if !filler.put(piece(Bytes::copy_from_slice(&buffer[..n]))) {
            return;
        }
    }
}
