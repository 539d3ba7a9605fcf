//! What the app answers, path by path. Every path takes its parameters from the query; any method will do.
use crate::http::Request;
use crate::lives::Lives;
use crate::mesh;
use crate::settings::Settings;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Memory that was asked for and is never given back.
static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// What goes back to the client.
pub(crate) enum Answer {
    /// A page.
    Page {
        /// Code and reason.
        status: &'static str,
        /// The whole body.
        body: Vec<u8>,
    },
    /// A page of which one piece after the other is sent.
    Pieces {
        /// One greeting each.
        number: u64,
        /// Between two of them.
        pause: Duration,
        /// Its length is told before; otherwise it comes in chunks.
        with_length: bool,
    },
    /// The client is to ask there.
    Redirect(String),
    /// From here on the connection is a line echo.
    Upgrade,
}

fn page(body: impl Into<Vec<u8>>) -> Answer {
    Answer::Page { status: "200 OK", body: body.into() }
}

fn refuse(status: &'static str, reason: impl std::fmt::Display) -> Answer {
    Answer::Page { status, body: format!("{reason}\n").into_bytes() }
}

/// Answers one request.
pub(crate) fn answer(request: &Request, settings: &Settings, lives: &Lives) -> Answer {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let parameter = |name: &str| parameter(query, name);
    let number = |name: &str, default: u64| parameter(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let greeting = || format!("{} {}\n", settings.version, settings.name);
    match path {
        "/" => page(greeting()),
        "/up" if lives.is_well() => page("up\n"),
        "/up" => refuse("503 Service Unavailable", "the app says that it is not well"),
        "/slow" => {
            thread::sleep(Duration::from_millis(number("ms", 1000)));
            page(greeting())
        }
        "/pieces" => Answer::Pieces {
            number: number("n", 3),
            pause: Duration::from_millis(number("ms", 1000)),
            with_length: number("length", 0) > 0,
        },
        "/redirect" => Answer::Redirect(parameter("to").unwrap_or_default()),
        "/headers" => page(request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()),
        "/echo" => page(request.body.clone()),
        "/env" => page(
            std::env::vars_os().map(|(key, value)| format!("{}={}\n", key.to_string_lossy(), value.to_string_lossy())).collect::<String>(),
        ),
        "/fail" => {
            lives.toggle_health();
            page(if lives.is_well() { "well\n" } else { "not well\n" })
        }
        "/exit" => {
            eprintln!("told to exit by a request");
            std::process::exit(i32::try_from(number("code", 1)).unwrap_or(1))
        }
        "/leak" => {
            let megabytes = usize::try_from(number("mb", 1)).unwrap_or(1);
            // Written, so that the kernel really hands it out.
            LEAKED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(vec![1; megabytes * 1024 * 1024]);
            page(greeting())
        }
        "/ws" if request.header("upgrade").is_some() => Answer::Upgrade,
        "/ws" => refuse("426 Upgrade Required", "this path wants an Upgrade header"),
        "/call" => call(
            &parameter("host").unwrap_or_else(|| "localhost".to_owned()),
            u16::try_from(number("port", 0)).unwrap_or(0),
            parameter("line").as_deref(),
            &parameter("path").unwrap_or_else(|| "/".to_owned()),
        ),
        "/file" => match std::fs::read(parameter("path").unwrap_or_default()) {
            Ok(bytes) => page(bytes),
            Err(problem) => refuse("404 Not Found", problem),
        },
        "/append" => match append(&parameter("path").unwrap_or_default(), &parameter("text").unwrap_or_default()) {
            Ok(()) => page(greeting()),
            Err(problem) => refuse("500 Internal Server Error", problem),
        },
        _ => refuse("404 Not Found", "there is no such path"),
    }
}

/// Calls another service: with `line`, a line over TCP; otherwise an HTTP request.
fn call(host: &str, port: u16, line: Option<&str>, path: &str) -> Answer {
    let called = match line {
        Some(line) => mesh::call_line(host, port, line),
        None => mesh::call_http(host, port, path),
    };
    match called {
        Ok(text) => page(text),
        Err(problem) => refuse("502 Bad Gateway", format!("{host}:{port}: {problem}")),
    }
}

fn append(path: &str, text: &str) -> std::io::Result<()> {
    writeln!(OpenOptions::new().create(true).append(true).open(path)?, "{text}")
}

/// One parameter of a query, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| decode(value))
}

/// `%2F` is `/`, `+` is a space; what is not such a pair stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair =
            bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (bytes[at], pair) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
