//! One server, looked at from outside: its containers, its files, its answers. Faults are `vagrant/fleet`'s.
use crate::fleet::tool;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// No command on a server may take longer, seconds: a loop that waits for what never comes ends its test, and no later one.
const PATIENCE: u32 = 120;

/// The lease of a run that fell silent is free within 25 s, and a busy machine looks at it late.
pub(crate) const FREE_WITHIN: f64 = 27.0;

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// `server1` …
    pub(crate) name: String,
    /// Its address on the fleet's bridge.
    pub(crate) address: String,
}

/// What `docker ps -a` says of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// The whole id.
    pub(crate) id: String,
    /// `running`, `exited`, …
    pub(crate) state: String,
    /// The image's name.
    pub(crate) image: String,
    /// Ports, as docker writes them: those that the image merely names, too.
    ports: String,
}

impl Container {
    /// The ports that are published: `10.77.0.11:8925->8000/tcp`.
    pub(crate) fn published(&self) -> Vec<&str> {
        self.ports.split(", ").filter(|port| port.contains("->")).collect()
    }
}

impl Server {
    /// Runs a shell command as root and returns what it prints, whatever its exit code.
    pub(crate) fn run(&self, command: &str) -> String {
        let output = self.try_run(command);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a shell command as root, which must succeed.
    pub(crate) fn must(&self, command: &str) -> String {
        let output = self.try_run(command);
        assert!(output.status.success(), "on {}: {command}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn try_run(&self, command: &str) -> std::process::Output {
        let bounded = format!("timeout -k 1 {PATIENCE} bash -c {}", in_quotes(command));
        // The second bound is for a server that has fallen silent.
        let bound = (PATIENCE + 20).to_string();
        let output = Command::new("timeout")
            .args(["-k", "1", &bound])
            .arg(crate::fleet::program())
            .args(["ssh", &self.name, &bounded])
            .stdin(Stdio::null())
            .output()
            .expect("timeout runs");
        assert!(!matches!(output.status.code(), Some(124 | 137)), "on {}: {command}: took more than {PATIENCE} s", self.name);
        output
    }

    /// A fault, or its partner: `fault("cut", &[])`, `fault("occupy", &["18925"])`.
    pub(crate) fn fault(&self, what: &str, arguments: &[&str]) {
        let line: Vec<&str> = [what, &self.name].into_iter().chain(arguments.iter().copied()).collect();
        tool(&line);
    }

    /// Somebody else has this server's NGINX in hand: its next switch waits until it is let go, a minute at most.
    pub(crate) fn nginx_is_taken(&self) {
        let until = "n=0; until [ -e /tmp/let-go ] || [ $n -ge 300 ]; do sleep 0.2; n=$((n + 1)); done";
        self.must(&format!("rm -f /tmp/let-go; (setsid flock /local/flipside/nginx/lock sh -c '{until}' >/dev/null 2>&1 </dev/null &)"));
    }

    pub(crate) fn nginx_is_let_go(&self) {
        self.must("touch /tmp/let-go");
    }

    /// Leaves a shell there, which needs no connection, that writes down when the lease is no longer whose it is now. Answers with the
    /// time, in seconds by the server's uptime.
    pub(crate) fn watch_lease(&self) -> f64 {
        let watch = "n=0; until flock -s -n lease true || ! cmp -s holder /tmp/holder || [ $n -ge 900 ]; do sleep 0.1; n=$((n + 1)); done; \
                     cut -d \" \" -f 1 /proc/uptime >/tmp/free.new; mv /tmp/free.new /tmp/free";
        let begin = "cd /local/flipside/lock && rm -f /tmp/free && cp holder /tmp/holder && ! flock -s -n lease true";
        seconds(&self.must(&format!("{begin} && (setsid sh -c '{watch}' >/dev/null 2>&1 </dev/null &) && cut -d ' ' -f 1 /proc/uptime")))
    }

    /// When that was. It is waited for.
    pub(crate) fn lease_was_free_at(&self) -> f64 {
        seconds(&self.must("n=0; until [ -e /tmp/free ] || [ $n -ge 500 ]; do sleep 0.1; n=$((n + 1)); done; cat /tmp/free"))
    }

    /// All containers, running or not, by name.
    pub(crate) fn containers(&self) -> BTreeMap<String, Container> {
        self.must("docker ps -a --no-trunc --format '{{.Names}}|{{.ID}}|{{.State}}|{{.Image}}|{{.Ports}}'")
            .lines()
            .map(|line| {
                let mut fields = line.split('|').map(str::to_owned);
                let mut field = || fields.next().unwrap_or_default();
                (field(), Container { id: field(), state: field(), image: field(), ports: field() })
            })
            .collect()
    }

    /// The names of the containers that run and begin so, doors included.
    pub(crate) fn running(&self, prefix: &str) -> Vec<String> {
        let running = |container: &Container| container.state == "running";
        self.containers().into_iter().filter(|(name, found)| name.starts_with(prefix) && running(found)).map(|(name, _)| name).collect()
    }

    /// One request to port 80 of this server, without a retry: status and body. Status 0 where there is no HTTP answer at all.
    pub(crate) fn get(&self, host: &str, path: &str) -> (u16, String) {
        self.get_at(80, host, path)
    }

    /// The same at another port.
    pub(crate) fn get_at(&self, port: u16, host: &str, path: &str) -> (u16, String) {
        let ask = || -> std::io::Result<String> {
            let address = format!("{}:{port}", self.address).parse().expect("an address");
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        match ask() {
            Ok(answer) => {
                let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
                let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
                (status, body.to_owned())
            }
            Err(problem) => (0, problem.to_string()),
        }
    }

    /// Requests for public hosts that this server's NGINX has sent to a copy over there in vain, before it tried another one: how many, by host.
    pub(crate) fn tried_in_vain(&self, there: &Server) -> BTreeMap<String, u64> {
        let address = format!("{}:", there.address);
        let lines = self.must(&format!("docker logs flipside_nginx 2>/dev/null | grep -F ' {address}' || true"));
        let mut tried = BTreeMap::new();
        for line in lines.lines() {
            // The client, the host and the request; then, among others, the copies that were tried, with commas between them.
            let [_, host, _, _, rest] = line.splitn(5, '"').collect::<Vec<_>>()[..] else { continue };
            if rest.split(' ').any(|word| word.starts_with(&address) && word.ends_with(',')) {
                *tried.entry(host.to_owned()).or_default() += 1;
            }
        }
        tried
    }

    /// A line from a process of this server, outside all containers, to a port of its localhost, and the line that comes back.
    pub(crate) fn line_to_localhost(&self, port: u16, line: &str) -> String {
        let program = "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0], Timeout => 5) \
                       or die \"cannot connect: $!\\n\"; print $s \"$ARGV[1]\\n\"; $s->flush; print scalar(<$s>) // 'closed';";
        self.run(&format!("perl -e {} {port} {line} 2>&1", in_quotes(program))).trim().to_owned()
    }

    /// So many lines or datagrams from a process of this server to a port of its localhost, each over a new connection, or from a new port:
    /// how many of them each first word answered. `closed` stands for no answer.
    pub(crate) fn answers_of_localhost(&self, protocol: &str, port: u16, n: u64) -> BTreeMap<String, u64> {
        let program = "use IO::Socket::INET; my %seen; for (1 .. $ARGV[2]) { my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', \
                       PeerPort => $ARGV[1], Proto => $ARGV[0], Timeout => 5); my $line = ''; if ($s) { $s->send(\"hello\\n\"); \
                       eval { local $SIG{ALRM} = sub { die }; alarm 5; $s->recv($line, 4096); alarm 0 } } \
                       $seen{(split / /, $line)[0] // 'closed'}++ } print \"$_ $seen{$_}\\n\" for keys %seen;";
        let said = self.must(&format!("perl -e {} {protocol} {port} {n}", in_quotes(program)));
        said.lines().filter_map(|line| line.split_once(' ')).map(|(word, n)| (word.to_owned(), n.parse().expect("a number"))).collect()
    }

    /// The second word that each line of so many is answered with, from a process of this server to a port of its localhost, each over a
    /// connection of its own that stays open. Those that the first word answered are closed then, and a few more are opened.
    pub(crate) fn names_of_localhost(&self, port: u16, n_first: usize, n_then: usize) -> Vec<String> {
        let program = "use IO::Socket::INET; alarm 60; sub one { my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0], \
                       Timeout => 5) or die \"cannot connect: $!\\n\"; $s->send(\"who\\n\"); my $line = <$s> // ''; \
                       [$s, (split / /, $line)[1] // 'closed'] } my @open = map { one() } 1 .. $ARGV[1]; my @names = map { $_->[1] } @open; \
                       if ($ARGV[2]) { @open = grep { $_->[1] ne $names[0] } @open; sleep 3; push @open, map { one() } 1 .. $ARGV[2]; \
                       push @names, map { $_->[1] } @open[-$ARGV[2] .. -1] } print \"$_\\n\" for @names;";
        self.must(&format!("perl -e {} {port} {n_first} {n_then}", in_quotes(program))).lines().map(str::to_owned).collect()
    }

    /// A datagram from a process of this server to a port of its localhost, and the one that comes back within five seconds.
    pub(crate) fn datagram_to_localhost(&self, port: u16, text: &str) -> String {
        let program = "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0], Proto => 'udp') \
                       or die \"cannot connect: $!\\n\"; $SIG{ALRM} = sub { print 'no answer'; exit 0 }; alarm 5; $s->send($ARGV[1]); \
                       $s->recv(my $answer, 4096); print $answer;";
        self.run(&format!("perl -e {} {port} {text} 2>&1", in_quotes(program))).trim().to_owned()
    }
}

/// A port that NGINX reaches on no server, and that answers the servers' own processes: what asks a container whether it is healthy is one.
/// Dropped, it is reached again.
pub(crate) struct Blocked {
    servers: Vec<Server>,
    port: u16,
    /// What becomes of a connection.
    fate: &'static str,
}

impl Blocked {
    /// It refuses connections.
    pub(crate) fn new(servers: &[Server], port: u16) -> Self {
        Self::with(servers, port, "REJECT --reject-with tcp-reset")
    }

    /// Nothing answers there: whoever connects waits until he has enough of it.
    pub(crate) fn silently(server: &Server, port: u16) -> Self {
        Self::with(std::slice::from_ref(server), port, "DROP")
    }

    fn with(servers: &[Server], port: u16, fate: &'static str) -> Self {
        let blocked = Self { servers: servers.to_vec(), port, fate };
        let rules = blocked.rules("-I");
        thread::scope(|scope| blocked.servers.iter().for_each(|server| drop(scope.spawn(|| server.must(&rules)))));
        blocked
    }

    /// What comes from containers and other servers is forwarded, or taken in by Docker's own proxy.
    fn rules(&self, word: &str) -> String {
        let (port, fate) = (self.port, self.fate);
        let forwarded = format!("iptables {word} FORWARD -p tcp -m conntrack --ctorigdstport {port} --ctdir ORIGINAL -j {fate}");
        format!("{forwarded} && iptables {word} INPUT ! -i lo -p tcp --dport {port} -j {fate}")
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.servers.iter().for_each(|server| drop(server.run(&self.rules("-D"))));
    }
}

fn seconds(text: &str) -> f64 {
    text.trim().parse().unwrap_or_else(|problem| panic!("{problem}: {text}"))
}

/// One word for a shell.
pub(crate) fn in_quotes(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
