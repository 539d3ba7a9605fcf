//! Every strategy and every method of `balance`, over HTTP and TCP: deployed, told apart by the copies that answer, and what each does when a copy
//! dies, hangs or answers 503: how many requests fail, how many are tried elsewhere, and which copies are taken out, by NGINX itself or by
//! `flipside watch`. The figures are printed; the README has them in a table. Deliberately absent: zones and copies in reserve (see `balance`).
use crate::fleet::Fleet;
use crate::load::{Options, Summary};
use crate::methods::{Reached, Spread};
use crate::project::Project;
use crate::server::Server;
use crate::shop::deploy;
use crate::traffic::Traffic;
use crate::watch::toggle_all;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

const HEADER: &str = "[project]
name = \"each\"
version = \"1.0\"

[rollout]
drain_timeout = \"12s\"
stop_timeout = \"3s\"
";
/// Each service over HTTP, its `balance`, and how that spreads requests.
const HTTP: [(&str, &str, Spread); 10] = [
    ("default", "", Spread::Fewest),
    ("round-robin", "method = \"round_robin\"", Spread::Turns),
    ("ip-hash", "method = \"ip_hash\", zone_routing = \"global\"", Spread::One),
    ("hash", "method = \"hash\", key = \"$request_uri\", zone_routing = \"global\"", Spread::One),
    ("random-two", "method = \"random_two\", zone_routing = \"global\"", Spread::Chance),
    ("one-failure", "max_fails = 1, fail_timeout = \"30s\"", Spread::Fewest),
    ("never-out", "max_fails = 0", Spread::Fewest),
    ("one-try", "method = \"round_robin\", tries = 1", Spread::Turns),
    ("passive", "strategy = \"active-passive\"", Spread::One),
    ("checked", "active_checks = { timeout = \"500ms\", fails = 2, passes = 2 }", Spread::Fewest),
];
/// And over TCP, where a server's own processes are all the same client.
const TCP: [(&str, &str, Spread); 6] = [
    ("tcp-default", "", Spread::Fewest),
    ("tcp-round-robin", "method = \"round_robin\"", Spread::Turns),
    ("tcp-ip-hash", "method = \"ip_hash\", zone_routing = \"global\"", Spread::One),
    ("tcp-hash", "method = \"hash\", key = \"$remote_addr\", zone_routing = \"global\"", Spread::One),
    ("tcp-random-two", "method = \"random_two\", zone_routing = \"global\"", Spread::Chance),
    ("tcp-passive", "strategy = \"active-passive\"", Spread::One),
];
/// A fault lasts so many seconds, and until `watch` has taken out the copy that it watches.
const LASTS: usize = 8;
/// And then for so long: what fails now has not been taken out. At a copy that hangs, a client may wait for as long as `GIVES_UP` before it begins
/// its next request, and that one has to fail before the cure.
const THEN: Duration = Duration::from_secs(5);
/// A client waits so long for an answer.
const GIVES_UP: Duration = Duration::from_secs(2);

/// What becomes of the copies of all services on server2, by which verb, and what cures it.
const FAULTS: [(&str, &str, &str); 3] = [("dies", "kill", "start"), ("hangs", "pause", "unpause"), ("answers 503", "ill", "ill")];

/// The internal port of the first TCP service; the others have the next ones.
const FIRST_PORT: u16 = 5901;
/// Clients of each TCP service.
const N_CLIENTS: u64 = 2;

fn playbook() -> String {
    let mut text = HEADER.to_owned();
    let mut add = |name: &str, balance: &str, speaks: &str| {
        let _ = write!(
            text,
            "\n[services.{name}]\nimage = \"flipside/app:1.0\"\nport = 8000\nservers = [\"server2\", \"server1\", \"server3\"]\n{speaks}\n\
             balance = {{ {balance} }}\n"
        );
    };
    for (name, balance, _) in HTTP {
        let check = "health_check = { path = \"/up\", interval = \"200ms\" }";
        add(name, balance, &format!("protocol = \"http\"\n{check}\nproxy = {{ hosts = [\"{name}.example.com\"] }}"));
    }
    for (port, (name, balance, _)) in tcp() {
        add(name, balance, &format!("command = [\"--mode\", \"tcp\"]\ninternal_port = {port}\nhealth_check = {{ interval = \"200ms\" }}"));
    }
    text
}

/// The services over TCP and their internal ports.
fn tcp() -> impl Iterator<Item = (u16, (&'static str, &'static str, Spread))> {
    (FIRST_PORT..).zip(TCP)
}

/// The same for the copies of all services on this server; what is ill is so by HTTP.
fn all(server: &Server, verb: &str) {
    let names = HTTP.iter().chain(&TCP).map(|(name, ..)| format!("each_prod_{name}"));
    match verb {
        "ill" => toggle_all(server, names.take(HTTP.len())),
        _ => drop(server.must(&format!("docker {verb} {}", names.collect::<Vec<_>>().join(" ")))),
    }
}

/// Every method spreads as it should, and as no other one does. All are asked at once: each waits once until NGINX has seen what is closed.
fn told_apart(server: &Server) {
    let http = HTTP.iter().map(|(name, _, spread)| (*name, None, *spread));
    let tcp = tcp().map(|(port, (name, _, spread))| (name, Some(port), spread));
    let reached: Vec<_> = thread::scope(|scope| {
        let ask = |(name, port, spread): (&'static str, Option<u16>, Spread)| {
            let host = format!("{name}.example.com");
            let reach =
                move || port.map_or_else(|| Reached::over_http(server, &host, spread), |port| Reached::over_tcp(server, port, spread));
            (name, scope.spawn(reach))
        };
        let asked: Vec<_> = http.chain(tcp).map(ask).collect();
        asked.into_iter().map(|(name, reached)| (name, reached.join().expect("the copies answer"))).collect()
    });
    let wrong: Vec<_> = reached.iter().filter(|(_, reached)| !reached.is_right()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_each_strategy_does_when_a_copy_dies() {
    let fleet = Fleet::take();
    let (one, two) = (fleet.server(1), fleet.server(2));
    let project = Project::new(&fleet, &playbook());
    deploy(&project).exits(0);
    told_apart(&one);
    let mut watch = project.start(&["watch", "--interval", "1s"]);
    watch.until_result("watches 3 copies of 1 service");
    // Three pages, so that a hash by page does not always lead to the copy that is well.
    let targets = HTTP
        .iter()
        .flat_map(|(name, ..)| ["/up", "/up?1", "/up?2"].map(|page| format!("new:http://{}{page}#{name}.example.com", one.address)));
    let options = Options { concurrency: 1, pause: Duration::from_millis(25), timeout: GIVES_UP, phase_file: None };
    let lines: Vec<String> = tcp().map(|(port, _)| format!("tcp:127.0.0.1:{port}")).collect();
    let traffic = Traffic::with(targets, options).and_inside(&one, &lines);
    let mut in_vain = BTreeMap::new();
    for (n_fault, (fault, verb, cure)) in (1..).zip(FAULTS) {
        traffic.phase("well");
        thread::sleep(Duration::from_secs(2));
        traffic.phase(&format!("{fault}|0"));
        all(&two, verb);
        for second in 0..LASTS {
            traffic.phase(&format!("{fault}|{second}"));
            thread::sleep(Duration::from_secs(1));
        }
        watch.until_result_times("checked, copy 1 on server2 is out of every upstream", n_fault);
        traffic.phase(&format!("{fault}|{LASTS}"));
        thread::sleep(THEN);
        if fault == "dies" {
            in_vain = one.tried_in_vain(&two);
        }
        traffic.phase("cured");
        all(&two, cure);
        watch.until_result_times("checked, copy 1 on server2 is in again", n_fault);
        thread::sleep(Duration::from_secs(2));
    }
    watch.signal("INT");
    let said = watch.end().exits(0);
    let seen = traffic.end().0;
    is_taken_out_by_failures(&in_vain);
    for (name, _, spread) in HTTP {
        for (fault, ..) in FAULTS {
            let by_second = by_second(&seen, &format!("#{name}.example.com"), fault);
            let (then, first) = by_second.split_last().expect("seconds");
            let (sent, failed) = first.iter().fold((0, 0), |all, second| (all.0 + second.0, all.1 + second.1));
            let last = first.iter().rposition(|(_, failed)| *failed > 0).map_or(0, |second| second + 1);
            println!("{name}: a copy {fault}: {failed} of {sent} failed, none that began after {last} s, then {then:?}: {first:?}");
            let is_passed_over = name == "checked";
            match fault {
                "dies" if name == "one-try" => {
                    assert!(failed > 0 && failed * 5 < sent, "{name}: {failed} of {sent} failed: of a try each, few fail before it is out")
                }
                // A refused connection is tried elsewhere.
                "dies" => assert!(failed + then.1 == 0 && sent > 100, "{name}: {failed} of {sent} failed, then {then:?}"),
                _ if is_passed_over => assert!(failed > 0 && then.1 == 0 && then.0 > 20, "{name}, {fault}: {by_second:?}: {}", said.all()),
                // Requests that hang or are answered with an error are no failures to NGINX: `max_fails` takes nothing out.
                _ if name == "passive" || matches!(spread, Spread::Turns | Spread::Fewest) => {
                    assert!(then.1 > 0, "{name}, {fault}: {by_second:?}: what has taken it out?")
                }
                _ => {}
            }
        }
    }
    for (port, (name, ..)) in tcp() {
        // What answers 503 is ill over HTTP alone.
        for (fault, ..) in FAULTS.into_iter().filter(|(_, verb, _)| *verb != "ill") {
            let by_second = by_second(&seen, &format!(":{port}"), fault);
            let (sent, failed) = by_second.iter().fold((0, 0), |all, second| (all.0 + second.0, all.1 + second.1));
            println!("{name}: a copy {fault}: {failed} of {sent} failed: {by_second:?}");
            // What is under way at the copy is lost with it: nobody can send it again. Who comes new goes elsewhere.
            assert!(fault != "dies" || (sent > 100 && failed <= N_CLIENTS), "{name}: {failed} of {sent} failed");
        }
    }
}

/// Requests that began in each second of a fault, and after it, and how many of them failed: those of the targets that end so.
fn by_second(seen: &Summary, target: &str, fault: &str) -> [(u64, u64); LASTS + 1] {
    let mut by_second = [(0, 0); LASTS + 1];
    for phase in seen.targets.iter().filter(|seen| seen.target.ends_with(target)).flat_map(|target| &target.phases) {
        let Some((_, second)) = phase.phase.split_once('|').filter(|(of, _)| *of == fault) else { continue };
        let at = &mut by_second[second.parse::<usize>().expect("a second")];
        *at = (at.0 + phase.counts.sent, at.1 + phase.counts.failed + phase.counts.cuts);
    }
    by_second
}

/// While a copy was dead, it was tried in vain until `max_fails` had taken it out, and once more after every `fail_timeout`; or for ever.
fn is_taken_out_by_failures(in_vain: &BTreeMap<String, u64>) {
    println!("tried in vain at the copy that was dead: {in_vain:?}");
    let [one, three, never] =
        ["one-failure", "default", "never-out"].map(|name| in_vain.get(&format!("{name}.example.com")).copied().unwrap_or(0));
    assert!(0 < one && one < three && 2 * three < never, "{in_vain:?}");
}
