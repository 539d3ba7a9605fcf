//! A small fleet, a plan of every kind of wave, and a run of it in memory: `plan::next` decides, a list of faults says what fails.
use flipside::ledger::Ledger;
use flipside::model::{
    Action, Backend, BackendMode, ContainerSpec, DrainPolicy, EnvName, Event, EventKind, Failure, GenerationId, HealthPolicy, Labels,
    Millis, NetworkMode, NetworkSpec, Outcome, Probe, ProbeKind, ProjectName, Protocol, ServerName, ServiceName, Side, StepId,
};
use flipside::plan::{
    Basis, Change, Finding, Intent, Level, Move, NginxFiles, PLAN_FORMAT, Plan, ServicePlan, Step, UndoKind, Wave, WaveKind, next,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub(crate) fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

const SERVERS: [&str; 3] = ["lon1-a", "lon1-b", "par2-edge"];

fn address(name: &str) -> Ipv4Addr {
    let last = SERVERS.iter().position(|server| *server == name).unwrap();
    Ipv4Addr::new(10, 0, 0, 10 + u8::try_from(last).unwrap())
}

/// `api` toggles on three servers, `postgres` is handed over on one, `web` stays, `worker` is new.
pub(crate) fn plan() -> Plan {
    let wave = |name: &str, kind, steps: &dyn Fn(&str) -> Vec<Step>| Wave {
        name: name.to_owned(),
        kind,
        servers: SERVERS.iter().map(|name| (server(name), steps(name))).filter(|(_, steps)| !steps.is_empty()).collect(),
    };
    let only_a = |name: &str, steps: Vec<Step>| if name == "lon1-a" { steps } else { Vec::new() };
    Plan {
        format: PLAN_FORMAT,
        intent: Intent::Deploy,
        project: ProjectName::new("shop").unwrap(),
        env: EnvName::new("prod").unwrap(),
        version: "2.0".to_owned(),
        mode: BackendMode::MultiServer,
        basis: Basis { playbook: "p".into(), inventory: "i".into(), templates: "t".into(), facts: BTreeMap::new() },
        services: services(),
        left_out: std::collections::BTreeSet::new(),
        on_failure: flipside::config::OnFailure::Rollback,
        found: BTreeMap::new(),
        waves: vec![
            wave("lock", WaveKind::Work, &|_| vec![step("lock the server", None, Action::Lock, vec![])]),
            wave("prepare", WaveKind::Work, &|_| {
                let image = "registry.example.com/shop/api:2.0".to_owned();
                vec![
                    step("make network shop_prod_network", None, Action::EnsureNetwork(network()), vec![]),
                    step(&format!("pull {image}"), Some("api"), Action::PullImage { image }, vec![]),
                ]
            }),
            wave("start api, worker", WaveKind::Work, &|name| start(name, "shop_prod_api_secondary")),
            wave("stage", WaveKind::Work, &|_| vec![stage()]),
            wave("hand over postgres", WaveKind::Work, &|name| only_a(name, vec![hand_over()])),
            wave("switch", WaveKind::Work, &|_| vec![switch()]),
            wave("drain", WaveKind::Work, &|name| vec![drain(name)]),
            wave("retire", WaveKind::Work, &|_| {
                let stop = Action::StopContainer { name: "shop_prod_api".into(), timeout: Millis::seconds(30) };
                let undo = vec![Action::StartContainer { name: "shop_prod_api".into() }];
                vec![Step { undo_kind: UndoKind::Restores, ..step("stop shop_prod_api", Some("api"), stop, undo) }]
            }),
            wave("finish", WaveKind::Cleanup, &|_| {
                vec![step("prune NGINX generations", None, Action::PruneGenerations { keep: 5, stems: "shop_prod_".to_owned() }, vec![])]
            }),
        ],
    }
}

fn services() -> BTreeMap<ServiceName, ServicePlan> {
    let base = |change, reason: &str, names: &[&str]| ServicePlan {
        change,
        reason: reason.to_owned(),
        image: "image".to_owned(),
        protocol: Protocol::Tcp,
        from: Some(Side::Primary),
        to: Some(Side::Secondary),
        from_version: Some("1.0".to_owned()),
        to_version: Some("2.0".to_owned()),
        servers: names.iter().map(|name| server(name)).collect(),
        replicas: 1,
        port: Some(8000),
        base_ports: BTreeMap::from([(1, 8123)]),
        app_port: None,
        app_base_ports: BTreeMap::new(),
        internal_port: Some(5123),
        hands_over: false,
        takes_over: BTreeMap::new(),
    };
    let api = ServicePlan {
        protocol: Protocol::Http,
        replicas: 2,
        base_ports: BTreeMap::from([(1, 8123), (2, 8400)]),
        app_port: None,
        app_base_ports: BTreeMap::new(),
        ..base(Change::Toggle, "image shop/api:1.0 → 2.0", &SERVERS)
    };
    let postgres = ServicePlan {
        hands_over: true,
        base_ports: BTreeMap::from([(1, 8959)]),
        app_port: None,
        app_base_ports: BTreeMap::new(),
        internal_port: Some(5228),
        from_version: Some("15".to_owned()),
        to_version: Some("16".to_owned()),
        ..base(Change::Toggle, "image postgres:15 → 16", &["lon1-a"])
    };
    let web = ServicePlan {
        to: Some(Side::Primary),
        to_version: Some("1.0".to_owned()),
        internal_port: Some(5900),
        ..base(Change::Keep, "unchanged", &["lon1-b"])
    };
    let worker = ServicePlan {
        from: None,
        to: Some(Side::Primary),
        from_version: None,
        port: None,
        base_ports: BTreeMap::new(),
        app_port: None,
        app_base_ports: BTreeMap::new(),
        internal_port: None,
        ..base(Change::Create, "new", &["par2-edge"])
    };
    BTreeMap::from([(service("api"), api), (service("postgres"), postgres), (service("web"), web), (service("worker"), worker)])
}

fn step(title: &str, of: Option<&str>, action: Action, undo: Vec<Action>) -> Step {
    let title = title.to_owned();
    Step { title, service: of.map(service), first: Vec::new(), action, undo, undo_kind: UndoKind::Cleans, within: Millis::seconds(60) }
}

fn network() -> NetworkSpec {
    NetworkSpec {
        name: "shop_prod_network".to_owned(),
        subnet: "10.210.4.0/22".to_owned(),
        ip_range: "10.210.7.0/24".to_owned(),
        labels: Labels::new(),
    }
}

fn start(on: &str, name: &str) -> Vec<Step> {
    let spec = ContainerSpec {
        name: name.to_owned(),
        image: "registry.example.com/shop/api:2.0".to_owned(),
        network: NetworkMode::Host,
        publish: Vec::new(),
        env: BTreeMap::new(),
        labels: Labels::new(),
        volumes: Vec::new(),
        secrets: BTreeMap::new(),
        entrypoint: None,
        command: Vec::new(),
        restart: "unless-stopped".to_owned(),
        stop_signal: None,
        stop_timeout: Millis::seconds(30),
    };
    let aside = Action::SetAside { name: name.to_owned(), to: format!("{name}.failed"), release: None, stop_timeout: Millis::seconds(30) };
    let probe = Probe { kind: ProbeKind::Http { path: "/up".into(), host: "localhost".into() }, address: address(on), port: 8000 };
    let policy = HealthPolicy {
        start_period: Millis(0),
        interval: Millis::seconds(1),
        timeout: Millis::seconds(5),
        retries: 3,
        deadline: Millis::seconds(60),
    };
    vec![
        step(&format!("start {name}"), Some("api"), Action::RunContainer(Box::new(spec)), vec![aside]),
        step(
            &format!("wait for {name} to be healthy"),
            Some("api"),
            Action::AwaitHealthy { container: name.to_owned(), probe, policy },
            vec![],
        ),
    ]
}

fn stage() -> Step {
    let generation = GenerationId("bbbb000000000002".to_owned());
    let stage = Action::StageNginx {
        generation: generation.clone(),
        base: Some(GenerationId("aaaa000000000001".to_owned())),
        files: BTreeMap::new(),
        remove: Vec::new(),
        listeners: Vec::new(),
    };
    step("stage NGINX generation bbbb000000000002", None, stage, vec![Action::DropGeneration { generation }])
}

fn hand_over() -> Step {
    let stop = Action::StopContainer { name: "shop_prod_postgres".into(), timeout: Millis::seconds(30) };
    let undo = vec![Action::StartContainer { name: "shop_prod_postgres".into() }];
    Step { undo_kind: UndoKind::Restores, ..step("stop shop_prod_postgres", Some("postgres"), stop, undo) }
}

fn switch() -> Step {
    let (old, new) = (GenerationId("aaaa000000000001".to_owned()), GenerationId("bbbb000000000002".to_owned()));
    let action = Action::Switch { expect: Some(old.clone()), to: new.clone() };
    let undo = vec![Action::SwitchBack { from: new, to: old }];
    Step { undo_kind: UndoKind::Restores, ..step("switch NGINX to generation bbbb000000000002", None, action, undo) }
}

fn drain(on: &str) -> Step {
    let policy = DrainPolicy { quiet: Millis(10_500), timeout: Millis::seconds(30) };
    let backends = vec![Backend::Address { address: address(on), port: 8123 }];
    step("drain the primary side of api", Some("api"), Action::Drain { backends, policy }, vec![])
}

pub(crate) fn findings() -> Vec<Finding> {
    let finding = |level, on: Option<&str>, of: Option<&str>, text: &str, hint: &str| Finding {
        level,
        server: on.map(server),
        service: of.map(service),
        text: text.to_owned(),
        hint: hint.to_owned(),
    };
    vec![
        finding(Level::Note, None, Some("api"), "base port 8122 is taken by blog/prod, so 8123 is used", ""),
        finding(
            Level::Warning,
            Some("lon1-a"),
            Some("postgres"),
            "its volume takes one writer: there is a gap between stop and switch",
            "say `overlap = true` if the data can take two writers",
        ),
    ]
}

pub(crate) fn nginx() -> BTreeMap<ServerName, NginxFiles> {
    let upstream = |port: u16| {
        format!("upstream shop_prod_api {{\n    zone shop_prod_api 64k;\n    server 10.0.0.10:{port};\n    server 10.0.0.11:{port};\n}}\n")
    };
    let old = BTreeMap::from([("http.d/shop_prod_api.conf".to_owned(), upstream(8123)), ("nginx.conf".to_owned(), "same\n".to_owned())]);
    let mut new = old.clone();
    new.insert("http.d/shop_prod_api.conf".to_owned(), upstream(18123));
    let first = NginxFiles { old: old.clone(), new: new.clone() };
    new.insert("stream.d/shop_prod_postgres.conf".to_owned(), "server {\n    listen 5228;\n}\n".to_owned());
    BTreeMap::from([(server("lon1-a"), first.clone()), (server("lon1-b"), first), (server("par2-edge"), NginxFiles { old, new })])
}

/// What fails: the server, the beginning of the step's title, doing or undoing, and how.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) server: &'static str,
    pub(crate) title: &'static str,
    pub(crate) undo: bool,
    pub(crate) outcome: Outcome,
}

pub(crate) fn crash() -> Failure {
    Failure {
        seen: "the container exited with code 1 after 2.1 s".to_owned(),
        wanted: "3 answers in a row from GET /up on 10.0.0.11:8000 within 60s".to_owned(),
        causes: vec!["the last probe got no answer".to_owned(), "connection refused (os error 111)".to_owned()],
        exit: Some(1),
        tail: vec!["\u{1b}[31mFATAL\u{1b}[0m DATABASE_URL is not set".to_owned(), "\tat /app/main.rs:12".to_owned()],
        hint: "the container wrote this itself: look at its environment in the playbook".to_owned(),
    }
}

pub(crate) fn engine_away() -> Failure {
    Failure {
        seen: "the Docker engine does not answer".to_owned(),
        wanted: "a Docker engine".to_owned(),
        exit: Some(1),
        ..Failure::default()
    }
}

pub(crate) fn reload_fails() -> Failure {
    Failure {
        seen: "NGINX still serves generation bbbb000000000002".to_owned(),
        wanted: "generation aaaa000000000001".to_owned(),
        causes: vec!["nginx -s reload: open() \"/run/nginx.pid\" failed (2: No such file or directory)".to_owned()],
        exit: Some(1),
        ..Failure::default()
    }
}

/// Runs the plan: every answer takes 200 ms. `abort_before` asks to undo before the first step of that wave;
/// `cut_after` ends the events after so many, as a crash does.
pub(crate) struct Script {
    pub(crate) faults: Vec<Fault>,
    pub(crate) abort_before: Option<&'static str>,
    pub(crate) cut_after: Option<usize>,
}

impl Script {
    pub(crate) fn of(faults: Vec<Fault>) -> Self {
        Self { faults, abort_before: None, cut_after: None }
    }

    pub(crate) fn run(&self, plan: &Plan) -> (Vec<Event>, Ledger) {
        let mut run = Run { events: Vec::new(), ledger: Ledger::default(), at: 1_760_000_000_000 };
        run.push(EventKind::RunOpened { run: "20251009-085320-4f1c".into(), plan: "9f".into() });
        while run.ledger.closed.is_none() {
            let moves = next(plan, &run.ledger);
            if let Some(name) = self.abort_before
                && run.ledger.abort.is_none()
                && moves.iter().any(|step| matches!(step, Move::Do(id) if plan.waves[id.wave].name == name))
            {
                run.push(EventKind::AbortRequested { reason: "Ctrl-C".into() });
                continue;
            }
            self.perform(plan, &moves, &mut run);
            if self.cut_after.is_some_and(|limit| run.events.len() >= limit) {
                return run.cut(self.cut_after.unwrap());
            }
        }
        (run.events, run.ledger)
    }

    fn perform(&self, plan: &Plan, moves: &[Move], run: &mut Run) {
        for step in moves {
            match step {
                Move::Do(id) | Move::Recheck(id) => run.push(EventKind::StepStarted { step: id.clone() }),
                Move::Undo(id) => run.push(EventKind::UndoStarted { step: id.clone() }),
                Move::PassGate(wave) => run.push(EventKind::GatePassed { wave: *wave }),
                Move::Hold => run.push(EventKind::RunHeld),
                Move::Close(verdict) => run.push(EventKind::RunClosed { verdict: *verdict }),
            }
        }
        let mut broken: Vec<ServerName> = Vec::new();
        for step in moves {
            run.at += 200;
            match step {
                Move::Do(id) | Move::Recheck(id) => {
                    let outcome = if broken.contains(&id.server) {
                        Outcome::NotReached
                    } else {
                        self.outcome(plan, id, false, matches!(step, Move::Do(_)))
                    };
                    if !matches!(outcome, Outcome::Done { .. }) {
                        broken.push(id.server.clone());
                    }
                    run.push(EventKind::StepEnded { step: id.clone(), outcome });
                }
                Move::Undo(id) => run.push(EventKind::UndoEnded { step: id.clone(), outcome: self.outcome(plan, id, true, true) }),
                Move::PassGate(_) | Move::Hold | Move::Close(_) => {}
            }
        }
    }

    /// A step that was lost sight of is found done when it is looked at again.
    fn outcome(&self, plan: &Plan, id: &StepId, undo: bool, first: bool) -> Outcome {
        let step = plan.step(id).unwrap();
        let fault = self
            .faults
            .iter()
            .find(|fault| fault.server == id.server.as_str() && step.title.starts_with(fault.title) && fault.undo == undo);
        match fault {
            Some(Fault { outcome: Outcome::Unknown(_), .. }) if !first => Outcome::Done { seen: "it was done".into() },
            Some(fault) => fault.outcome.clone(),
            None if matches!(step.action, Action::Switch { .. }) => Outcome::Done { seen: "served by NGINX".into() },
            None => Outcome::Done { seen: String::new() },
        }
    }
}

struct Run {
    events: Vec<Event>,
    ledger: Ledger,
    at: u64,
}

impl Run {
    fn push(&mut self, kind: EventKind) {
        let event = Event { seq: self.ledger.next_seq(), at: self.at, kind };
        self.ledger.apply(&event).unwrap();
        self.events.push(event);
    }

    fn cut(self, limit: usize) -> (Vec<Event>, Ledger) {
        let mut ledger = Ledger::default();
        let events: Vec<Event> = self.events.into_iter().take(limit).collect();
        events.iter().for_each(|event| ledger.apply(event).unwrap());
        ledger.cut_off();
        (events, ledger)
    }
}
