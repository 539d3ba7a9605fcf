//! Many at once, and how long things take. Figures are printed: run with `--nocapture`.
use crate::sshd::{Setup, Sshd, options, target};
use flipside::remote::{ChannelError, ConnectOptions, Connection, Connector, Hop};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_secs(20);

async fn all(connector: &Connector, hops: Vec<Hop>) -> Vec<Connection> {
    let mut tasks = JoinSet::new();
    for hop in hops {
        let connector = connector.clone();
        tasks.spawn(async move { connector.connect(&target(hop)).await.unwrap_or_else(|error| panic!("{error}")) });
    }
    tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_two_servers() {
    // One sshd listens on 16 addresses at most.
    let daemons: Vec<Sshd> =
        (0..4).map(|_| Sshd::start(&Setup { lines: &["MaxStartups 200"], addresses: 13, ..Setup::default() })).collect();
    let mut hops = Vec::new();
    for sshd in &daemons {
        let addresses: Vec<String> = (1..=13).map(|n| format!("127.0.1.{n}")).collect();
        let known: String = addresses.iter().map(|address| sshd.host_line(address, "ed25519")).collect();
        std::fs::write(sshd.path("known_hosts"), known).unwrap();
        hops.extend(addresses.into_iter().map(|address| Hop { address, ..sshd.hop() }));
    }
    let started = Instant::now();
    let connections = all(&Connector::new(options()), hops).await;
    println!("52 servers, connect and log in: {:?}", started.elapsed());

    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in connections.clone() {
        tasks.spawn(async move { connection.run_script("true", LONG, &mut |_| {}).await.unwrap().exit });
    }
    assert!(tasks.join_all().await.iter().all(|exit| *exit == Some(0)));
    println!("52 servers, one script each: {:?}", started.elapsed());

    let mut times = Vec::new();
    for _ in 0..40 {
        let started = Instant::now();
        connections[0].run_script("true", LONG, &mut |_| {}).await.unwrap();
        times.push(started.elapsed());
    }
    times.sort();
    println!("one script, round trip: median {:?}, worst {:?}", times[20], times[39]);
    assert!(times[20] < Duration::from_millis(500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_behind_one_jump_host() {
    let sshd = Sshd::start(&Setup { lines: &["MaxStartups 200"], ..Setup::default() });
    let jump = Hop { label: "bastion".to_owned(), ..sshd.hop() };
    let behind = Hop { jump: Some(Box::new(jump)), ..sshd.hop() };
    let started = Instant::now();
    let connections = all(&Connector::new(options()), vec![behind; 20]).await;
    println!("20 behind one jump host: {:?}", started.elapsed());
    assert_eq!((connections.len(), sshd.children().len()), (20, 21), "the jump host is connected once");
}

/// Both MaxStartups and MaxSessions are sshd's defaults. As a run does it: a lease that is held, and scripts meanwhile, on every connection; more than sshd opens at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_one_door_hold_a_script_and_run_more_than_max_sessions() {
    let sshd = Sshd::start(&Setup::default());
    let started = Instant::now();
    let connections = all(&Connector::new(ConnectOptions { parallel: 50, ..options() }), vec![sshd.hop(); 50]).await;
    println!("50 connections to one sshd with MaxStartups 10:30:100: {:?}", started.elapsed());
    assert_eq!((connections.len(), sshd.children().len()), (50, 50));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        tasks.spawn(async move {
            let mut held = connection.hold("echo held; while :; do sleep 3600; done", Duration::from_secs(60)).await.unwrap();
            assert_eq!(held.line(Duration::from_secs(60)).await.unwrap().as_deref(), Some("held"));
            let n_scripts = if number == 0 { 20 } else { 1 };
            let mut scripts = JoinSet::new();
            for _ in 0..n_scripts {
                let connection = connection.clone();
                scripts.spawn(async move { connection.run_script("true", Duration::from_secs(60), &mut |_| {}).await.unwrap().exit });
            }
            assert!(scripts.join_all().await.iter().all(|exit| *exit == Some(0)));
            assert!(!held.has_ended().await);
        });
    }
    tokio::time::timeout(Duration::from_secs(120), tasks.join_all()).await.unwrap();
    println!("50 connections, a script held and another run on each: {:?}", started.elapsed());
}

#[tokio::test]
async fn a_server_with_too_few_sessions_is_told_so_in_bounded_time() {
    let sshd = Sshd::start(&Setup { lines: &["MaxSessions 1"], ..Setup::default() });
    let connection = sshd.connect().await;
    let mut held = connection.hold("echo held; sleep 60", LONG).await.unwrap();
    assert_eq!(held.line(LONG).await.unwrap().as_deref(), Some("held"));
    let started = Instant::now();
    // It is asked again for 7 s, and for no longer than the script may take.
    let late = connection.run_script("true", Duration::from_secs(2), &mut |_| {}).await.unwrap_err();
    assert!(matches!(late, ChannelError::NoChannel { .. }) && late.to_string().contains("MaxSessions"), "{late}");
    let refused = connection.run_script("true", LONG, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, ChannelError::Refused { .. }) && refused.to_string().contains("MaxSessions"), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(!held.has_ended().await, "what runs goes on");
}
