//! Bodies of requests for the shop's public host: sent at once, or piece by piece, and what of them has reached a container. Deliberately
//! absent: what is expected of them (see `outside`).
use crate::project::Project;
use crate::server::{Server, in_quotes};
use crate::tls::curl_of;
use crate::traffic::HOST;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub(crate) const MIB: u64 = 1 << 20;
/// What an upload sends at a time: more than NGINX takes in along with a request's head.
pub(crate) const PIECE: usize = 64 << 10;

/// Sends so many bytes at once, framed by their `Content-Length` or `chunked`: the status, and how many bytes came back.
pub(crate) fn post(project: &Project, server: &Server, path: &str, length: u64, framing: &str) -> (u16, u64) {
    let body = project.path("body");
    File::create(&body).and_then(|file| file.set_len(length)).expect("a file");
    let mut command = curl_of(project, server, HOST);
    command.arg("--data-binary").arg(format!("@{}", body.display())).args(["-H", "Expect:"]);
    if framing == "chunked" {
        command.args(["-H", "Transfer-Encoding: chunked"]);
    }
    let output = command.args(["-o", "/dev/null", "-w", "%{http_code} %{size_download}"]).arg(format!("http://{HOST}{path}")).output();
    let said = String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned();
    let numbers = said.split_once(' ').and_then(|(status, size)| Some((status.parse().ok()?, size.parse().ok()?)));
    numbers.unwrap_or_else(|| panic!("curl said: {said}"))
}

/// A body on its way, in chunks, of which nobody knows how many there will be.
pub(crate) struct Upload {
    stream: TcpStream,
    path: String,
    /// How many bytes have been sent of it.
    pub(crate) sent: usize,
}

impl Upload {
    /// Sends the head of a request, and a first piece of its body.
    pub(crate) fn begin(server: &Server, path: &str) -> Self {
        let mut stream = TcpStream::connect((server.address.as_str(), 80)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a bound");
        let head = format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it is sent");
        let mut upload = Self { stream, path: path.to_owned(), sent: 0 };
        upload.go_on();
        upload
    }

    /// Sends another piece.
    pub(crate) fn go_on(&mut self) {
        let piece = "x".repeat(PIECE);
        write!(self.stream, "{PIECE:x}\r\n{piece}\r\n").unwrap_or_else(|problem| panic!("{} was cut: {problem}", self.path));
        self.sent += PIECE;
    }

    /// Ends the body. It is answered with 200, and comes back whole.
    pub(crate) fn end(mut self) {
        self.stream.write_all(b"0\r\n\r\n").unwrap_or_else(|problem| panic!("{} was cut: {problem}", self.path));
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap_or_else(|problem| panic!("{} was cut: {problem}: {answer}", self.path));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.starts_with("HTTP/1.1 200 "), "{}: {head}", self.path);
        assert_eq!(body.matches('x').count(), self.sent, "{}: {head}", self.path);
    }
}

/// A connection that the container has open at port 8000 has brought it so many bytes, wherever it runs.
pub(crate) fn arrived(servers: &[Server], container: &str, n_bytes: usize) -> bool {
    let runs = |server: &&Server| server.containers().get(container).is_some_and(|container| container.state == "running");
    let server = servers.iter().find(runs).unwrap_or_else(|| panic!("{container} runs nowhere"));
    let asked = format!("nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' {container}) -n ss -tinH state established 'sport = :8000'");
    let said = server.must(&asked);
    let received = said.split_whitespace().filter_map(|word| word.strip_prefix("bytes_received:"));
    received.filter_map(|number| number.parse::<usize>().ok()).any(|received| received >= n_bytes)
}

/// A request to a port of the server's localhost, whose body is sent in so many pieces, one a second: its status, and how much came back.
/// With none, it is a GET.
pub(crate) fn by_the_door(server: &Server, port: u16, path: &str, n_pieces: usize) -> String {
    let program = "use IO::Socket::INET; my ($port, $path, $n, $size) = @ARGV; \
                   my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die \"cannot connect: $!\\n\"; $s->autoflush(1); \
                   my $body = $n ? \"Transfer-Encoding: chunked\\r\\n\" : ''; \
                   print $s ($n ? 'POST' : 'GET').\" $path HTTP/1.1\\r\\nHost: localhost\\r\\n${body}Connection: close\\r\\n\\r\\n\"; \
                   for (1..$n) { printf $s \"%x\\r\\n%s\\r\\n\", $size, 'x' x $size; sleep 1 } print $s \"0\\r\\n\\r\\n\" if $n; \
                   local $/; my ($head, $back) = split /\\r\\n\\r\\n/, <$s> // 'nothing', 2; print substr($head, 9, 3), ' ', ($back // '') =~ tr/x//;";
    server.run(&format!("perl -e {} {port} {} {n_pieces} {PIECE} 2>&1", in_quotes(program), in_quotes(path))).trim().to_owned()
}
