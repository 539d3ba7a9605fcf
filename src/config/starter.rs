//! The two files that `flipside init` writes: they teach every key, and deploy to the local fleet as they are. Deliberately absent: writing them.

/// The playbook, for `playbooks/shop.toml`.
#[must_use]
pub fn starter_playbook() -> &'static str {
    include_str!("starter/playbook.toml")
}

/// The inventory, for `inventory/fleet.toml`. `fleet_keys` is the folder of the local fleet's keys as that file has to name it; without
/// one it is `../.cache/fleet`: the file then lies two folders below the folder that `vagrant/fleet` runs in.
#[must_use]
pub fn starter_inventory(fleet_keys: Option<&str>) -> String {
    let text = include_str!("starter/inventory.toml");
    fleet_keys.map_or_else(|| text.to_owned(), |folder| text.replace("../.cache/fleet", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Part;
    use crate::config::{read_inventory, read_playbook};
    use crate::model::Protocol;

    #[test]
    fn the_starter_playbook_is_a_playbook() {
        let playbook = read_playbook("playbooks/shop.toml", starter_playbook(), None).unwrap_or_else(|problems| panic!("{problems}"));
        let summary: Vec<_> = playbook
            .services
            .iter()
            .map(|(name, service)| (name.as_str(), service.image.as_str(), service.port, service.protocol, service.servers_count))
            .collect();
        assert_eq!(
            summary,
            [("api", "flipside/app:1.0", Some(8000), Protocol::Http, 3), ("echo", "flipside/app:1.0", Some(9000), Protocol::Tcp, 1)]
        );
    }

    #[test]
    fn the_starter_inventory_is_an_inventory() {
        let inventory = read_inventory("inventory/fleet.toml", &starter_inventory(None)).unwrap_or_else(|problems| panic!("{problems}"));
        let servers: Vec<_> = inventory.servers.iter().map(|(name, server)| (name.as_str(), server.address.as_str())).collect();
        assert_eq!(servers, [("server1", "10.77.0.11"), ("server2", "10.77.0.12"), ("server3", "10.77.0.13")]);
        assert_eq!(inventory.nginx.image, "flipside/nginx:stable");
    }

    #[test]
    fn the_keys_of_a_fleet_elsewhere_are_named() {
        let text = starter_inventory(Some("/somewhere/fleet"));
        assert!(text.contains("[\"/somewhere/fleet/id_ed25519\"]") && !text.contains(".cache"), "{text}");
    }

    #[test]
    fn every_commented_line_that_looks_like_a_key_would_be_understood() {
        let uncommented = |text: &str| -> String {
            let lines = text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line));
            lines.collect::<Vec<_>>().join("\n")
        };
        read_playbook("a.toml", &uncommented(starter_playbook()), None).unwrap_or_else(|problems| panic!("{problems}"));
        read_inventory("a.toml", &uncommented(&starter_inventory(None))).unwrap_or_else(|problems| panic!("{problems}"));
    }

    #[test]
    fn every_key_is_taught() {
        let playbook = [
            Part::Playbook,
            Part::Project,
            Part::Rollout,
            Part::Canary,
            Part::Service,
            Part::HealthCheck,
            Part::Balance,
            Part::ActiveChecks,
            Part::Proxy,
            Part::ProxyTimeout,
            Part::ProxyTls,
            Part::Snippets,
            Part::Adopt,
            Part::Secret,
            Part::Hooks,
            Part::Hook,
        ];
        let inventory = [Part::Inventory, Part::Defaults, Part::Server, Part::Nginx];
        let taught = starter_inventory(None);
        for (parts, text) in [(playbook.as_slice(), starter_playbook()), (inventory.as_slice(), taught.as_str())] {
            for key in parts.iter().flat_map(|part| part.keys()) {
                assert!(text.contains(key), "{key}");
            }
        }
    }
}
