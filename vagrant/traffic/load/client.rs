//! One client: it asks, waits for the answer, pauses, and asks again, until it is told to stop.
use super::exchange::{Failed, Wire};
use super::http2::{Ended, Next};
use super::target::{Kind, Target};
use super::{Shared, Tally, http, http2};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How an exchange ended.
enum Outcome {
    /// With an answer, of which this is the first word.
    Answered(String),
    /// Without a good answer.
    Failed(Failed),
    /// A long-lived connection was closed by the other end.
    Cut(String),
    /// The server said that it had not begun with it.
    Refused,
}

/// The connections of one client, of which it uses those of its kind.
#[derive(Default)]
struct Open {
    wire: Option<Wire>,
    http2: http2::Client,
}

/// Runs one client to the end. `number` makes the clients of one target differ.
pub(super) fn run(target: &Target, number: usize, shared: &Shared, tally: &Mutex<Tally>) {
    let mut open = Open::default();
    let mut dice = Dice(number as u64);
    // Clients of one target do not march in step.
    thread::sleep(shared.options.pause.mul_f64(dice.fraction()));
    while !shared.is_stopping() {
        let phase = shared.phase();
        let began = Instant::now();
        let deadline = began + shared.options.timeout;
        let outcome = exchange(target, &mut open, &mut dice, deadline);
        let took = began.elapsed();
        let at = shared.started.elapsed();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match outcome {
            Outcome::Answered(word) => {
                tally.answer(&phase, took, &word);
                shared.options.pause
            }
            Outcome::Failed(problem) => {
                tally.fail(&phase, at, took, &problem.to_string());
                // A refusing port is asked again soon, but not in a tight loop.
                shared.options.pause.max(Duration::from_millis(5))
            }
            Outcome::Cut(text) => {
                tally.cut(&phase, at, took, &text);
                shared.options.pause
            }
            Outcome::Refused => {
                tally.refuse(&phase);
                Duration::ZERO
            }
        };
        drop(tally);
        thread::sleep(pause);
    }
}

fn exchange(target: &Target, open: &mut Open, dice: &mut Dice, deadline: Instant) -> Outcome {
    let wire = &mut open.wire;
    let outcome = match target.kind {
        Kind::New | Kind::Keep => request(target, wire, dice, deadline),
        Kind::Tcp => Wire::connect(&target.address, deadline).and_then(|mut wire| line(&mut wire)),
        Kind::TcpKeep | Kind::Ws => return long_lived(target, wire, deadline),
        Kind::H2 | Kind::Grpc | Kind::GrpcStream => return over_http2(target, &mut open.http2, &dice.fill(&target.path), deadline),
    };
    match outcome {
        Ok(word) => Outcome::Answered(word),
        Err(problem) => {
            *wire = None;
            Outcome::Failed(problem)
        }
    }
}

/// One request, call or message over HTTP/2.
fn over_http2(target: &Target, client: &mut http2::Client, path: &str, deadline: Instant) -> Outcome {
    let fresh = !client.follows();
    let outcome = match target.kind {
        Kind::H2 => client.get(target, path, deadline).and_then(|answer| word(answer.status, &answer.body).map_err(Ended::Failed)),
        Kind::GrpcStream => match client.next(target, path, deadline) {
            Ok(Next::Message(text)) => Ok(first_word(&text)),
            Ok(Next::End(text)) => return Outcome::Cut(text),
            Err(Ended::Failed(Failed::Closed(how))) if !fresh => return Outcome::Cut(format!("the connection {how}")),
            Err(problem) => Err(problem),
        },
        Kind::New | Kind::Keep | Kind::Tcp | Kind::TcpKeep | Kind::Ws | Kind::Grpc => {
            client.call(target, path, "ping", deadline).map(|text| first_word(&text))
        }
    };
    match outcome {
        Ok(word) => Outcome::Answered(word),
        Err(Ended::Refused) => Outcome::Refused,
        Err(Ended::Failed(problem)) => Outcome::Failed(problem),
    }
}

/// One HTTP request, on the connection that is there. It is not looked at before it is used.
fn request(target: &Target, wire: &mut Option<Wire>, dice: &mut Dice, deadline: Instant) -> Result<String, Failed> {
    let mut connection = match wire.take() {
        Some(wire) => wire,
        None => Wire::connect(&target.address, deadline)?,
    };
    connection.set_deadline(deadline);
    let header = if target.kind == Kind::New { "Connection: close\r\n" } else { "" };
    let answer = http::get(&mut connection, &target.host, &dice.fill(&target.path), header)?;
    if target.kind == Kind::Keep && !answer.closes {
        *wire = Some(connection);
    }
    word(answer.status, &answer.body)
}

/// The first word of a good answer.
fn word(status: u16, body: &[u8]) -> Result<String, Failed> {
    let text = String::from_utf8_lossy(body);
    if (200..300).contains(&status) {
        Ok(first_word(&text))
    } else {
        let excerpt: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect();
        Err(Failed::Answer(format!("status {status}: {excerpt}")))
    }
}

/// One line out, one line in.
fn line(wire: &mut Wire) -> Result<String, Failed> {
    wire.sink()?.extend_from_slice(b"ping\n");
    wire.flush()?;
    let answer = wire.line()?;
    if answer.ends_with(" ping") {
        Ok(first_word(&answer))
    } else {
        Err(Failed::Answer(format!("answered \"{answer}\" to the line \"ping\"")))
    }
}

/// One line on a connection that is meant to last. That the other end closes it is a cut; that it cannot be had is a failure.
fn long_lived(target: &Target, wire: &mut Option<Wire>, deadline: Instant) -> Outcome {
    let fresh = wire.is_none();
    let connected = match wire.take() {
        Some(wire) => Ok(wire),
        None => open(target, deadline),
    };
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(problem) => return Outcome::Failed(problem),
    };
    connection.set_deadline(deadline);
    if !fresh && connection.is_closed() {
        return Outcome::Cut("the connection was closed between two lines".to_owned());
    }
    match line(&mut connection) {
        Ok(word) => {
            *wire = Some(connection);
            Outcome::Answered(word)
        }
        Err(Failed::Closed(how)) if !fresh => Outcome::Cut(format!("the connection {how} with a line in flight")),
        Err(problem) => Outcome::Failed(problem),
    }
}

fn open(target: &Target, deadline: Instant) -> Result<Wire, Failed> {
    let mut wire = Wire::connect(&target.address, deadline)?;
    if target.kind == Kind::Ws {
        let header =
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZmxlZXQtdHJhZmZpYyEhIQ==\r\n";
        let answer = http::get(&mut wire, &target.host, &target.path, header)?;
        if answer.status != 101 {
            return Err(Failed::Answer(format!("status {} to an upgrade", answer.status)));
        }
    }
    Ok(wire)
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or("(empty)").chars().take(40).collect()
}

/// A small generator of numbers that look random; the same run gives the same numbers. (Steele and others, `SplitMix64`, 2014.)
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.roll() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    /// Replaces the first `{A-B}` of a path.
    fn fill(&mut self, path: &str) -> String {
        let range = path.split_once('{').and_then(|(before, rest)| rest.split_once('}').map(|(range, after)| (before, range, after)));
        let Some((before, range, after)) = range else { return path.to_owned() };
        match range.split_once('-').map(|(low, high)| (low.parse::<u64>(), high.parse::<u64>())) {
            Some((Ok(low), Ok(high))) if low <= high => format!("{before}{}{after}", low + self.roll() % (high - low + 1)),
            Some(_) | None => path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_in_a_path_becomes_a_number_within_it() {
        let mut dice = Dice(1);
        for _ in 0..100 {
            let path = dice.fill("/slow?ms={200-203}&x=1");
            let number: u64 = path.strip_prefix("/slow?ms=").unwrap().strip_suffix("&x=1").unwrap().parse().unwrap();
            assert!((200..=203).contains(&number));
        }
        assert_eq!(dice.fill("/a{b}"), "/a{b}");
    }
}
