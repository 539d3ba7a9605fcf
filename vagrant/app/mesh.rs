//! Calls to other services from inside the app's container, as an app makes them: no retry, one deadline.
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to `localhost` at the port in `APP_FIRST_CALL`, or in the variable that `APP_FIRST_CALL_VAR` names, if either is set.
pub(crate) fn first_call() -> Result<(), String> {
    let port = match (env::var("APP_FIRST_CALL"), env::var("APP_FIRST_CALL_VAR")) {
        (Ok(port), _) => port,
        (Err(_), Ok(variable)) => env::var(&variable).map_err(|_| format!("APP_FIRST_CALL_VAR names {variable}, which is not set"))?,
        (Err(_), Err(_)) => return Ok(()),
    };
    let number = port.parse().map_err(|_| format!("\"{port}\" is not a port for the first call"))?;
    connect("localhost", number).map(drop).map_err(|problem| format!("first call to localhost:{number} failed: {problem}"))
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    // A static binary in an empty image has no resolver configuration to trust for this one name.
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let mut last = std::io::Error::other(format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(problem) => last = problem,
        }
    }
    Err(last)
}

/// One HTTP request. Returns the answer without its headers: the status line for any status but 200, then the body.
pub(crate) fn call_http(host: &str, port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = connect(host, port)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Ok(answer) };
    let status = head.lines().next().unwrap_or_default();
    Ok(if status.contains(" 200 ") { body.to_owned() } else { format!("{status}\n{body}") })
}

/// One line sent, one line read.
pub(crate) fn call_line(host: &str, port: u16, line: &str) -> std::io::Result<String> {
    let mut stream = connect(host, port)?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
