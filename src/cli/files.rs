//! Commands that need no server: `init`, `inventory`.
use super::args::{Global, Output};
use super::exit::Outcome;
use super::load::{LoadError, load_inventory};
use super::look::print_json;
use super::print::{complain, result_line, talk};
use crate::config::{Inventory, starter_inventory, starter_playbook};
use crate::plan::prose;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes a first playbook and inventory. A file that is there is never overwritten.
pub(super) fn init(dir: &Path) -> Outcome {
    let inventory = starter_inventory(local_fleet(dir).as_deref());
    for (folder, file, text) in [("playbooks", "shop.toml", starter_playbook()), ("inventory", "fleet.toml", &inventory)] {
        let path = dir.join(folder).join(file);
        let written = fs::create_dir_all(dir.join(folder))
            .and_then(|()| fs::OpenOptions::new().write(true).create_new(true).open(&path))
            .and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => result_line(&format!("wrote {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                complain(&format!("{} is there already; it was left as it is", path.display()));
                return Outcome::Configuration;
            }
            Err(error) => {
                complain(&format!("cannot write {}: {error}", path.display()));
                return Outcome::Configuration;
            }
        }
    }
    talk("Next: read both files, then `flipside plan` shows what a deploy would do.\n");
    Outcome::Done
}

/// Where the local fleet keeps its keys, as a file in `dir/inventory` names it: looked for in the working folder and above. `None` when
/// there is no fleet, and when it is where the starter inventory looks by itself.
fn local_fleet(dir: &Path) -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().find(|folder| folder.join(".cache/fleet/id_ed25519").is_file())?;
    let at_root = std::path::absolute(dir).ok()?.components().eq(root.components());
    (!at_root).then(|| root.join(".cache/fleet").display().to_string())
}

/// Lists the servers.
pub(super) fn inventory(global: &Global) -> Outcome {
    let (inventory, _) = match load_inventory(global) {
        Ok(loaded) => loaded,
        Err(LoadError::Problems(problems)) => {
            talk(&format!("{problems}\n"));
            return Outcome::Configuration;
        }
        Err(error) => {
            complain(&error.to_string());
            return Outcome::Configuration;
        }
    };
    match global.output {
        Output::Json => print_json(&listed(&inventory)),
        Output::Text => {
            for line in prose::columns(&rows(&inventory)) {
                result_line(&line);
            }
        }
    }
    Outcome::Done
}

/// A table with one line for each server, below a line of headings.
fn rows(inventory: &Inventory) -> Vec<Vec<String>> {
    let mut rows = vec![["SERVER", "ADDRESS", "PRIVATE", "ZONE", "TAGS", "USER"].map(str::to_owned).to_vec()];
    for (name, server) in &inventory.servers {
        let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            name.to_string(),
            if server.port == 22 || server.address == "local" {
                server.address.clone()
            } else {
                format!("{}:{}", server.address, server.port)
            },
            or_dash(server.private_address.map(|address| address.to_string())),
            or_dash(server.zone.as_ref().map(ToString::to_string)),
            or_dash(Some(server.tags.join(","))),
            or_dash(server.user.clone()),
        ]);
    }
    rows
}

/// The same for programs: an array with one object for each server.
fn listed(inventory: &Inventory) -> serde_json::Value {
    let servers = inventory.servers.iter().map(|(name, server)| {
        serde_json::json!({
            "server": name, "address": server.address, "port": server.port, "private_address": server.private_address,
            "zone": server.zone, "tags": server.tags, "user": server.user,
        })
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_inventory;

    #[test]
    fn a_program_reads_of_each_server_what_people_read() {
        let text = "[servers.s1]\naddress = \"10.0.0.1\"\nport = 2222\nzone = \"lon1\"\ntags = [\"edge\"]\nuser = \"deploy\"\n\n\
                    [servers.s2]\naddress = \"s2.example.com\"\n";
        let inventory = read_inventory("inventory/fleet.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let table = prose::columns(&rows(&inventory));
        assert_eq!(table.len(), 3, "{table:?}");
        assert!(table[1].contains("10.0.0.1:2222") && table[2].contains("s2.example.com"), "{table:?}");
        assert_eq!(
            listed(&inventory),
            serde_json::json!([
                {
                    "server": "s1", "address": "10.0.0.1", "port": 2222, "private_address": "10.0.0.1",
                    "zone": "lon1", "tags": ["edge"], "user": "deploy",
                },
                {
                    "server": "s2", "address": "s2.example.com", "port": 22, "private_address": null,
                    "zone": null, "tags": [], "user": null,
                },
            ])
        );
    }
}
