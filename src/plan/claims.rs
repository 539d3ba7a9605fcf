//! Who owns which port and which fixed address: all wishes of a playbook, what others use, and the order in which they are settled.
//! Deliberately absent: how one port is settled.
use super::adopt;
use super::ports::{BASE, INTERNAL, Taken, Wish, next_slot, settle};
use super::present::{Fleet, Present, is_ours};
use super::target::{Back, Replica, Wanted};
use super::types::Finding;
use crate::config::Playbook;
use crate::facts::ContainerFact;
use crate::model::{ServiceName, base_port, internal_port, label, secondary_port};
use crate::nginx::{read_door, read_service};
use crate::script::layout;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The internal port and the replicas of each service.
pub(super) type Settled = BTreeMap<ServiceName, (Option<u16>, Vec<Replica>)>;

/// A service, and which of its ports.
type Owner<'a> = (&'a ServiceName, Claim);

/// A port that a service owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Internal,
    /// Of this replica.
    Base(u32),
    /// Of this replica, for public hosts.
    AppBase(u32),
}

/// Ports and slots of all services: all pinned and claimed ones first, so that a newcomer's hash never takes them, be it a service's or
/// a further replica's. What is left as it is, or goes back, keeps the ports that it has, and not what the playbook pins by now.
pub(super) fn settle_all(
    playbook: &Playbook,
    fleet: &Fleet,
    present: &Present<'_>,
    wanted: &Wanted,
    findings: &mut Vec<Finding>,
) -> Settled {
    let is_left = |name: &ServiceName| !wanted.selects(name);
    let keeps = |name: &ServiceName| is_left(name) || wanted.back == Back::Yes;
    let mut taken = taken_by_others(playbook, fleet);
    let mut wishes = wishes(playbook, present, &keeps);
    // A rollback goes back to the ports that containers have.
    let left = if wanted.back == Back::Yes { Vec::new() } else { left_ports(playbook, present, &wishes) };
    for ((name, claim), wish) in wishes.iter_mut().filter(|((name, _), _)| !is_left(name)) {
        // What it has already, it has.
        let is_its = |port: u16| *claim != Claim::Internal && wish.claimed.is_some_and(|own| [own, secondary_port(own)].contains(&port));
        wish.left = left.iter().filter(|(port, owner)| owner != name && !is_its(*port)).copied().collect();
    }
    let (fixed, hashed): (Vec<_>, Vec<_>) = wishes.into_iter().partition(|(_, wish)| wish.pinned.or(wish.claimed).is_some());
    let mut ports: BTreeMap<Owner<'_>, u16> = BTreeMap::new();
    for (owner, wish) in fixed.iter().chain(&hashed) {
        // What is not there, and does not come with this plan, takes nobody's port yet.
        let is_to_come = keeps(owner.0) && wish.claimed.is_none();
        let mut later = Vec::new();
        ports.insert(*owner, settle(wish, &mut taken, if is_to_come { &mut later } else { findings }));
    }
    let mut used_slots: BTreeSet<u32> =
        present.services.values().flat_map(|service| &service.units).filter_map(|unit| unit.number(label::SLOT)).collect();
    let mut settled = Settled::new();
    for (name, service) in &playbook.services {
        let replicas = (1..=service.replicas).map(|number| {
            let owned = present
                .services
                .get(name)
                .and_then(|service| service.units.iter().filter(|unit| unit.replica == number).find_map(|unit| unit.number(label::SLOT)));
            let slot = owned.unwrap_or_else(|| next_slot(&mut used_slots));
            let port = |claim| ports.get(&(name, claim)).copied();
            Replica { number, base_port: port(Claim::Base(number)), app_base_port: port(Claim::AppBase(number)), slot }
        });
        settled.insert(name.clone(), (ports.get(&(name, Claim::Internal)).copied(), replicas.collect()));
    }
    settled
}

/// The ports that the playbook's services need: the services that are there first, then by name.
fn wishes<'a>(playbook: &'a Playbook, present: &Present<'_>, keeps: &dyn Fn(&ServiceName) -> bool) -> Vec<(Owner<'a>, Wish<'a>)> {
    let claims = |name: &ServiceName, key: &str, replica: Option<u32>| -> Option<u16> {
        let service = present.services.get(name)?;
        let live = service.live();
        let mut units: Vec<_> = service.units.iter().filter(|unit| replica.is_none_or(|number| unit.replica == number)).collect();
        units.sort_by_key(|unit| (unit.is_stale, Some(unit.side) != live));
        // Of what runs on servers that are away, the others' routes tell.
        let routed = || service.level_routes().next().map(|route| route.internal_port).filter(|_| key == label::INTERNAL_PORT);
        units.iter().find_map(|unit| unit.number(key)).or_else(routed)
    };
    let mut wishes = Vec::new();
    let (there, new): (Vec<_>, Vec<_>) = playbook.services.iter().partition(|(name, _)| present.services.contains_key(*name));
    for (name, service) in there.into_iter().chain(new) {
        let Some(port) = service.port else { continue };
        let claimed = claims(name, label::INTERNAL_PORT, None);
        let internal = Wish {
            service: name,
            what: "internal port".to_owned(),
            can_be_pinned: true,
            pinned: service.internal_port.filter(|_| claimed.is_none() || !keeps(name)),
            claimed,
            hashed: internal_port(&playbook.project, &playbook.env, name),
            range: INTERNAL,
            paired: false,
            left: BTreeMap::new(),
        };
        wishes.push(((name, Claim::Internal), internal));
        for number in 1..=service.replicas {
            let claimed = claims(name, label::BASE_PORT, Some(number));
            let pinned = service.host_port.map(|pinned| pinned.saturating_add(u16::try_from(number - 1).unwrap_or(u16::MAX)));
            let of_replica = |what: &str| if number == 1 { what.to_owned() } else { format!("{what} of replica {number}") };
            let base = Wish {
                service: name,
                what: of_replica("base port"),
                can_be_pinned: true,
                pinned: pinned.filter(|_| claimed.is_none() || !keeps(name)),
                claimed,
                hashed: base_port(&playbook.project, &playbook.env, name, port, number),
                range: BASE,
                paired: true,
                left: BTreeMap::new(),
            };
            wishes.push(((name, Claim::Base(number)), base));
            let Some(app_port) = service.app_port() else { continue };
            let app = Wish {
                service: name,
                what: of_replica("app base port"),
                can_be_pinned: false,
                pinned: None,
                claimed: claims(name, label::APP_BASE_PORT, Some(number)),
                hashed: base_port(&playbook.project, &playbook.env, name, app_port, number),
                range: BASE,
                paired: true,
                left: BTreeMap::new(),
            };
            wishes.push(((name, Claim::AppBase(number)), app));
        }
    }
    wishes
}

/// Ports that services of the playbook have, and that are not what they settle on: those that the host's door opens until they are deployed,
/// and those of their containers, live or waiting to be gone back to. Who else took one could not start, or would keep them from it.
fn left_ports<'a>(playbook: &'a Playbook, present: &Present<'_>, wishes: &[(Owner<'a>, Wish<'a>)]) -> Vec<(u16, &'a ServiceName)> {
    let settles_on: BTreeMap<Owner<'_>, Option<u16>> = wishes.iter().map(|(owner, wish)| (*owner, wish.pinned.or(wish.claimed))).collect();
    let mut left = Vec::new();
    for name in playbook.services.keys() {
        let Some(service) = present.services.get(name) else { continue };
        let stays = |claim, port| settles_on.get(&(name, claim)) == Some(&Some(port));
        let routed = service.routes.values().map(|route| route.internal_port).filter(|port| !stays(Claim::Internal, *port));
        left.extend(routed.map(|port| (port, name)));
        for unit in &service.units {
            let published: BTreeSet<u16> =
                unit.owner().into_iter().flat_map(|owner| &owner.published).map(|there| there.host_port).collect();
            for (key, claim) in [(label::BASE_PORT, Claim::Base(unit.replica)), (label::APP_BASE_PORT, Claim::AppBase(unit.replica))] {
                let Some(base) = unit.number::<u16>(key).filter(|base| !stays(claim, *base)) else { continue };
                let pair = [base, secondary_port(base)];
                if pair.iter().any(|port| published.contains(port)) {
                    left.extend(pair.map(|port| (port, name)));
                }
            }
        }
    }
    left
}

/// Ports in use by anything but this playbook's own services, on any server.
fn taken_by_others(playbook: &Playbook, fleet: &Fleet) -> Taken {
    let mut taken = Taken::new();
    let mine = |container: &ContainerFact| {
        is_ours(container, &playbook.project, &playbook.env)
            && container.labels.get(label::SERVICE).is_some_and(|name| playbook.services.keys().any(|known| known.as_str() == name))
    };
    // A door that was cut off before it read its new file still listens on what this project's services own.
    let claims = fleet.values().flat_map(|facts| &facts.containers).filter(|container| mine(container));
    let loopback: BTreeSet<u16> = claims.filter_map(|container| container.labels.get(label::INTERNAL_PORT)?.parse().ok()).collect();
    for (server, facts) in fleet {
        let mut explained = BTreeSet::new();
        for container in &facts.containers {
            let number = |key: &str| container.labels.get(key).and_then(|text| text.parse::<u16>().ok());
            let runs = container.state == crate::facts::ContainerState::Running;
            let given_up = adopt::given_up(playbook, server, container);
            explained.extend(&given_up);
            if mine(container) {
                explained.extend(container.published.iter().filter(|_| runs).map(|published| published.host_port));
                // What waits to be gone back to has it, although the playbook has no app port any more.
                let name = container.labels.get(label::SERVICE).map_or("", String::as_str);
                let had_one = playbook.services.iter().any(|(known, service)| known.as_str() == name && service.app_port().is_none());
                if let Some(base) = number(label::APP_BASE_PORT).filter(|_| had_one) {
                    taken.extend([base, secondary_port(base)].map(|port| (port, format!("service {name}"))));
                }
                continue;
            }
            let owner = match container.labels.get(label::PROJECT) {
                Some(project) => {
                    let word = |key: &str| container.labels.get(key).map_or("?", String::as_str);
                    format!("{project}/{} service {}", word(label::ENV), word(label::SERVICE))
                }
                None => format!("container {} on {server}", container.name),
            };
            for base in [label::BASE_PORT, label::APP_BASE_PORT].into_iter().filter_map(number) {
                taken.entry(base).or_insert_with(|| owner.clone());
                taken.entry(secondary_port(base)).or_insert_with(|| owner.clone());
            }
            if let Some(internal) = number(label::INTERNAL_PORT) {
                taken.entry(internal).or_insert_with(|| owner.clone());
            }
            for published in container.published.iter().filter(|published| runs && !given_up.contains(&published.host_port)) {
                taken.entry(published.host_port).or_insert_with(|| owner.clone());
            }
        }
        for routed in facts.nginx.files.values().filter_map(|text| read_service(text).ok()) {
            explained.insert(routed.internal_port);
            let own = routed.project == playbook.project && routed.env == playbook.env && playbook.services.contains_key(&routed.service);
            if !own {
                let owner = format!("{}/{} service {}", routed.project, routed.env, routed.service);
                taken.entry(routed.internal_port).or_insert(owner);
            }
        }
        // The host's door opens a service's port before NGINX routes it, and keeps it open after a deploy that was put back.
        for (port, stem) in facts.nginx.doors.values().flat_map(|text| read_door(text)) {
            explained.insert(port);
            if !playbook.services.keys().any(|name| layout::stem(&playbook.project, &playbook.env, name) == stem) {
                taken.entry(port).or_insert_with(|| format!("the door of {stem} on {server}"));
            }
        }
        for listener in &facts.listeners {
            let door = listener.address == Some(Ipv4Addr::LOCALHOST) && loopback.contains(&listener.port);
            if !door && !explained.contains(&listener.port) {
                taken.entry(listener.port).or_insert_with(|| format!("another program on {server} ({})", listener.transport));
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_playbook;
    use crate::model::{EnvName, Labels, ServerName};
    use crate::plan::present::present;
    use crate::remote::fake::FakeServer;

    const BROKER: &str = "[project]\nname = \"shop\"\nversion = \"1\"\n\n[env.prod]\n\n[services.broker]\nimage = \"b:1\"\nport = 5672\n\
                          replicas = 2\nproxy = { hosts = [\"b.example.com\"], app_port = 15672 }\n";

    /// Own base ports and those of the app port by replica, and what was noticed, with these labels on a container that is there.
    fn settled(playbook: &str, labels: &[(&str, &str)]) -> (Vec<Option<u16>>, Vec<Option<u16>>, Vec<Finding>) {
        let playbook = read_playbook("playbook.toml", playbook, Some(&EnvName::new("prod").unwrap())).unwrap();
        let mut server = FakeServer::new("s1");
        let labels: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        if !labels.is_empty() {
            server.add_container("shop_prod_broker", "b:1", labels, Vec::new());
        }
        let fleet = Fleet::from([(ServerName::new("s1").unwrap(), server.facts())]);
        let mut findings = Vec::new();
        let present = present(&playbook.project, &playbook.env, &fleet);
        let (_, replicas) = settle_all(&playbook, &fleet, &present, &Wanted::default(), &mut findings).into_values().next().unwrap();
        (
            replicas.iter().map(|replica| replica.base_port).collect(),
            replicas.iter().map(|replica| replica.app_base_port).collect(),
            findings,
        )
    }

    fn mine(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let own = [
            (label::PROJECT, "shop"),
            (label::ENV, "prod"),
            (label::SERVICE, "broker"),
            (label::SIDE, "primary"),
            (label::REPLICA, "1"),
            (label::ROLE, "app"),
        ];
        own.into_iter().chain(more.iter().copied()).collect()
    }

    #[test]
    fn the_app_port_has_a_pair_of_ports_by_a_hash_of_its_own() {
        let (own, app, findings) = settled(BROKER, &[]);
        // printf shop_prod_broker_15672 | md5sum
        assert_eq!((own[0], app[0], findings.len()), (Some(8242), Some(8687), 0));
        assert!(app[1].is_some() && !own.contains(&app[1]) && app[1] != app[0], "{own:?} {app:?}");
        let (_, none, _) = settled(
            &BROKER.replace(", app_port = 15672", ", app_port = 5672").replace("port = 5672\n", "port = 5672\nprotocol = \"http\"\n"),
            &[],
        );
        assert_eq!(none, [None, None], "a service that serves its hosts from its own port has one pair");
    }

    #[test]
    fn a_claim_on_a_label_stays_and_another_projects_is_heeded() {
        let (_, app, _) = settled(BROKER, &mine(&[(label::APP_BASE_PORT, "8111")]));
        assert_eq!(app[0], Some(8111));
        let others = [(label::PROJECT, "blog"), (label::ENV, "prod"), (label::SERVICE, "x"), (label::APP_BASE_PORT, "8687")];
        let (_, app, findings) = settled(BROKER, &others);
        assert_eq!(app[0], Some(8688));
        assert!(
            findings[0].text.contains("app base port 8687 would be the hash's choice, but 8687 is taken by blog/prod service x"),
            "{findings:?}"
        );
    }

    #[test]
    fn what_waits_to_be_gone_back_to_keeps_its_ports() {
        let without = BROKER.replace("proxy = { hosts = [\"b.example.com\"], app_port = 15672 }\n", "");
        let (own, app, findings) = settled(&without, &mine(&[(label::APP_BASE_PORT, "8242")]));
        assert_eq!((own[0], app[0]), (Some(8243), None), "{findings:?}");
    }
}
