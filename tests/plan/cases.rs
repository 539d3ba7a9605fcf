//! A case: a folder with `case.toml`, and a playbook and an inventory of its own or from `shared/`. What the servers are at its start is
//! rolled forward: earlier deploys are planned and run on bare servers in memory.
use super::adopted::Old;
use super::by_hand::Hand;
use super::driver::{Effect, Servers, Trouble, drive};
use flipside::config::{Inventory, Playbook, read_inventory, read_playbook};
use flipside::facts::{ContainerState, ImageFact, ListenerFact, PublishedFact};
use flipside::model::{
    CopyAt, EnvName, GenerationId, Labels, Secret, SecretName, Secrets, ServerName, ServiceName, Standing, StepId, Verdict,
};
use flipside::nginx::Templates;
use flipside::plan::{
    Back, Finding, Fleet, Force, Inputs, Maintenance, Orphans, Plan, Proposal, Repair, Wanted, build, check_plan, present, propose,
};
use flipside::remote::fake::FakeServer;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What happened before, in order.
    #[serde(default)]
    before: Vec<Before>,
    /// What is asked now.
    #[serde(default)]
    ask: Ask,
    /// The plan's JSON is written down too.
    #[serde(default)]
    json: bool,
    /// What `status` says is written down too.
    #[serde(default)]
    status: bool,
    /// What `adopt` proposes is written down too.
    #[serde(default)]
    adopt: bool,
    /// The NGINX files of every generation that is staged are written down too.
    #[serde(default)]
    nginx: bool,
}

/// What is asked of a plan.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// `deploy` (when empty), `catch-up`, `rollback`, `remove`, `watch`, `maintenance on` or `maintenance off`.
    pub intent: String,
    services: Vec<String>,
    force: bool,
    repair: bool,
    remove_orphans: bool,
    /// A file of the folder or of `shared/`, without `.toml`. Default `playbook`.
    playbook: Option<String>,
    /// Default `inventory`.
    inventory: Option<String>,
    env: Option<String>,
    /// Copies that failed their active checks: `api server2 1`.
    out: Vec<String>,
    /// Copies that passed them.
    passed: Vec<String>,
    /// The values of secrets.
    secrets: BTreeMap<SecretName, String>,
    /// Replacements in the playbook's text.
    edit: Vec<(String, String)>,
    /// The texts of pages that the playbook names.
    pages: BTreeMap<String, String>,
    /// Servers that cannot be reached.
    pub away: BTreeSet<String>,
    max_unreachable: Option<u32>,
    /// The run is cut off at the first step whose title begins so.
    cut: Option<String>,
    /// The first step whose title begins so fails.
    fail: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "do", rename_all = "snake_case")]
enum Before {
    Run(Ask),
    Container {
        server: String,
        name: String,
        #[serde(default)]
        labels: Labels,
        #[serde(default)]
        port: Option<u16>,
    },
    /// Somebody else's container.
    Old(Old),
    Listener {
        server: String,
        port: u16,
    },
    State {
        server: String,
        name: String,
        state: ContainerState,
    },
    Gone {
        server: String,
        name: String,
    },
    Drift {
        server: String,
    },
    /// What somebody did by hand.
    Hand(Hand),
    /// The server's engine is of this version.
    Engine {
        server: String,
        version: String,
    },
    /// So much later: every server's clock says so.
    Later {
        seconds: u64,
    },
    /// The container's first process was started at this tick.
    Started {
        server: String,
        name: String,
        at: u64,
    },
    /// The server has the image, under an id that no other has.
    Image {
        server: String,
        image: String,
        id: String,
    },
}

/// A case, ready to be planned.
#[derive(Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// The servers.
    pub servers: Servers,
    /// What is asked.
    pub ask: Ask,
    /// The playbook, read.
    pub playbook: Playbook,
    /// The inventory, read.
    pub inventory: Inventory,
    /// Whether `plan.json` is compared.
    pub json: bool,
    /// Whether `status.txt` is compared.
    pub status: bool,
    /// Whether `adopt.json` is compared.
    pub adopt: bool,
    /// Whether the folder `nginx` is compared.
    pub nginx: bool,
}

/// All cases, sorted; with `CASE` in the environment that one alone.
#[must_use]
pub fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan_cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    let only = std::env::var("CASE").ok();
    folders.retain(|path| path.join("case.toml").exists() && only.as_ref().is_none_or(|only| path.ends_with(only)));
    folders.sort();
    folders.into_iter().map(|path| read(&path)).collect()
}

/// The case of this name.
#[must_use]
pub fn case(name: &str) -> Case {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan_cases").join(name))
}

/// Reads a case and rolls it forward.
fn read(path: &Path) -> Case {
    let text = fs::read_to_string(path.join("case.toml")).unwrap();
    let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (playbook, inventory) = inputs(path, &file.ask);
    let mut servers = Servers::new();
    join(&mut servers, &inventory);
    for before in &file.before {
        happen(path, before, &mut servers);
    }
    know(&mut servers, &file.ask);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Case {
        name,
        path: path.to_owned(),
        servers,
        ask: file.ask,
        playbook,
        inventory,
        json: file.json,
        status: file.status,
        adopt: file.adopt,
        nginx: file.nginx,
    }
}

fn join(servers: &mut Servers, inventory: &Inventory) {
    for name in inventory.servers.keys() {
        servers.entry(name.clone()).or_insert_with(|| FakeServer::new(name.as_str()));
    }
}

/// Whoever acts on the servers from now on has the values that are asked with.
fn know(servers: &mut Servers, ask: &Ask) {
    servers.values_mut().for_each(|server| server.know(&ask.secrets()));
}

fn inputs(path: &Path, ask: &Ask) -> (Playbook, Inventory) {
    let text = |name: &str| {
        let own = path.join(format!("{name}.toml"));
        let shared = path.parent().unwrap().join(format!("shared/{name}.toml"));
        fs::read_to_string(if own.exists() { own } else { shared }).unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()))
    };
    let mut playbook = text(ask.playbook.as_deref().unwrap_or("playbook"));
    for (from, to) in &ask.edit {
        assert!(playbook.contains(from.as_str()), "{}: the playbook has no {from:?}", path.display());
        playbook = playbook.replace(from, to);
    }
    let env = ask.env.as_ref().map(|env| EnvName::new(env).unwrap());
    let read = read_playbook("playbook.toml", &playbook, env.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let playbook = Playbook { pages: ask.pages.clone(), ..read };
    let inventory = text(ask.inventory.as_deref().unwrap_or("inventory"));
    let inventory = read_inventory("inventory.toml", &inventory).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (playbook, inventory)
}

fn happen(path: &Path, before: &Before, servers: &mut Servers) {
    let name = |name: &String| ServerName::new(name.as_str()).unwrap();
    match before {
        Before::Run(ask) => {
            let (playbook, inventory) = inputs(path, ask);
            join(servers, &inventory);
            let (plan, findings) = plan(&playbook, &inventory, servers, ask);
            assert!(!flipside::plan::is_fatal(&findings), "{}: an earlier plan is refused: {findings:#?}", path.display());
            let find = |title: &String| {
                let ids: Vec<StepId> = plan.step_ids().collect();
                let at = ids.iter().position(|id| plan.step(id).unwrap().title.starts_with(title.as_str()));
                let at = at.unwrap_or_else(|| panic!("{}: no step begins with {title:?}", path.display()));
                (at, ids[at].clone())
            };
            let trouble = Trouble {
                fails: ask.fail.as_ref().map(|title| (find(title).1, Effect::None)),
                cut_after: ask.cut.as_ref().map(|title| find(title).0),
            };
            know(servers, ask);
            let ended = drive(&plan, servers, &trouble, &mut |_, _| {});
            let wanted = match (&ask.fail, &ask.cut) {
                (_, Some(_)) => None,
                (Some(_), None) => Some(Verdict::PutBack),
                (None, None) => Some(Verdict::Done),
            };
            assert_eq!(ended.verdict, wanted, "{}: {}", path.display(), ended.log.join("\n"));
        }
        Before::Container { server, name: container, labels, port } => {
            let published =
                port.map(|port| PublishedFact { address: None, host_port: port, container_port: 80, transport: "tcp".to_owned() });
            servers.get_mut(&name(server)).unwrap().add_container(
                container,
                "other/image:1",
                labels.clone(),
                published.into_iter().collect(),
            );
        }
        Before::Old(old) => old.start(servers.get_mut(&name(&old.server)).unwrap()),
        Before::Listener { server, port } => {
            let listener = ListenerFact { address: None, port: *port, transport: "tcp".to_owned() };
            servers.get_mut(&name(server)).unwrap().base.listeners.push(listener);
        }
        Before::State { server, name: container, state } => {
            let server = servers.get_mut(&name(server)).unwrap();
            assert!(server.container(container).is_some(), "{}: no container {container}", path.display());
            server.set_state(container, *state);
        }
        Before::Image { server, image, id } => {
            let images = &mut servers.get_mut(&name(server)).unwrap().base.images;
            images.push(ImageFact { id: id.clone(), tags: vec![image.clone()], digests: Vec::new() });
        }
        Before::Gone { server, name: container } => {
            let server = servers.get_mut(&name(server)).unwrap();
            assert!(server.container(container).is_some(), "{}: no container {container}", path.display());
            server.base.containers.retain(|there| there.name != *container);
        }
        Before::Hand(hand) => hand.change(servers.get_mut(&name(&hand.server)).unwrap()),
        Before::Engine { server, version } => servers.get_mut(&name(server)).unwrap().base.docker_version.clone_from(version),
        Before::Later { seconds } => servers.values_mut().for_each(|server| server.base.clock += seconds * 1000),
        Before::Started { server, name: container, at } => {
            let containers = &mut servers.get_mut(&name(server)).unwrap().base.containers;
            containers.iter_mut().find(|there| there.name == *container).unwrap().started = Some(*at);
        }
        Before::Drift { server } => {
            servers.get_mut(&name(server)).unwrap().serves_other = Some(GenerationId("0123456789abcdef".to_owned()));
        }
    }
}

/// The only place that touches the planner.
#[must_use]
pub fn plan(playbook: &Playbook, inventory: &Inventory, servers: &Servers, ask: &Ask) -> (Plan, Vec<Finding>) {
    asked(playbook, inventory, servers, ask, |inputs| match ask.intent.as_str() {
        "watch" => check_plan(inputs, &ask.verdicts(playbook, inputs.fleet)).unwrap(),
        _ => build(inputs).unwrap(),
    })
}

/// What `adopt` proposes.
#[must_use]
pub fn proposals(case: &Case) -> Vec<Proposal> {
    asked(&case.playbook, &case.inventory, &case.servers, &case.ask, |inputs| propose(inputs).unwrap())
}

fn asked<T>(playbook: &Playbook, inventory: &Inventory, servers: &Servers, ask: &Ask, question: impl Fn(Inputs<'_>) -> T) -> T {
    let fleet: Fleet = servers
        .iter()
        .filter(|(name, _)| inventory.servers.contains_key(*name) && !ask.away.contains(name.as_str()))
        .map(|(name, server)| (name.clone(), server.facts()))
        .collect();
    let services: BTreeSet<ServiceName> = ask.services.iter().map(|name| ServiceName::new(name.as_str()).unwrap()).collect();
    let removes = ask.intent == "remove";
    assert!(
        ["", "deploy", "catch-up", "rollback", "remove", "watch", "maintenance on", "maintenance off"].contains(&ask.intent.as_str()),
        "{}",
        ask.intent
    );
    let wanted = Wanted {
        selected: if removes { BTreeSet::new() } else { services.clone() },
        force: if ask.force { Force::Yes } else { Force::No },
        back: if ask.intent == "rollback" { Back::Yes } else { Back::No },
        repair: if ask.repair { Repair::Yes } else { Repair::No },
        max_unreachable: ask.max_unreachable,
        catch_up: ask.intent == "catch-up",
        orphans: if ask.remove_orphans { Orphans::Go } else { Orphans::Stay },
        maintenance: match ask.intent.as_str() {
            "maintenance on" => Some(Maintenance::On),
            "maintenance off" => Some(Maintenance::Off),
            _ => None,
        },
    };
    let removed = if removes { services } else { BTreeSet::new() };
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    let templates = TEMPLATES.get_or_init(|| Templates::new(&BTreeMap::new()).unwrap());
    question(Inputs { playbook, inventory, fleet: &fleet, templates, wanted: &wanted, removed: &removed, secrets: &ask.secrets() })
}

impl Ask {
    /// The values, with a salt that is always the same.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        let values = self.secrets.iter().map(|(name, value)| (name.clone(), Secret::new(value.clone().into_bytes())));
        Secrets::new([7; 32], values.collect())
    }

    /// What the active checks say.
    fn verdicts(&self, playbook: &Playbook, fleet: &Fleet) -> BTreeMap<CopyAt, Standing> {
        let present = present(&playbook.project, &playbook.env, fleet);
        let copy = |text: &String| {
            let words: Vec<&str> = text.split(' ').collect();
            let (service, server) = (ServiceName::new(words[0]).unwrap(), ServerName::new(words[1]).unwrap());
            let side = present.services[&service].live().unwrap();
            CopyAt { service, server, replica: words[2].parse().unwrap(), side }
        };
        let of = |list: &Vec<String>, standing| list.iter().map(move |text| (copy(text), standing)).collect::<Vec<_>>();
        of(&self.out, Standing::Out).into_iter().chain(of(&self.passed, Standing::In)).collect()
    }

    /// The same question again, without force: a deploy, or the same removal.
    #[must_use]
    pub fn again(&self) -> Ask {
        Ask { force: false, ..self.clone() }
    }

    /// A deploy of everything.
    #[must_use]
    pub fn whole(&self) -> Ask {
        Ask { force: false, services: Vec::new(), intent: String::new(), ..self.clone() }
    }
}
