//! The app that the local fleet deploys: it tells its version and where it runs, over HTTP, TCP, UDP or gRPC, and misbehaves on request.
//!
//! Nothing of Flipside is in it: it stands for anybody's app. It is linked statically and is the only file of its image.
//! Deliberately absent: async but for gRPC (a thread per connection is enough, and easy to believe), TLS, and any retry.
mod grpc;
mod http;
mod lines;
mod lives;
mod mesh;
mod routes;
mod settings;

use lives::Lives;
use settings::{Mode, Settings};
use std::net::{TcpListener, UdpSocket};
use std::process::exit;
use std::sync::Arc;
use std::thread;

fn main() {
    // Before anything else: an app whose very first instruction needs another service.
    if let Err(problem) = mesh::first_call() {
        leave(1, &problem);
    }
    let settings = match Settings::read() {
        Ok(settings) => Arc::new(settings),
        Err(problem) => leave(2, &problem),
    };
    if settings.behaviour.exits {
        leave(1, "configuration key DATABASE_URL is missing");
    }
    let lives = Arc::new(Lives::new(settings.behaviour.unhealthy));
    if let Err(problem) = lives::obey_term(&settings.behaviour, &lives) {
        leave(1, &problem);
    }
    if let Some(after) = settings.behaviour.crash_after {
        thread::spawn(move || {
            thread::sleep(after);
            leave(3, "out of luck: crashing as told")
        });
    }
    thread::sleep(settings.behaviour.slow_start);
    eprintln!("{} {} speaks {} on port {}", settings.version, settings.name, settings.mode, settings.listen_port());
    if let Some(port) = settings.http_port {
        eprintln!("and http on port {port}");
        let listener =
            TcpListener::bind(("0.0.0.0", port)).unwrap_or_else(|problem| leave(1, &format!("cannot listen on port {port}: {problem}")));
        let (settings, lives) = (Arc::clone(&settings), Arc::clone(&lives));
        thread::spawn(move || accept(&listener, Mode::Http, &settings, &lives));
    }
    match serve(&settings, &lives) {
        Ok(never) => match never {},
        Err(problem) => leave(1, &format!("cannot listen on port {}: {problem}", settings.listen_port())),
    }
}

/// Says why on stderr, and ends the process.
fn leave(code: i32, reason: &str) -> ! {
    eprintln!("{reason}");
    exit(code)
}

/// Serves until the process ends.
fn serve(settings: &Arc<Settings>, lives: &Arc<Lives>) -> std::io::Result<std::convert::Infallible> {
    let address = ("0.0.0.0", settings.listen_port());
    match settings.mode {
        Mode::Udp => lines::serve_udp(&UdpSocket::bind(address)?, settings),
        Mode::Http | Mode::Tcp | Mode::Grpc => accept(&TcpListener::bind(address)?, settings.mode, settings, lives),
    }
}

/// Takes connections for ever.
fn accept(listener: &TcpListener, mode: Mode, settings: &Arc<Settings>, lives: &Arc<Lives>) -> ! {
    loop {
        // An accept fails for reasons that pass: the client hung up, or descriptors are short for a moment.
        let Ok((stream, _)) = listener.accept() else { continue };
        let (settings, lives) = (Arc::clone(settings), Arc::clone(lives));
        let spawned = thread::Builder::new().stack_size(512 * 1024).spawn(move || {
            // A client that hangs up in the middle is no event for this app.
            drop(match mode {
                Mode::Tcp => lines::serve_tcp(stream, &settings, &lives),
                Mode::Grpc => grpc::serve(stream, &settings, &lives),
                Mode::Http | Mode::Udp => http::serve(stream, &settings, &lives),
            });
        });
        if let Err(problem) = spawned {
            eprintln!("a connection was refused: {problem}");
        }
    }
}
