//! Requests through the servers' NGINX while a run goes on: over tunnels of the connections that the run has anyway, each on a connection
//! of its own behind the tunnel, none repeated. Deliberately absent: making a connection to a server, counting, and judging.
use super::servers::Servers;
use super::ssh::{Connection, Tunnel, TunnelError};
use crate::model::{Answer, Millis, ProbeAsk, ProbeAt, ProbeTarget, Sample};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// A target is asked this often, and never while its last request is under way.
const EVERY: Duration = Duration::from_millis(200);
/// All targets together are asked no more often than this: 500 times a second.
const APART: Duration = Duration::from_millis(2);
/// A TCP service says nothing before it is asked. Where NGINX has no backend for a connection, it closes it at once.
const SILENCE: Duration = Duration::from_millis(150);
/// A sign of life of the SSH connection comes this soon, where a request gets no answer for want of one and not for want of a connection.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// More of an answer is not read, bytes.
const MOST: u64 = 1024 * 1024;

/// Sends requests. When it is dropped, those that are under way are forgotten.
pub struct Prober {
    servers: Servers,
    every: Duration,
    tell: UnboundedSender<Sample>,
    running: BTreeMap<ProbeAt, oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Prober {
    /// Sends nothing yet. `n_targets` is how many there will be at most: with more than a hundred, each is asked less often.
    #[must_use]
    pub fn new(servers: &Servers, n_targets: usize, tell: UnboundedSender<Sample>) -> Prober {
        let together = APART.saturating_mul(u32::try_from(n_targets).unwrap_or(u32::MAX));
        Prober { servers: servers.clone(), every: EVERY.max(together), tell, running: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Asks there again and again from now on.
    pub fn begin(&mut self, target: ProbeTarget) {
        if self.running.contains_key(&target.at) {
            return;
        }
        let (keep, ended) = oneshot::channel();
        // Spread over the interval, so that not all are asked in one moment.
        let first = APART.saturating_mul(u32::try_from(self.running.len()).unwrap_or(0)).min(self.every);
        self.running.insert(target.at.clone(), keep);
        let client = Client { servers: self.servers.clone(), target, connection: None, socket_opened: false };
        self.tasks.spawn(client.ask_again_and_again(first, self.every, ended, self.tell.clone()));
    }

    /// Asks there no more. What is under way still comes back.
    pub fn end(&mut self, at: &ProbeAt) {
        self.running.remove(at);
    }

    /// Asks nowhere any more. What is under way still comes back.
    pub fn end_all(&mut self) {
        self.running.clear();
    }

    /// Asks nowhere any more, and waits for what is under way: as long as the longest request may take, and a little.
    pub async fn finish(&mut self) {
        self.end_all();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Asks one target.
struct Client {
    servers: Servers,
    target: ProbeTarget,
    connection: Option<Connection>,
    /// A tunnel to the unix socket was opened once. sshd answers in the same way where nobody listens and where it forbids such tunnels:
    /// without this nothing is known.
    socket_opened: bool,
}

/// Why a request is not one that went well.
enum Trouble {
    /// NGINX, or what is behind it, did not answer as it should.
    Seen(String),
    /// It may be NGINX, or the way there.
    Unclear(String),
    /// It never got there.
    Way(String),
}

impl Client {
    async fn ask_again_and_again(
        mut self,
        first: Duration,
        every: Duration,
        mut ended: oneshot::Receiver<()>,
        tell: UnboundedSender<Sample>,
    ) {
        sleep(first).await;
        loop {
            let at = Instant::now();
            let began =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            let (answer, took) = self.ask().await;
            if tell.send(Sample { at: self.target.at.clone(), began, took, answer }).is_err() {
                return;
            }
            tokio::select! {
                () = sleep(every.saturating_sub(at.elapsed())) => {}
                _ = &mut ended => return,
            }
        }
    }

    async fn ask(&mut self) -> (Answer, Millis) {
        let began = Instant::now();
        let took = || Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let Some(connection) = self.connection().await else {
            return (Answer::Unmeasured("there was no SSH connection".to_owned()), took());
        };
        let half = self.target.within.duration() / 2;
        let mut request = pin!(once(&connection, &self.target, &mut self.socket_opened));
        // A network that fails and comes back would look like an NGINX that does not answer, if it were only asked afterwards.
        let (answer, was_alive) = match timeout(half, &mut request).await {
            Ok(answer) => (Ok(answer), true),
            Err(_) => tokio::join!(timeout(half, &mut request), is_alive(&connection)),
        };
        let took = took();
        let is_unclear = matches!(answer, Ok(Err(Trouble::Unclear(_))) | Err(_));
        if is_unclear && !(was_alive && is_alive(&connection).await) {
            return (Answer::Unmeasured("the SSH connection was silent".to_owned()), took);
        }
        let answer = match answer {
            Ok(Ok(())) => Answer::Good,
            Ok(Err(Trouble::Seen(seen) | Trouble::Unclear(seen))) => Answer::Bad(self.servers.redactor.redact(&seen)),
            Ok(Err(Trouble::Way(seen))) => Answer::Unmeasured(seen),
            Err(_) => Answer::Bad(format!("no answer within {}", self.target.within)),
        };
        (answer, took)
    }

    /// The run's connection to the server, as long as there is one. None is made: that is for the run to do.
    async fn connection(&mut self) -> Option<Connection> {
        if let Some(connection) = &self.connection
            && timeout(Duration::ZERO, connection.lost()).await.is_err()
        {
            return Some(connection.clone());
        }
        self.connection = self.servers.present_connection(&self.target.at.server).await;
        self.connection.clone()
    }
}

/// The server answers over SSH. It is asked for the port that nothing listens on, which sshd refuses without asking anybody.
pub(super) async fn is_alive(connection: &Connection) -> bool {
    match connection.tunnel("127.0.0.1", 9, SIGN_OF_LIFE).await {
        Ok(_) | Err(TunnelError::Refused { .. } | TunnelError::Forbidden { .. } | TunnelError::Failed { .. }) => true,
        Err(TunnelError::Lost { .. } | TunnelError::Deadline { .. }) => false,
    }
}

async fn once(connection: &Connection, target: &ProbeTarget, socket_opened: &mut bool) -> Result<(), Trouble> {
    let mut tunnel = open(connection, target, socket_opened).await?;
    match &target.ask {
        ProbeAsk::Tcp => match timeout(SILENCE, tunnel.read(&mut [0; 64])).await {
            Err(_) | Ok(Ok(1..)) => Ok(()),
            Ok(Ok(0)) => Err(Trouble::Seen("the connection was closed without a word".to_owned())),
            Ok(Err(error)) => Err(broken(&error)),
        },
        ProbeAsk::Http { path, host } => {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: flipside-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n");
            tunnel.write_all(request.as_bytes()).await.map_err(|error| broken(&error))?;
            let mut answer = Vec::new();
            tunnel.take(MOST).read_to_end(&mut answer).await.map_err(|error| broken(&error))?;
            judge(&answer).map_err(Trouble::Seen)
        }
    }
}

fn broken(error: &std::io::Error) -> Trouble {
    Trouble::Unclear(format!("the connection broke: {error}"))
}

async fn open(connection: &Connection, target: &ProbeTarget, socket_opened: &mut bool) -> Result<Tunnel, Trouble> {
    let within = target.within.duration();
    if let Some(port) = target.door {
        return connection.tunnel("127.0.0.1", port, within).await.map_err(trouble);
    }
    match connection.tunnel_unix(&target.socket, within).await {
        Ok(tunnel) => {
            *socket_opened = true;
            Ok(tunnel)
        }
        Err(TunnelError::Refused { to, .. }) if !*socket_opened => Err(Trouble::Way(format!("sshd opens no tunnel to {to}"))),
        Err(error) => Err(trouble(error)),
    }
}

fn trouble(error: TunnelError) -> Trouble {
    match error {
        TunnelError::Refused { to, .. } => Trouble::Seen(format!("nothing answers at {to}")),
        TunnelError::Deadline { to, .. } => Trouble::Unclear(format!("nothing answers at {to}")),
        TunnelError::Forbidden { to, .. } => Trouble::Way(format!("sshd forbids forwarding to {to}")),
        TunnelError::Lost { reason, .. } => Trouble::Way(format!("the SSH connection was lost: {reason}")),
        TunnelError::Failed { seen, .. } => Trouble::Way(seen),
    }
}

/// Any answer below 500 that came to its end is one.
fn judge(answer: &[u8]) -> Result<(), String> {
    if answer.is_empty() {
        return Err("the connection was closed without an answer".to_owned());
    }
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or_default();
    let status: Option<u16> = line.strip_prefix("HTTP/").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse().ok());
    match status {
        Some(code @ ..=499) => code,
        Some(code) => return Err(format!("status {code}")),
        None => return Err(format!("an answer that is not HTTP: {line:.60}")),
    };
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Err("cut off in the head of the answer".to_owned());
    };
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), answer.len() - end - 4);
    let header = |wanted: &str| {
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
    };
    if u64::try_from(answer.len()).unwrap_or(MOST) >= MOST {
        return Ok(());
    }
    if let Some(length) = header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        return if body < length { Err(format!("cut off after {body} of {length} bytes")) } else { Ok(()) };
    }
    let chunked = header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if chunked && !answer.ends_with(b"0\r\n\r\n") { Err("cut off in the middle of the answer".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_and_below_500() {
        for good in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nup\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.0 302 Found\r\n\r\nto the end of the connection",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n",
        ] {
            assert_eq!(judge(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "without an answer"),
            ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "status 502"),
            ("HTTP/1.1 200 OK\r\nContent-Le", "in the head"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup", "2 of 9 bytes"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n", "in the middle"),
            ("SSH-2.0-x\r\n", "not HTTP"),
        ] {
            assert!(judge(bad.as_bytes()).unwrap_err().contains(why), "{bad}");
        }
    }
}
