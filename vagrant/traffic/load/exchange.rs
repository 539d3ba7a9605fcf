//! One connection, and why an exchange on it failed. Every read and write ends at the exchange's deadline.
use std::fmt;
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// No connection came about.
    Connect(Error),
    /// The connection ended before the answer was complete.
    Closed(&'static str),
    /// The deadline came first.
    TimedOut,
    /// An answer came, but not a good one.
    Answer(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(problem) => write!(formatter, "cannot connect: {problem}"),
            Self::Closed(how) => write!(formatter, "the connection {how} before the answer was complete"),
            Self::TimedOut => formatter.write_str("no complete answer in time"),
            Self::Answer(text) => formatter.write_str(text),
        }
    }
}

impl From<Error> for Failed {
    fn from(problem: Error) -> Self {
        match problem.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::ConnectionReset => Self::Closed("was reset"),
            ErrorKind::BrokenPipe => Self::Closed("was closed"),
            ErrorKind::UnexpectedEof => Self::Closed("ended"),
            _ => Self::Answer(problem.to_string()),
        }
    }
}

/// One connection. `deadline` is set anew for every exchange.
#[derive(Debug)]
pub(super) struct Wire {
    reader: BufReader<TcpStream>,
    out: Vec<u8>,
    deadline: Instant,
}

impl Wire {
    /// Connects to the first address that answers, before the deadline.
    pub(super) fn connect(address: &str, deadline: Instant) -> Result<Self, Failed> {
        let mut last = Error::other(format!("{address} has no address"));
        let candidates: Vec<SocketAddr> = address.to_socket_addrs().map_err(Failed::Connect)?.collect();
        for candidate in candidates {
            match TcpStream::connect_timeout(&candidate, left(deadline)) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(Failed::Connect)?;
                    return Ok(Self { reader: BufReader::new(stream), out: Vec::new(), deadline });
                }
                Err(problem) => last = problem,
            }
        }
        Err(Failed::Connect(last))
    }

    /// Begins another exchange.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Where a request is written; `flush` sends it in one piece.
    pub(super) fn sink(&mut self) -> Result<&mut Vec<u8>, Failed> {
        self.out.clear();
        Ok(&mut self.out)
    }

    pub(super) fn flush(&mut self) -> Result<(), Failed> {
        let stream = self.reader.get_mut();
        stream.set_write_timeout(Some(left(self.deadline)))?;
        Ok(stream.write_all(&self.out)?)
    }

    /// A line without its end.
    pub(super) fn line(&mut self) -> Result<String, Failed> {
        let mut line = Vec::new();
        loop {
            let piece = self.fill()?;
            if piece.is_empty() {
                return Err(Failed::Closed("ended"));
            }
            let (end, used) = piece.iter().position(|byte| *byte == b'\n').map_or((false, piece.len()), |at| (true, at + 1));
            line.extend_from_slice(&piece[..used]);
            self.reader.consume(used);
            if end {
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
        }
    }

    pub(super) fn read_exactly(&mut self, length: usize, body: &mut Vec<u8>) -> Result<(), Failed> {
        let mut missing = length;
        while missing > 0 {
            let piece = self.fill()?;
            if piece.is_empty() {
                return Err(Failed::Closed("ended"));
            }
            let used = piece.len().min(missing);
            body.extend_from_slice(&piece[..used]);
            self.reader.consume(used);
            missing -= used;
        }
        Ok(())
    }

    pub(super) fn read_to_end(&mut self, body: &mut Vec<u8>) -> Result<(), Failed> {
        loop {
            let piece = self.fill()?;
            if piece.is_empty() {
                return Ok(());
            }
            let used = piece.len();
            body.extend_from_slice(piece);
            self.reader.consume(used);
        }
    }

    /// What is there, or comes next; empty at the end.
    fn fill(&mut self) -> Result<&[u8], Failed> {
        if self.reader.buffer().is_empty() {
            self.reader.get_ref().set_read_timeout(Some(left(self.deadline)))?;
        }
        Ok(self.reader.fill_buf()?)
    }

    /// The other end has closed, as far as can be seen now.
    pub(super) fn is_closed(&self) -> bool {
        let stream = self.reader.get_ref();
        let closed = stream.set_nonblocking(true).is_ok()
            && !matches!(stream.peek(&mut [0]), Err(problem) if problem.kind() == ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_err() || closed
    }
}

/// What is left until a deadline; never zero, which would mean for ever.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
