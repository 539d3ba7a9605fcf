//! The drain: whom it waits for, by the kernel's own tables. This test's connections are NGINX's.
use crate::Server;
use flipside::model::{Backend, DrainPolicy, Millis};
use flipside::script::nginx::drain;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Waits for a connection from NGINX to a backend, in the state that `end` leaves it in, beside an old worker that never goes.
fn drained(end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    drained_by("exec \"$@\"", end)
}

/// The same, with a body of shell that runs the script.
fn drained_by(run: &str, end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    drained_beside(vec![Vec::new()], run, end)
}

/// The same, beside old workers that hold these sockets, each at most three.
fn drained_beside(workers: Vec<Vec<OwnedFd>>, run: &str, end: impl FnOnce(TcpStream, &TcpStream) -> Option<TcpStream>) -> String {
    // The script runs here instead of in a container: this test's connections are NGINX's, and all old workers of this machine are its own.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::new(&format!("shift 2\n{run}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let nginx = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (backend, _) = listener.accept().unwrap();
    let nginx = end(nginx, &backend);
    let begin = |held: Vec<OwnedFd>| {
        let mut worker = Command::new("sleep");
        worker.arg0("nginx: worker process is shutting down").arg("20");
        let mut held = held.into_iter();
        worker.stdin(held.next().map_or(Stdio::null(), Stdio::from));
        worker.stdout(held.next().map_or(Stdio::null(), Stdio::from));
        worker.stderr(held.next().map_or(Stdio::null(), Stdio::from));
        worker.spawn().unwrap()
    };
    let workers: Vec<Child> = workers.into_iter().map(begin).collect();
    let policy = DrainPolicy { quiet: Millis(0), timeout: Millis(300) };
    let (done, output) = server.run(&drain(&server.context(), &[Backend::Address { address: Ipv4Addr::LOCALHOST, port }], &policy));
    for mut worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
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

/// The drain waits for so many requests that clients are still sending, or for none.
fn waits(workers: Vec<Vec<OwnedFd>>, n_sending: Option<usize>) {
    waits_by("exec \"$@\"", workers, n_sending);
}

/// The same, with a body of shell that runs the script.
fn waits_by(run: &str, workers: Vec<Vec<OwnedFd>>, n_sending: Option<usize>) {
    let output = drained_beside(workers, run, |_, _| None);
    match n_sending {
        Some(n) => assert!(output.ends_with(&format!("; requests that clients are still sending: {n}\n")), "{output}"),
        None => assert!(output.contains("no connection to the old side is left"), "{output}"),
    }
}

/// One more descriptor of a socket.
fn also(socket: &TcpStream) -> OwnedFd {
    socket.try_clone().unwrap().into()
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
    let own = || OwnedFd::from(TcpStream::connect(other.local_addr().unwrap()).unwrap());
    let ((first, _sending), (second, _passed_on)) = (client(), client());
    waits(vec![vec![also(&first)]], Some(1));
    waits(vec![vec![also(&first), also(&second), own()]], Some(1));
    waits(vec![vec![also(&first), own()]], None);
    // What no table here has is a client of a door's: it is in the table of the door's namespace. One that was reset is in none either.
    let by_door = || {
        let (accepted, mut client) = client();
        client.write_all(b"never read").unwrap();
        accepted.peek(&mut [0]).unwrap();
        drop(accepted);
        while client.take_error().unwrap().is_none() && client.read(&mut [0]).is_ok_and(|read| read > 0) {}
        OwnedFd::from(client)
    };
    waits(vec![vec![by_door()]], Some(1));
    waits(vec![vec![by_door(), own()]], None);
    // Nor do those connections that the new workers have.
    let ((_third, _of_a_new_worker), _its_own) = (client(), own());
    waits(vec![Vec::new()], None);
    // NGINX's master gives all old workers the channel of each new one: what they share is one socket.
    let (channel, _masters) = UnixStream::pair().unwrap();
    let shared = || OwnedFd::from(channel.try_clone().unwrap());
    waits(vec![vec![shared()], vec![shared()]], None);
    waits(vec![vec![shared(), also(&first)], vec![shared(), also(&second), own()]], Some(1));
}

#[test]
fn a_client_on_a_port_that_the_switch_has_closed_is_waited_for_too() {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let closed = (1024..lowest).rev().find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).unwrap();
    let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = |listener: &TcpListener| (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept().unwrap().0);
    let ((_first, at_closed), (_second, at_open)) = (client(&closed), client(&open));
    drop(closed);
    waits(vec![vec![also(&at_closed)]], Some(1));
    waits(vec![vec![also(&at_closed), also(&at_open)]], Some(2));
    // Where nobody can say which ports the kernel chooses, it is not known from a connection of NGINX's own.
    let blind = "script=$(printf '%s\\n' \"$3\" | sed s,ip_local_port_range,none,); shift 3\nexec sh -c \"$script\" \"$@\"";
    waits_by(blind, vec![vec![also(&at_closed), also(&at_open)]], None);
}

#[test]
fn where_the_old_workers_cannot_be_looked_at_the_whole_time_is_waited() {
    let blind = "folder=$(dirname \"$0\")/tools; mkdir -p \"$folder\"\nfor tool in sh cat readlink sleep grep; do ln -sf \"$(command -v $tool)\" \"$folder/\"; done";
    let output = drained_beside(vec![Vec::new()], &format!("{blind}\nPATH=$folder exec \"$@\""), |_, _| None);
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
