//! HTTP/1.1 as far as this app needs it: keep-alive, bodies with a length or in chunks, an upgrade. No TLS, no compression.
use crate::lines;
use crate::lives::Lives;
use crate::routes::{self, Answer};
use crate::settings::Settings;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;

/// The longest head and the longest body that are read, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// One request, read to its end.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// As they came, names and all.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    old: bool,
}

impl Request {
    /// The first header of this name, whatever its case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The client wants the connection to stay.
    fn keeps(&self) -> bool {
        let wish = self.header("connection").unwrap_or_default().to_ascii_lowercase();
        if self.old { wish.contains("keep-alive") } else { !wish.contains("close") }
    }
}

/// Serves one connection to its end.
pub(crate) fn serve(stream: TcpStream, settings: &Settings, lives: &Lives) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while !reader.fill_buf()?.is_empty() {
        let flight = lives.begin();
        let request = read_request(&mut reader, &mut writer)?;
        let answer = routes::answer(&request, settings, lives);
        let keep = request.keeps() && !lives.is_ending();
        let head = |status: &str, more: &str| {
            let connection = if keep { "keep-alive" } else { "close" };
            format!("HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n{more}\r\nConnection: {connection}\r\n\r\n")
                .into_bytes()
        };
        match answer {
            Answer::Page { status, body } => {
                let mut bytes = head(status, &format!("Content-Length: {}", body.len()));
                if request.method != "HEAD" {
                    bytes.extend_from_slice(&body);
                }
                writer.write_all(&bytes)?;
            }
            Answer::Redirect(location) => writer.write_all(&head("302 Found", &format!("Location: {location}\r\nContent-Length: 0")))?,
            Answer::Pieces { number, pause, with_length } => {
                let pieces: Vec<String> = (1..=number).map(|n| format!("{} {} {n}\n", settings.version, settings.name)).collect();
                let length = format!("Content-Length: {}", pieces.concat().len());
                writer.write_all(&head("200 OK", if with_length { &length } else { "Transfer-Encoding: chunked" }))?;
                for piece in pieces {
                    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
                    writer.write_all(if with_length { piece.as_bytes() } else { chunk.as_bytes() })?;
                    thread::sleep(pause);
                }
                writer.write_all(if with_length { b"" } else { b"0\r\n\r\n" })?;
            }
            Answer::Upgrade => {
                writer.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")?;
                drop(flight);
                return lines::echo(&mut reader, writer, settings, lives);
            }
        }
        drop(flight);
        if !keep {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead, writer: &mut impl Write) -> std::io::Result<Request> {
    let mut left = HEAD_LIMIT;
    let first = read_line(reader, &mut left)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(Error::new(ErrorKind::InvalidData, "not a request line"));
    };
    let mut request =
        Request { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new(), old: version == "HTTP/1.0" };
    loop {
        let line = read_line(reader, &mut left)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| Error::new(ErrorKind::InvalidData, "not a header"))?;
        request.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        read_chunks(reader, &mut request.body)?;
    } else if let Some(length) = request.header("content-length") {
        let length = length.parse().map_err(|_| Error::new(ErrorKind::InvalidData, "not a length"))?;
        read_body(reader, length, &mut request.body)?;
    }
    Ok(request)
}

/// Reads a line without its end, within what is left of the limit.
fn read_line(reader: &mut impl BufRead, left: &mut usize) -> std::io::Result<String> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(*left as u64).read_until(b'\n', &mut line)?;
    *left -= read;
    if line.pop() != Some(b'\n') {
        return Err(Error::new(ErrorKind::UnexpectedEof, "a line without an end"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn read_body(reader: &mut impl BufRead, length: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    if body.len().saturating_add(length) > BODY_LIMIT {
        return Err(Error::new(ErrorKind::InvalidData, "the body is too long"));
    }
    let start = body.len();
    body.resize(start + length, 0);
    reader.read_exact(&mut body[start..])
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let size = read_line(reader, &mut HEAD_LIMIT.clone())?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| Error::new(ErrorKind::InvalidData, "not a chunk"))?;
        read_body(reader, length, body)?;
        let end = read_line(reader, &mut HEAD_LIMIT.clone())?;
        if length == 0 && end.is_empty() {
            return Ok(());
        }
    }
}
