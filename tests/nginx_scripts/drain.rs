//! The drain: whom it waits for, by the kernel's own tables. This test's connections are NGINX's.
use crate::Server;
use flipside::model::{Backend, DrainPolicy, Millis};
use flipside::script::nginx::drain;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Waits for a connection from NGINX to a backend, in the state that `end` leaves it in, beside an old worker that never goes.
fn drained(end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    drained_by("exec \"$@\"", end)
}

/// The same, with a body of shell that runs the script.
fn drained_by(run: &str, end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    drained_beside(Vec::new(), run, end)
}

/// The same, beside an old worker that holds these sockets, at most three.
fn drained_beside(held: Vec<TcpStream>, run: &str, end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    // The script runs here instead of in a container: this test's connections are NGINX's, and all old workers of this machine are its own.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::new(&format!("shift 2\n{run}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let nginx = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (backend, _) = listener.accept().unwrap();
    let nginx = end(nginx, &backend);
    let mut worker = Command::new("sleep");
    worker.arg0("nginx: worker process is shutting down").arg("20");
    let mut held = held.into_iter().map(OwnedFd::from);
    worker.stdin(held.next().map_or(Stdio::null(), Stdio::from));
    worker.stdout(held.next().map_or(Stdio::null(), Stdio::from));
    worker.stderr(held.next().map_or(Stdio::null(), Stdio::from));
    let mut worker = worker.spawn().unwrap();
    let policy = DrainPolicy { quiet: Millis(0), timeout: Millis(300) };
    let (done, output) = server.run(&drain(&server.context(), &[Backend::Address { address: Ipv4Addr::LOCALHOST, port }], &policy));
    worker.kill().unwrap();
    worker.wait().unwrap();
    drop((nginx, backend));
    assert!(done, "{output}");
    output
}

#[test]
fn a_half_closed_connection_is_not_drained_and_one_that_nobody_holds_is() {
    let left = |output: String| assert!(output.contains("drain_timeout is over") && output.ends_with(": 1\n"), "{output}");
    left(drained(|nginx, _| Some(nginx)));
    left(drained(|nginx, _| {
        nginx.shutdown(Shutdown::Write).unwrap();
        Some(nginx)
    }));
    left(drained(|nginx, backend| {
        backend.shutdown(Shutdown::Write).unwrap();
        Some(nginx)
    }));
    let output = drained(|nginx, _| {
        drop(nginx);
        None
    });
    assert!(output.contains("no connection to the old side is left"), "{output}");
}

#[test]
fn who_is_still_sending_a_request_is_waited_for_and_who_has_a_connection_of_nginxs_own_is_not() {
    // NGINX listens for clients, and has a connection of its own to somebody whom nobody drains.
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (nginx, other) = (listen(), listen());
    let client = || {
        let client = TcpStream::connect(nginx.local_addr().unwrap()).unwrap();
        (nginx.accept().unwrap().0, client)
    };
    let own = || TcpStream::connect(other.local_addr().unwrap()).unwrap();
    let waits = |held: Vec<TcpStream>, n_sending: Option<usize>| {
        let output = drained_beside(held, "exec \"$@\"", |_, _| None);
        match n_sending {
            Some(n) => assert!(output.ends_with(&format!("; requests that clients are still sending: {n}\n")), "{output}"),
            None => assert!(output.contains("no connection to the old side is left"), "{output}"),
        }
    };
    let ((first, _sending), (second, _passed_on)) = (client(), client());
    waits(vec![first.try_clone().unwrap()], Some(1));
    waits(vec![first.try_clone().unwrap(), second, own()], Some(1));
    waits(vec![first, own()], None);
    // What no table here has is a client of a door's: it is in the table of the door's namespace. One that was reset is in none either.
    let by_door = || {
        let (accepted, mut client) = client();
        client.write_all(b"never read").unwrap();
        accepted.peek(&mut [0]).unwrap();
        drop(accepted);
        while client.take_error().unwrap().is_none() && client.read(&mut [0]).is_ok_and(|read| read > 0) {}
        client
    };
    waits(vec![by_door()], Some(1));
    waits(vec![by_door(), own()], None);
    // Nor do those connections that the new workers have.
    let ((_third, _of_a_new_worker), _its_own) = (client(), own());
    waits(Vec::new(), None);
}

#[test]
fn where_the_old_workers_cannot_be_looked_at_the_whole_time_is_waited() {
    let blind = "folder=$(dirname \"$0\")/tools; mkdir -p \"$folder\"\nfor tool in sh cat readlink sleep grep; do ln -sf \"$(command -v $tool)\" \"$folder/\"; done";
    let output = drained_beside(Vec::new(), &format!("{blind}\nPATH=$folder exec \"$@\""), |_, _| None);
    assert!(
        output.contains("drain_timeout is over") && output.contains("whether clients are still sending a request cannot be seen"),
        "{output}"
    );
}

#[test]
fn connections_are_seen_in_an_image_without_grep_too() {
    let tools = "folder=$(dirname \"$0\")/tools; mkdir \"$folder\"\nfor tool in sh cat ls readlink sleep; do ln -s \"$(command -v $tool)\" \"$folder/\"; done";
    let without = format!("{tools}\nPATH=$folder exec \"$@\"");
    let output = drained_by(&without, |nginx, _| Some(nginx));
    assert!(output.contains("drain_timeout is over") && output.ends_with(": 1\n"), "{output}");
}
