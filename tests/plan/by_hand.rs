//! What an operator, or another program, does to a server behind Flipside's back.
use flipside::model::GenerationId;
use flipside::remote::fake::FakeServer;
use serde::Deserialize;
use std::sync::Arc;

/// One change on one server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hand {
    /// Where.
    pub server: String,
    what: What,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum What {
    /// In a file of the live generation: path, text, what stands there instead.
    Edit(String, String, String),
    /// A file more in the live generation.
    Add(String),
    /// A file less.
    Erase(String),
    /// The live generation's folder is removed; with `copy` its copy too.
    Forget { copy: bool },
    /// The copy of the live generation is removed.
    Uncopy,
    /// The link leads to the generation before the live one; with `reload` NGINX takes it up.
    Link { reload: bool },
    /// The link is gone.
    Unlink,
    /// NGINX was started again after its generation had gone: it serves its first one.
    Bootstrap,
    /// A container gets another name.
    Rename(String, String),
    /// A container is taken off a network.
    Detach(String, String),
    /// A container is put on another network.
    Attach(String, String),
    /// `docker update`: its memory in bytes, its restart policy.
    Update(String, u64, String),
    /// A container has something else mounted: name, where, what.
    Mount(String, String, String),
    /// A container was made anew from another image.
    Image(String, String),
    /// The host door's file gets a line.
    Door(String),
    /// `docker volume create`.
    Volume(String),
}

impl Hand {
    /// Does it.
    pub fn change(&self, server: &mut FakeServer) {
        let live = server.base.nginx.live.clone().expect("a live generation");
        let position = server.releases.iter().position(|(id, _)| *id == live).expect("its files");
        let before = server.releases[..position].last().map(|(id, _)| id.clone());
        let files = Arc::make_mut(&mut server.releases[position].1);
        match &self.what {
            What::Edit(path, from, to) => {
                let text = files.get_mut(path).unwrap_or_else(|| panic!("there is no file {path}"));
                assert!(text.contains(from), "{path} has no {from}:\n{text}");
                *text = text.replace(from, to);
            }
            What::Add(path) => {
                files.insert(path.clone(), "# mine\n".to_owned());
            }
            What::Erase(path) => {
                files.remove(path).unwrap_or_else(|| panic!("there is no file {path}"));
            }
            What::Forget { copy } => {
                server.releases.remove(position);
                if *copy {
                    server.sealed.remove(&live);
                }
            }
            What::Link { reload } => {
                server.base.nginx.live = before;
                server.serves_other = (!reload).then_some(live);
            }
            What::Uncopy => drop(server.sealed.remove(&live)),
            What::Unlink => {
                server.serves_other = Some(live);
                server.base.nginx.live = None;
            }
            What::Bootstrap => {
                server.releases.remove(position);
                server.base.nginx.live = Some(GenerationId("bootstrap".to_owned()));
            }
            What::Door(line) => server.base.nginx.doors.values_mut().for_each(|text| text.push_str(line)),
            What::Volume(name) => drop(server.base.volumes.get_or_insert_default().insert(name.clone())),
            What::Rename(name, _)
            | What::Detach(name, _)
            | What::Attach(name, _)
            | What::Update(name, _, _)
            | What::Mount(name, _, _)
            | What::Image(name, _) => {
                let containers = &mut server.base.containers;
                let container = containers.iter_mut().find(|container| container.name == *name);
                let container = container.unwrap_or_else(|| panic!("there is no container {name}"));
                match &self.what {
                    What::Rename(_, to) => container.name.clone_from(to),
                    What::Detach(_, network) => assert!(container.networks.remove(network).is_some(), "it is not on {network}"),
                    What::Attach(_, network) => assert!(container.networks.insert(network.clone(), None).is_none()),
                    What::Update(_, memory, restart) => (container.memory, container.restart) = (*memory, restart.clone()),
                    What::Mount(_, at, source) => assert!(container.mounts.insert(at.clone(), source.clone()).is_some()),
                    What::Image(_, image) => container.image.clone_from(image),
                    _ => {}
                }
            }
        }
    }
}
