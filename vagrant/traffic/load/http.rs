//! The client's half of HTTP/1.1: one request out, one whole answer in. No redirects, no compression, no second try.
use super::exchange::{Failed, Wire};
use std::io::Write;

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The server said that it closes.
    pub(super) closes: bool,
    pub(super) body: Vec<u8>,
}

/// Sends a GET request and reads its answer, before the wire's deadline.
pub(super) fn get(wire: &mut Wire, host: &str, path: &str, connection: &str) -> Result<Answer, Failed> {
    write!(wire.sink()?, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{connection}User-Agent: fleet-traffic\r\n\r\n")?;
    wire.flush()?;
    loop {
        let answer = read(wire)?;
        // 1xx but for 101 announces another answer.
        if !(100..200).contains(&answer.status) || answer.status == 101 {
            return Ok(answer);
        }
    }
}

fn read(wire: &mut Wire) -> Result<Answer, Failed> {
    let status_line = wire.line()?;
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| Failed::Answer(format!("not an HTTP answer: \"{status_line}\"")))?;
    let mut closes = status_line.starts_with("HTTP/1.0");
    let (mut length, mut chunked) = (None, false);
    loop {
        let line = wire.line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| Failed::Answer(format!("not a header: \"{line}\"")))?;
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse().map_err(|_| Failed::Answer(format!("not a length: \"{value}\"")))?),
            "transfer-encoding" => chunked = value.contains("chunked"),
            "connection" if value.contains("close") => closes = true,
            _ => {}
        }
    }
    let mut body = Vec::new();
    match (chunked, length) {
        _ if status < 200 || status == 204 || status == 304 => {}
        (true, _) => loop {
            let size = wire.line()?;
            let length = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| Failed::Answer(format!("not a chunk: \"{size}\"")))?;
            wire.read_exactly(length, &mut body)?;
            if wire.line()?.is_empty() && length == 0 {
                break;
            }
        },
        (false, Some(length)) => wire.read_exactly(length, &mut body)?,
        (false, None) => {
            closes = true;
            wire.read_to_end(&mut body)?;
        }
    }
    Ok(Answer { status, closes, body })
}
