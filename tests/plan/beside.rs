//! What a run leaves alone that is another one's or nobody's to decide. Deliberately absent: what it says, which the cases' texts show.
use crate::baseline::Baseline;
use crate::cases::{Ask, case, plan};
use crate::driver::{Trouble, drive};
use crate::engine::{Mishap, Workstation, unleased};
use crate::invariants::routes;
use flipside::config::read_playbook;
use flipside::facts::ListenerFact;
use flipside::model::{Action, ActiveChecks, ServerName, ServiceName, Verdict};
use flipside::nginx::MeshService;
use flipside::plan::{Level, is_fatal};
use flipside::remote::fake::{FakeServer, Fate};
use std::fs;
use std::sync::Arc;

/// `watch` finds a copy that fails while a run is held, or a canary waits: it changes nothing, since whoever decides could not any more.
#[tokio::test]
async fn watch_leaves_alone_what_is_held_and_what_waits() {
    for (name, ended) in [("held", Verdict::Held), ("canary_that_waits", Verdict::Waiting)] {
        let mut case = case(name);
        case.servers = unleased(&case.servers);
        let (run, _) = plan(&case.playbook, &case.inventory, &case.servers, &case.ask);
        let case = Arc::new(case);
        let base = Baseline::new(&case, &case.servers);
        let station = Workstation::new("this workstation");
        let calm = station.run(&case, &base, &run, case.servers.clone(), Mishap::None).await;
        let watches = |action: &Action| matches!(action, Action::StayHealthy { .. });
        let at = calm.steps.iter().position(|id| ended == Verdict::Held && watches(&run.step(id).unwrap().action));
        let mishap = at.map_or(Mishap::None, |at| Mishap::Once(at, Fate::Fails));
        let stands = station.run(&case, &base, &run, case.servers.clone(), mishap).await;
        assert_eq!(stands.verdict, Some(ended), "{name}");
        let mut playbook = case.playbook.clone();
        let api = ServiceName::new("api").unwrap();
        playbook.services.get_mut(&api).unwrap().balance.active_checks = Some(ActiveChecks::default());
        let copy = format!("api {} 1", run.services[&api].servers.first().unwrap());
        let ask: Ask = toml::from_str(&format!("intent = \"watch\"\nout = [\"{copy}\"]")).unwrap();
        if calm.verdict == Some(Verdict::Done) {
            assert!(plan(&playbook, &case.inventory, &calm.servers, &ask).0.n_steps() > 0, "{name}: else it is taken out");
        }
        let (_, findings) = plan(&playbook, &case.inventory, &stands.servers, &ask);
        let said = findings.iter().any(|finding| finding.text.contains("both its sides have work"));
        assert!(is_fatal(&findings) && said, "{name}: {findings:#?}");
    }
}

/// A volume that is yet to be made, and ports that others have, keep a release from coming. Nobody is kept from going back by them, nor from
/// deploying another service.
#[test]
fn what_is_written_for_a_release_to_come_keeps_no_other_run() {
    for (name, n_reasons) in [("rollback_whatever_the_playbook_says", 3), ("left_with_another_base_port", 1)] {
        let mut case = case(name);
        for server in case.servers.values_mut() {
            server.base.volumes.get_or_insert_default().remove("geo");
            let listener = |port| ListenerFact { address: None, port, transport: "tcp".to_owned() };
            server.base.listeners.extend([6100, 9100].map(listener));
        }
        let fatal = |ask: &Ask| {
            let (_, findings) = plan(&case.playbook, &case.inventory, &case.servers, ask);
            findings.into_iter().filter(|finding| finding.level == Level::Fatal).collect::<Vec<_>>()
        };
        let reasons = fatal(&case.ask.whole());
        assert!(
            reasons.len() == n_reasons && reasons.iter().all(|finding| finding.service.as_ref().is_some_and(|of| of.as_str() == "db")),
            "{reasons:#?}"
        );
        assert_eq!(fatal(&case.ask), [], "{name}");
    }
}

/// A server joins, and a run that reads no secret brings it level: what is served with TLS elsewhere is not served there in plain text.
#[test]
fn a_server_without_the_certificate_serves_its_hosts_to_nobody() {
    let case = case("tls_unchanged");
    let (mut inventory, mut servers) = (case.inventory.clone(), case.servers.clone());
    let s4 = ServerName::new("s4").unwrap();
    let mut settings = inventory.servers.values().find(|server| server.tags == ["edge"]).unwrap().clone();
    settings.private_address = Some("10.0.0.4".parse().unwrap());
    inventory.servers.insert(s4.clone(), settings);
    servers.insert(s4.clone(), FakeServer::new("s4"));
    let ask: Ask = toml::from_str("services = [\"api\"]\nforce = true").unwrap();
    let (joins, findings) = plan(&case.playbook, &inventory, &servers, &ask);
    let said = findings.iter().filter(|finding| finding.text.contains("`proxy.hosts` is not served on s4: its certificate is not there"));
    assert!(!is_fatal(&findings) && said.count() == 2, "{findings:#?}");
    assert_eq!(drive(&joins, &mut servers, &Trouble::default(), &mut |_, _| {}).verdict, Some(Verdict::Done));
    let has = |server: &FakeServer, word: &str| {
        let files = server.files(server.base.nginx.live.as_ref().unwrap()).unwrap();
        files.iter().any(|(path, text)| path.ends_with(".hosts.conf") && text.contains(word))
    };
    assert!(!has(&servers[&s4], "shop.example.com"), "it is served in plain text");
    assert!(has(&servers[&ServerName::new("s1").unwrap()], "ssl_certificate "), "the others go on");
    // Whoever has the certificate brings it there.
    servers.values_mut().for_each(|server| server.know(&case.ask.secrets()));
    let (whole, _) = plan(&case.playbook, &inventory, &servers, &case.ask);
    assert_eq!(drive(&whole, &mut servers, &Trouble::default(), &mut |_, _| {}).verdict, Some(Verdict::Done));
    assert!(has(&servers[&s4], "shop.example.com") && has(&servers[&s4], "ssl_certificate "));
}

/// The playbook has other hosts and another balance by now. What is not asked for keeps what it has.
#[test]
fn maintenance_and_a_deploy_of_one_service_leave_undeployed_what_the_playbook_says_of_others() {
    let case = case("maintenance_on");
    let text = fs::read_to_string(case.path.parent().unwrap().join("shared/ingress.toml")).unwrap();
    let text = text.replace("shop.example.com", "other.example.com").replace("shop/web:1", "shop/web:2");
    let text = text.replace("protocol = \"http\"\n", "protocol = \"http\"\nbalance = { method = \"round_robin\", tries = 2 }\n");
    let playbook = read_playbook("playbook.toml", &text.replace("version = \"1.0\"", "version = \"2.0\""), None).unwrap();
    let before: Vec<_> = case.servers.values().map(routes).collect();
    let after = |line: &str| {
        let (mut servers, ask): (_, Ask) = (case.servers.clone(), toml::from_str(line).unwrap());
        let (run, findings) = plan(&playbook, &case.inventory, &servers, &ask);
        assert!(!is_fatal(&findings) && run.n_steps() > 0, "{line}: {findings:#?}");
        assert_eq!(drive(&run, &mut servers, &Trouble::default(), &mut |_, _| {}).verdict, Some(Verdict::Done), "{line}");
        servers.values().map(routes).collect::<Vec<_>>()
    };
    let mut maintained = after("intent = \"maintenance on\"\nservices = [\"web\"]");
    let web = maintained.iter_mut().flatten().filter(|route| route.service.as_str() == "web");
    let n_maintained = web.map(|route| std::mem::take(&mut route.front.maintenance)).filter(|maintained| *maintained).count();
    assert!(n_maintained > 0, "web is in maintenance");
    assert_eq!(maintained, before, "and nothing else is changed");
    let api = |all: &[Vec<MeshService>]| -> Vec<_> {
        all.iter().map(|all| all.iter().find(|route| route.service.as_str() == "api").cloned()).collect()
    };
    let deployed = after("services = [\"web\"]");
    assert!(deployed != before && api(&deployed) == api(&before), "web alone is deployed: {:#?}", api(&deployed));
}
