//! Golden files of the NGINX room: `tests/nginx_golden/<case>/services.json`, `settings.json` where `nginx.conf` has settings of its own,
//! and below `expected/` the whole generation.
//! `UPDATE=1 cargo test --test nginx` writes what is rendered now; look at the diff before you keep it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
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

fn read_folder(folder: &Path, below: &Path, files: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(&path, below, files);
        } else {
            let name = path.strip_prefix(below).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn check(case: &Path) {
    let text = fs::read_to_string(case.join("services.json")).unwrap();
    let services: Vec<MeshService> = serde_json::from_str(&text).unwrap();
    let settings = fs::read_to_string(case.join("settings.json")).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
    let rendered = generation(&services, &settings);
    let expected_folder = case.join("expected");
    if std::env::var_os("UPDATE").is_some() {
        if expected_folder.exists() {
            fs::remove_dir_all(&expected_folder).unwrap();
        }
        for (path, text) in &rendered {
            let path = expected_folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        return;
    }
    let mut expected = BTreeMap::new();
    read_folder(&expected_folder, &expected_folder, &mut expected);
    assert_eq!(rendered.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "the files of {}", case.display());
    for (path, text) in &rendered {
        assert_eq!(text, &expected[path], "{}/expected/{path} (UPDATE=1 rewrites it)", case.display());
    }
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
