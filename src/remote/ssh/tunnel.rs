//! A byte stream to somewhere behind a server. Deliberately absent: the choice of what to say over it.
use super::inbox::{Filler, Inbox, Piece, inbox};
use super::session::Session;
use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

/// A byte stream in both directions. Dropping it closes it. What is written is sent at once, without Nagle's delay.
///
/// A tunnel over SSH is drained in the background, so that it never stalls its connection. A peer that sends more than 64 MiB
/// that nobody reads loses the tunnel: reading then ends in an error of kind `OutOfMemory`.
pub struct Tunnel(Inner);

enum Inner {
    Channel(Box<ChannelTunnel>),
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct ChannelTunnel {
    inbox: Inbox,
    /// Bytes that were taken and not yet read.
    rest: Bytes,
    eof: bool,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    gone: Arc<Gone>,
    /// Dropped with the tunnel: the pump closes the channel.
    _open: oneshot::Sender<()>,
    /// A tunnel keeps its connection.
    _session: Arc<Session>,
}

/// Set when the channel is gone, so that a writer that waits for window learns of it.
#[derive(Default)]
struct Gone {
    flag: AtomicBool,
    waker: std::sync::Mutex<Option<std::task::Waker>>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Inner::Channel(_) => "Tunnel(channel)",
            Inner::Tcp(_) => "Tunnel(tcp)",
            Inner::Unix(_) => "Tunnel(unix)",
        })
    }
}

impl Tunnel {
    pub(super) fn tcp(stream: TcpStream) -> Tunnel {
        Tunnel(Inner::Tcp(stream))
    }

    pub(super) fn unix(stream: UnixStream) -> Tunnel {
        Tunnel(Inner::Unix(stream))
    }

    pub(super) fn channel(session: Arc<Session>, channel: Channel<Msg>) -> Tunnel {
        let (read, write) = channel.split();
        let writer = Box::pin(write.make_writer());
        let (filler, inbox) = inbox();
        let (open, dropped) = oneshot::channel();
        let gone = Arc::new(Gone::default());
        let flag = Arc::clone(&gone);
        tokio::spawn(async move {
            pump(read, write, filler, dropped).await;
            flag.set();
        });
        let tunnel = ChannelTunnel { inbox, rest: Bytes::new(), eof: false, writer, gone, _open: open, _session: session };
        Tunnel(Inner::Channel(Box::new(tunnel)))
    }
}

impl Gone {
    fn set(&self) {
        self.flag.store(true, Ordering::SeqCst);
        if let Some(waker) = self.lock().take() {
            waker.wake();
        }
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        *self.lock() = Some(cx.waker().clone());
        if self.flag.load(Ordering::SeqCst) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<std::task::Waker>> {
        self.waker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Drains a channel until it is closed. When `dropped` resolves or nobody takes any more, closes it, and drains what is still under way.
pub(super) async fn pump(mut read: ChannelReadHalf, write: ChannelWriteHalf<Msg>, filler: Filler, mut dropped: oneshot::Receiver<()>) {
    loop {
        let message = tokio::select! {
            message = read.wait() => message,
            _ = &mut dropped => break,
        };
        let piece = match message {
            Some(ChannelMsg::Data { data }) => Piece::Out(data),
            Some(ChannelMsg::ExtendedData { data, .. }) => Piece::Err(data),
            Some(ChannelMsg::Eof) => Piece::Eof,
            Some(ChannelMsg::ExitStatus { exit_status }) => Piece::Exit(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => Piece::Signal(signal(&signal_name)),
            Some(ChannelMsg::Failure) => Piece::NotRun,
            Some(ChannelMsg::Close) => {
                filler.put(Piece::Closed);
                return;
            }
            Some(_) => continue,
            None => return,
        };
        if !filler.put(piece) {
            break;
        }
    }
    let farewell = async {
        if write.close().await.is_ok() {
            while !matches!(read.wait().await, None | Some(ChannelMsg::Close)) {}
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), farewell).await;
}

fn signal(name: &russh::Sig) -> String {
    match name {
        russh::Sig::Custom(name) => name.clone(),
        other => format!("{other:?}"),
    }
}

impl AsyncRead for ChannelTunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.eof {
            match std::task::ready!(self.inbox.poll_take(cx)) {
                Some(Piece::Out(bytes)) => self.rest = bytes,
                Some(Piece::Eof | Piece::Closed) => self.eof = true,
                Some(Piece::Flood) => return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into())),
                Some(Piece::Err(_) | Piece::Exit(_) | Piece::Signal(_) | Piece::NotRun) => {}
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let n = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..n]);
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Channel(channel) => Pin::new(channel.as_mut()).poll_read(cx, buffer),
            Inner::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Inner::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Inner::Channel(channel) => {
                channel.gone.check(cx)?;
                channel.writer.as_mut().poll_write(cx, bytes)
            }
            Inner::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Inner::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Channel(channel) => {
                channel.gone.check(cx)?;
                channel.writer.as_mut().poll_flush(cx)
            }
            Inner::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Channel(channel) => {
                channel.gone.check(cx)?;
                channel.writer.as_mut().poll_shutdown(cx)
            }
            Inner::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
