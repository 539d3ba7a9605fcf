//! Golden files of the NGINX room: `tests/nginx_golden/<case>/services.json`, `settings.json` where `nginx.conf` has settings of its own,
//! and below `expected/` the whole generation; and in `doors` what each kind of door is given.
//! `UPDATE=1 cargo test --test nginx` writes what is rendered now; look at the diff before you keep it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
mod golden;

use flipside::model::{EnvName, GenerationId, ProjectName, Protocol, ServiceName};
use flipside::nginx::{
    DoorForward, MainSettings, MeshAddress, MeshService, Templates, generation_file, generation_id, read_service, render_alias, render_app,
    render_door, render_hosts, render_main, render_service,
};
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

fn generation(services: &[MeshService], settings: &MainSettings) -> BTreeMap<String, String> {
    let templates = Templates::new(&BTreeMap::new()).unwrap();
    let mut files = BTreeMap::from([render_main(&templates, settings).unwrap()]);
    let mut by_project: BTreeMap<_, Vec<MeshService>> = BTreeMap::new();
    for service in services {
        let (path, text) = render_service(&templates, service).unwrap();
        assert_eq!(read_service(&text).unwrap(), *service, "{path} reads back as it was");
        assert!(files.insert(path.clone(), text).is_none(), "{path} twice");
        files.extend(render_app(&templates, service).unwrap());
        by_project.entry((&service.project, &service.env)).or_default().push(service.clone());
    }
    files.extend(by_project.values().filter_map(|services| render_hosts(&templates, settings, services).unwrap()));
    let id: GenerationId = generation_id(&files, None);
    files.extend([generation_file(&id, None)]);
    files
}

fn check(case: &Path) {
    let text = fs::read_to_string(case.join("services.json")).unwrap();
    let services: Vec<MeshService> = serde_json::from_str(&text).unwrap();
    let settings = fs::read_to_string(case.join("settings.json")).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
    golden::check(&case.join("expected"), &generation(&services, &settings));
}

/// The host's door, that of a service which uses others, and the plain name of one.
#[test]
fn every_door_renders_as_expected() {
    let templates = Templates::new(&BTreeMap::new()).unwrap();
    let (project, env) = (ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap());
    let forward = |(service, protocol, internal_port)| {
        let (project, env, service) = (project.clone(), env.clone(), ServiceName::new(service).unwrap());
        DoorForward { project, env, service, protocol, internal_port }
    };
    let forwards = [("api", Protocol::Http, 5066), ("db", Protocol::Tcp, 5107), ("dns", Protocol::Udp, 5053)].map(forward);
    let host = render_door(&templates, &forwards, MeshAddress::Fixed(Ipv4Addr::new(10, 255, 0, 2))).unwrap();
    let service = render_door(&templates, &forwards, MeshAddress::Alias).unwrap();
    let alias = render_alias(&templates, "shop_prod_db", 5432).unwrap();
    let doors = [("host", host), ("service", service), ("alias", alias)].map(|(name, text)| (format!("{name}/nginx.conf"), text));
    golden::check(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/nginx_golden/doors"), &BTreeMap::from(doors));
}

#[test]
fn every_case_renders_as_expected() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/nginx_golden");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.join("services.json").exists()).collect();
    cases.sort();
    assert!(cases.len() >= 4, "the cases are gone");
    for case in cases {
        check(&case);
    }
}
