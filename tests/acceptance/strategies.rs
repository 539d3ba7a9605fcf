//! Every strategy and every method of `balance`, deployed, and what each does when a copy dies, hangs or answers 503: how many requests
//! fail, and for how long. The figures are printed; the README has them in a table. Deliberately absent: which copy answers (see `balance`).
use crate::fleet::Fleet;
use crate::load::Options;
use crate::project::Project;
use crate::server::Server;
use crate::shop::deploy;
use crate::traffic::Traffic;
use crate::watch::toggle;
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
/// Each service and its `balance`.
const SERVICES: [(&str, &str); 8] = [
    ("default", ""),
    ("round-robin", "method = \"round_robin\""),
    ("ip-hash", "method = \"ip_hash\", zone_routing = \"global\""),
    ("hash", "method = \"hash\", key = \"$request_uri\", zone_routing = \"global\""),
    ("random-two", "method = \"random_two\", zone_routing = \"global\""),
    ("one-failure", "max_fails = 1, fail_timeout = \"30s\""),
    ("passive", "strategy = \"active-passive\""),
    ("checked", "active_checks = { timeout = \"500ms\", fails = 2, passes = 2 }"),
];
/// A fault lasts so many seconds.
const LASTS: usize = 8;

fn playbook() -> String {
    SERVICES.iter().fold(HEADER.to_owned(), |mut text, (name, balance)| {
        let _ = write!(
            text,
            "\n[services.{name}]\nimage = \"flipside/app:1.0\"\nport = 8000\nprotocol = \"http\"\nservers = [\"server2\", \"server1\", \"server3\"]\n\
             health_check = {{ path = \"/up\", interval = \"200ms\" }}\nproxy = {{ hosts = [\"{name}.example.com\"] }}\nbalance = {{ {balance} }}\n"
        );
        text
    })
}

/// The same for the copies of all services on this server.
fn all(server: &Server, verb: &str) {
    let names: Vec<String> = SERVICES.iter().map(|(name, _)| format!("each_prod_{name}")).collect();
    match verb {
        "ill" => names.iter().for_each(|name| toggle(server, name)),
        _ => drop(server.must(&format!("docker {verb} {}", names.join(" ")))),
    }
}

#[test]
fn what_each_strategy_does_when_a_copy_dies() {
    let fleet = Fleet::take();
    let (one, two) = (fleet.server(1), fleet.server(2));
    let project = Project::new(&fleet, &playbook());
    deploy(&project).exits(0);
    let mut watch = project.start(&["watch", "--interval", "1s"]);
    watch.until_result("watches 3 copies of 1 service");
    // Two pages, so that a hash by page does not always lead to the copy that is well.
    let targets = SERVICES
        .iter()
        .flat_map(|(name, _)| ["/up", "/up?1", "/up?2"].map(|page| format!("new:http://{}{page}#{name}.example.com", one.address)));
    let options = Options { concurrency: 1, pause: Duration::from_millis(25), timeout: Duration::from_secs(2), phase_file: None };
    let traffic = Traffic::with(targets, options);
    let faults = [("dies", "kill", "start"), ("hangs", "pause", "unpause"), ("answers 503", "ill", "ill")];
    for (fault, verb, cure) in faults {
        traffic.phase("well");
        thread::sleep(Duration::from_secs(2));
        traffic.phase(&format!("{fault}|0"));
        all(&two, verb);
        for second in 0..LASTS {
            traffic.phase(&format!("{fault}|{second}"));
            thread::sleep(Duration::from_secs(1));
        }
        traffic.phase("cured");
        all(&two, cure);
        thread::sleep(Duration::from_secs(5));
    }
    watch.signal("INT");
    let said = watch.end().exits(0);
    let seen = traffic.end().0;
    for (name, _) in SERVICES {
        for (fault, ..) in faults {
            let mut by_second = vec![(0, 0); LASTS];
            for target in seen.targets.iter().filter(|target| target.target.ends_with(&format!("#{name}.example.com"))) {
                for phase in &target.phases {
                    let Some((_, second)) = phase.phase.split_once('|').filter(|(of, _)| *of == fault) else { continue };
                    let at: &mut (u64, u64) = &mut by_second[second.parse::<usize>().expect("a second")];
                    *at = (at.0 + phase.counts.sent, at.1 + phase.counts.failed + phase.counts.cuts);
                }
            }
            let (sent, failed) = by_second.iter().fold((0, 0), |all, second| (all.0 + second.0, all.1 + second.1));
            let last = by_second.iter().rposition(|(_, failed)| *failed > 0).map_or(0, |second| second + 1);
            println!("{name}: a copy {fault}: {failed} of {sent} failed, none after {last} s: {by_second:?}");
            match (name, fault) {
                // A refused connection is tried elsewhere.
                (_, "dies") => assert_eq!(failed, 0, "{name}: {said:?}"),
                ("checked", _) => assert!(last < LASTS, "{name}, {fault}: it was not taken out in time: {}", said.all()),
                ("passive", "answers 503") => assert!(failed > 0, "{name}, {fault}: who shows that it is not noticed?"),
                _ => {}
            }
        }
    }
}
