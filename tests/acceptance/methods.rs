//! What tells the methods of `balance` apart: which copies answer connections that stay open, and where the next ones go once one copy has none
//! any more. Deliberately absent: times, and what becomes of a copy that is ill (see `strategies`).
use crate::server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// And so many more once those that the first copy had are closed. In turn, they cannot all reach the same.
const N_THEN: usize = 4;

/// How a method spreads connections over three copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One copy after the other, whatever they have.
    Turns,
    /// To the copy that has the fewest.
    Fewest,
    /// To every copy, in no order.
    Chance,
    /// A client, a page or all of them to one copy.
    One,
}

impl Spread {
    /// So many connections are opened and kept, a multiple of the three copies. Chance would level out as many once in some hundred thousand runs.
    fn n_first(self) -> usize {
        match self {
            Self::Turns | Self::Fewest | Self::One => 24,
            Self::Chance => 90,
        }
    }
}

/// The copies that answered, connection by connection.
#[derive(Debug)]
pub(crate) struct Reached {
    wanted: Spread,
    first: Vec<String>,
    then: Vec<String>,
}

impl Reached {
    /// By way of the public host, from this machine: upgraded connections are requests that do not end.
    pub(crate) fn over_http(server: &Server, host: &str, wanted: Spread) -> Self {
        let mut open: Vec<(BufReader<TcpStream>, String)> = (0..wanted.n_first()).map(|_| upgraded(server, host)).collect();
        let first: Vec<String> = open.iter().map(|(_, name)| name.clone()).collect();
        open.retain(|(_, name)| *name != first[0]);
        // NGINX has to see that they are closed.
        thread::sleep(Duration::from_secs(3));
        let more: Vec<_> = (0..N_THEN).map(|_| upgraded(server, host)).collect();
        Self { wanted, first, then: more.into_iter().map(|(_, name)| name).collect() }
    }

    /// From a process of this server to the internal port of its localhost.
    pub(crate) fn over_tcp(server: &Server, port: u16, wanted: Spread) -> Self {
        let mut first = server.names_of_localhost(port, wanted.n_first(), N_THEN);
        assert_eq!(first.len(), wanted.n_first() + N_THEN, "{first:?}");
        let then = first.split_off(wanted.n_first());
        Self { wanted, first, then }
    }

    /// Whether it was spread as it should be.
    pub(crate) fn is_right(&self) -> bool {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.first.iter().for_each(|name| *counts.entry(name).or_default() += 1);
        let is_even = counts.len() == 3 && counts.values().collect::<BTreeSet<_>>().len() == 1;
        // One more for each copy before any has two more.
        let is_level = is_even && self.first.chunks(3).all(|names| names.iter().collect::<BTreeSet<_>>().len() == 3);
        let is_in_turn = is_even && self.first.windows(4).all(|names| names[0] == names[3]);
        let fills_up = self.then.iter().all(|name| *name == self.first[0]);
        match self.wanted {
            Spread::Turns => is_in_turn && !fills_up,
            Spread::Fewest => is_level && fills_up,
            Spread::Chance => counts.len() == 3 && !is_level,
            Spread::One => counts.len() == 1 && fills_up,
        }
    }
}

/// A connection that is open as a WebSocket's is, and the name of the copy at its other end.
fn upgraded(server: &Server, host: &str) -> (BufReader<TcpStream>, String) {
    let stream = TcpStream::connect((server.address.as_str(), 80)).expect("NGINX accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut reader = BufReader::new(stream);
    let ask = format!("GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    reader.get_mut().write_all(ask.as_bytes()).expect("a request");
    let line = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap_or_else(|problem| panic!("{host}: {problem}"));
        line.trim_end().to_owned()
    };
    let status = line(&mut reader);
    assert!(status.contains(" 101 "), "{host}: {status}");
    while !line(&mut reader).is_empty() {}
    reader.get_mut().write_all(b"who\n").expect("a line");
    let answer = line(&mut reader);
    let name = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{host}: {answer}")).to_owned();
    (reader, name)
}
