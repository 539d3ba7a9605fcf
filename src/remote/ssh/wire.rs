//! The byte stream below an SSH session: a TCP connection or a tunnel through a jump host, made to fail in bounded time.
//! Deliberately absent: anything of the SSH protocol.
use super::tunnel::Tunnel;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// A peer that takes no byte for this long is frozen. The session's own keepalive cannot notice it, because it waits behind the write.
const STALL: Duration = Duration::from_secs(12);
/// How much of the greeting is kept for messages.
const GREETING: usize = 400;

/// What carries the bytes.
pub(super) enum Road {
    /// A connection of our own.
    Tcp(TcpStream),
    /// A channel of another session.
    Tunnel(Box<Tunnel>),
}

/// The first bytes that the other side sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeting(Arc<Mutex<Vec<u8>>>);

impl Greeting {
    /// The first line, made printable; empty when nothing came.
    pub(super) fn line(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line).trim().chars().filter(|c| !c.is_control()).take(120).collect()
    }

    fn note(&self, new: &[u8]) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = GREETING - bytes.len();
        bytes.extend_from_slice(&new[..new.len().min(room)]);
    }

    fn is_full(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() >= GREETING
    }
}

/// A road that ends when its switch is thrown or dropped, when the peer takes no bytes, and that acknowledges at once.
pub(super) struct Wire {
    road: Road,
    off: Option<oneshot::Receiver<()>>,
    greeting: Option<Greeting>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// The wire, and the switch that cuts it (also by being dropped).
    pub(super) fn new(road: Road, greeting: Greeting) -> (Wire, oneshot::Sender<()>) {
        let (switch, off) = oneshot::channel();
        (Wire { road, off: Some(off), greeting: Some(greeting), stall: None }, switch)
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let cut = match &mut self.off {
            Some(off) => Pin::new(off).poll(cx).is_ready(),
            None => true,
        };
        if cut {
            self.off = None;
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed on this side"));
        }
        Ok(())
    }

    fn poll_stall<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stall = None;
            return result;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the server takes no more bytes"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        let before = buffer.filled().len();
        let result = match &mut self.road {
            Road::Tcp(stream) => {
                let result = Pin::new(&mut *stream).poll_read(cx, buffer);
                #[cfg(target_os = "linux")]
                if result.is_ready() {
                    // The kernel forgets this after a while. Failure costs 40 ms, no more.
                    let _ = stream.set_quickack(true);
                }
                result
            }
            Road::Tunnel(tunnel) => Pin::new(tunnel).poll_read(cx, buffer),
        };
        if let Some(greeting) = &self.greeting {
            greeting.note(&buffer.filled()[before..]);
            if greeting.is_full() {
                self.greeting = None;
            }
        }
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        let result = match &mut self.road {
            Road::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Road::Tunnel(tunnel) => Pin::new(tunnel).poll_write(cx, bytes),
        };
        self.poll_stall(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        let result = match &mut self.road {
            Road::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Road::Tunnel(tunnel) => Pin::new(tunnel).poll_flush(cx),
        };
        self.poll_stall(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.road {
            Road::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            // The tunnel closes its channel when it is dropped.
            Road::Tunnel(_) => Poll::Ready(Ok(())),
        }
    }
}
