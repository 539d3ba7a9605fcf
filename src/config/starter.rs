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

    /// The file writes this key, or names it in backticks, in a paragraph with one of these tables; or it has a table of its own in one of them.
    fn teaches(text: &str, tables: &[&str], key: &str) -> bool {
        let begins = |line: &str, table: &str| line.trim_start_matches("#: ").starts_with(table);
        let has = |paragraph: &str, table: &str| paragraph.lines().any(|line| begins(line, table));
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let writes = |paragraph: &str| paragraph.match_indices(&format!("{key} = ")).any(|(at, _)| !paragraph[..at].ends_with(is_part));
        let names = |paragraph: &str| paragraph.contains(&format!("`{key}`"));
        tables.iter().any(|table| {
            let mut of_it = text.split("\n\n").filter(|paragraph| has(paragraph, &format!("[{table}]")));
            has(text, &format!("[{table}.{key}]")) || of_it.any(|paragraph| writes(paragraph) || names(paragraph))
        })
    }

    /// The file has these tables, and teaches every key of each part in one of those where it belongs.
    fn teaches_all(text: &str, whole: Part, parts: &[(Part, &[&str])]) {
        for table in whole.keys() {
            assert!(text.contains(&format!("[{table}]")) || text.contains(&format!("[{table}.")), "{table}");
        }
        for (part, tables) in parts {
            for key in part.keys() {
                assert!(teaches(text, tables, key), "{key} of {part:?}");
            }
        }
    }

    #[test]
    fn every_key_is_taught_where_it_belongs() {
        let services = ["services.echo", "services.api", "services.scheduler"];
        let playbook: &[(Part, &[&str])] = &[
            (Part::Project, &["project"]),
            (Part::Rollout, &["rollout"]),
            (Part::Canary, &["rollout.canary"]),
            (Part::Service, &services),
            (Part::HealthCheck, &["services.api.health_check"]),
            (Part::Balance, &["services.api.balance"]),
            (Part::ActiveChecks, &["services.api.balance"]),
            (Part::Proxy, &["services.api.proxy"]),
            (Part::ProxyTimeout, &["services.api.proxy"]),
            (Part::ProxyTls, &["services.api.proxy"]),
            (Part::Snippets, &["services.api.proxy"]),
            (Part::Adopt, &["services.echo"]),
            (Part::Secret, &["secrets"]),
            (Part::Hooks, &["hooks"]),
            (Part::Hook, &["hooks"]),
        ];
        teaches_all(starter_playbook(), Part::Playbook, playbook);
        let servers = ["defaults", "servers.server1"];
        let inventory: &[(Part, &[&str])] = &[(Part::Defaults, &servers), (Part::Server, &servers), (Part::Nginx, &["nginx"])];
        teaches_all(&starter_inventory(None), Part::Inventory, inventory);
        // What only another table has, and what is only a part of another word, is not taught.
        assert!(!teaches(starter_playbook(), &["hooks"], "share") && !teaches(starter_playbook(), &["rollout"], "failures"));
    }
}
