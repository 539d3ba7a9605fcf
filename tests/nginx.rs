//! Golden files of the NGINX room: `tests/nginx_golden/<case>/services.json`, `settings.json` where `nginx.conf` has settings of its own,
//! and below `expected/` the whole generation.
//! `UPDATE=1 cargo test --test nginx` writes what is rendered now; look at the diff before you keep it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
mod golden;

use flipside::model::GenerationId;
use flipside::nginx::{
    MainSettings, MeshService, Templates, generation_file, generation_id, read_service, render_app, render_hosts, render_main,
    render_service,
};
use std::collections::BTreeMap;
use std::fs;
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

#[test]
fn every_case_renders_as_expected() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/nginx_golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(cases.len() >= 4, "the cases are gone");
    for case in cases {
        check(&case);
    }
}
