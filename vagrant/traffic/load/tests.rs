//! What the clients count, against servers on loopback that misbehave in a known way.
use super::{Options, Summary, start};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Serves connections with `serve` for as long as the test process lives, and returns the port.
fn server(serve: impl Fn(BufReader<TcpStream>) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            thread::spawn(move || serve(BufReader::new(stream.unwrap())));
        }
    });
    port
}

/// A line; `None` at the end.
fn hear(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then_some(line)
}

fn hear_head(reader: &mut BufReader<TcpStream>) -> Option<()> {
    while hear(reader)?.trim() != "" {}
    Some(())
}

fn watch(target: String, milliseconds: u64) -> Summary {
    let options = Options { concurrency: 1, timeout: Duration::from_secs(2), ..Options::default() };
    let handle = start(vec![target.parse().unwrap()], options).unwrap();
    handle.phase("calm");
    thread::sleep(Duration::from_millis(milliseconds));
    handle.stop()
}

fn answer_once(mut reader: BufReader<TcpStream>, header: &str) {
    if hear_head(&mut reader).is_some() {
        write!(reader.get_mut(), "HTTP/1.1 200 OK\r\n{header}Content-Length: 4\r\n\r\n1.0\n").unwrap();
    }
}

#[test]
fn a_server_that_closes_without_a_word_fails_a_kept_connection_and_no_new_one() {
    let port = server(|reader| answer_once(reader, ""));
    let kept = watch(format!("keep:http://127.0.0.1:{port}"), 300);
    assert!(kept.failed() > 1, "{kept:?}");
    assert!(kept.targets[0].failures[0].text.starts_with("the connection"), "{kept:?}");
    let new = watch(format!("new:http://127.0.0.1:{port}"), 300);
    assert!(new.failed() == 0 && new.sent() > 1, "{new:?}");
    assert_eq!(new.targets[0].total.answers["1.0"], new.sent());
}

#[test]
fn a_server_that_says_that_it_closes_fails_nobody() {
    let port = server(|reader| answer_once(reader, "Connection: close\r\n"));
    let kept = watch(format!("keep:http://127.0.0.1:{port}"), 300);
    assert!(kept.failed() == 0 && kept.sent() > 1, "{kept:?}");
}

#[test]
fn bad_answers_and_silence_are_failures() {
    let bad = server(|mut reader| {
        while hear_head(&mut reader).is_some() {
            reader.get_mut().write_all(b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nno \n\r\n0\r\n\r\n").unwrap();
        }
    });
    let seen = watch(format!("keep:http://127.0.0.1:{bad}"), 300);
    assert_eq!((seen.sent(), seen.targets[0].failures[0].text.as_str()), (seen.failed(), "status 502: no"));
    let silent = server(|mut reader| while hear(&mut reader).is_some() {});
    let seen = watch(format!("new:http://127.0.0.1:{silent}"), 300);
    assert_eq!((seen.failed(), seen.targets[0].failures[0].text.as_str()), (1, "no complete answer in time"));
    let half = server(|mut reader| {
        hear_head(&mut reader);
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1.0").unwrap();
    });
    let seen = watch(format!("new:http://127.0.0.1:{half}"), 300);
    assert!(seen.sent() == seen.failed() && seen.sent() > 0, "{seen:?}");
}

#[test]
fn a_long_connection_that_ends_is_cut_and_not_failed() {
    let port = server(|mut reader| {
        for _ in 0..5 {
            if hear(&mut reader).is_none() {
                return;
            }
            reader.get_mut().write_all(b"1.0 here ping\n").unwrap();
        }
    });
    let seen = watch(format!("tcpkeep:127.0.0.1:{port}"), 300);
    let total = &seen.targets[0].total;
    assert!(total.failed == 0 && total.cuts > 0 && total.ok >= total.cuts * 5, "{seen:?}");
    let seen = watch(format!("tcp:127.0.0.1:{port}"), 300);
    assert!(seen.failed() == 0 && seen.targets[0].total.cuts == 0, "{seen:?}");
}

/// A server of HTTP/2 that answers one request of each connection and says goodbye, or hangs up in the middle of it. Returns the port.
fn http2_server(says_goodbye: bool) -> u16 {
    server(move |reader| {
        let stream = reader.into_inner();
        stream.set_nonblocking(true).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            let Some(Ok((_, mut respond))) = connection.accept().await else { return };
            if says_goodbye {
                respond.send_response(http::Response::new(()), false).unwrap().send_data("1.0\n".into(), true).unwrap();
                connection.graceful_shutdown();
                while connection.accept().await.is_some() {}
            }
        });
    })
}

#[test]
fn what_a_server_of_http2_has_not_begun_with_is_asked_again_and_what_it_has_is_lost() {
    let seen = watch(format!("h2:http://127.0.0.1:{}/", http2_server(true)), 300);
    let total = &seen.targets[0].total;
    assert!(total.failed == 0 && total.ok > 1 && total.refused > 0, "{seen:?}");
    let seen = watch(format!("h2:http://127.0.0.1:{}/", http2_server(false)), 300);
    let total = &seen.targets[0].total;
    assert!(total.ok == 0 && total.refused == 0 && total.failed > 1, "{seen:?}");
    assert!(seen.targets[0].failures[0].text.starts_with("the connection"), "{seen:?}");
}
