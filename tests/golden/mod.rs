//! A folder of expected files. Deliberately absent: what they are expected of.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

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

/// Compares the folder with these files, by their paths in it; with `UPDATE` in the environment, writes them there instead.
///
/// # Panics
/// Where they differ.
#[expect(unreachable_pub, reason = "each of the tests that use it is a crate of its own")]
pub fn check(folder: &Path, rendered: &BTreeMap<String, String>) {
    if std::env::var_os("UPDATE").is_some() {
        if folder.exists() {
            fs::remove_dir_all(folder).unwrap();
        }
        for (path, text) in rendered {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        return;
    }
    let mut expected = BTreeMap::new();
    read_folder(folder, folder, &mut expected);
    assert_eq!(rendered.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "the files of {}", folder.display());
    for (path, text) in rendered {
        assert_eq!(text, &expected[path], "{}/{path} (UPDATE=1 rewrites it)", folder.display());
    }
}
