//! What a channel receives, between the task that drains it and whoever takes it. Deliberately absent: waiting on the filling side,
//! because one channel that is not drained stalls every other channel of its connection.
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// More than this waiting, in bytes, is a flood.
const LIMIT: usize = 64 << 20;

/// One thing that came.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes of stdout, or of a tunnel.
    Out(Bytes),
    /// Bytes of stderr.
    Err(Bytes),
    /// No more bytes will come.
    Eof,
    /// The exit status. Bytes may follow.
    Exit(u32),
    /// The script was ended by a signal, named as in RFC 4254, section 6.10.
    Signal(String),
    /// The server does not run the command.
    NotRun,
    /// The channel is closed in good order.
    Closed,
    /// Too much is waiting; nothing more will come.
    Flood,
}

/// The filling side.
pub(super) struct Filler {
    sender: mpsc::UnboundedSender<Piece>,
    waiting: Arc<AtomicUsize>,
}

/// The taking side. Ends with [`None`] when the filling side is gone.
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Piece>,
    waiting: Arc<AtomicUsize>,
}

/// Both sides.
pub(super) fn inbox() -> (Filler, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Filler { sender, waiting: Arc::clone(&waiting) }, Inbox { receiver, waiting })
}

impl Piece {
    fn size(&self) -> usize {
        match self {
            Piece::Out(bytes) | Piece::Err(bytes) => bytes.len(),
            Piece::Eof | Piece::Exit(_) | Piece::Signal(_) | Piece::NotRun | Piece::Closed | Piece::Flood => 0,
        }
    }
}

impl Filler {
    /// Hands a piece over. False when nobody takes any more, or too slowly.
    pub(super) fn put(&self, piece: Piece) -> bool {
        let size = piece.size();
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > LIMIT {
            let _ = self.sender.send(Piece::Flood);
            return false;
        }
        self.sender.send(piece).is_ok()
    }
}

impl Inbox {
    pub(super) async fn take(&mut self) -> Option<Piece> {
        std::future::poll_fn(|cx| self.poll_take(cx)).await
    }

    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let polled = self.receiver.poll_recv(cx);
        if let Poll::Ready(Some(piece)) = &polled {
            self.waiting.fetch_sub(piece.size(), Ordering::Relaxed);
        }
        polled
    }
}
