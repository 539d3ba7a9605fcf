//! The only reader of the three folders: playbooks, inventory, templates. Deliberately absent: what their texts mean.
use super::args::Global;
use crate::config::{Inventory, Playbook, Problems, Proxy, read_inventory, read_playbook};
use crate::model::Secrets;
use crate::nginx::{TemplateError, Templates};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// No file was named and the folder does not say which.
    #[error("{found} in {folder}/: name one with {option}, or run `flipside init` to begin")]
    Choose {
        /// The folder.
        folder: &'static str,
        /// What was found.
        found: String,
        /// The option.
        option: &'static str,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is wrong.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// A page is too large, or no text.
    #[error("the page {path} {fault}; pages are UTF-8 texts of 64 KiB at most, since every server is given them with every change")]
    Page {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: &'static str,
    },
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// The most bytes of a page.
const LARGEST_PAGE: usize = 64 << 10;

/// Everything that files say.
#[derive(Debug)]
pub(super) struct Loaded {
    /// What to deploy.
    pub(super) playbook: Playbook,
    /// The playbook's folder: its secrets lie there, and their relative paths begin there.
    pub(super) playbook_dir: PathBuf,
    /// The values of secrets, once a command that needs them has read them.
    pub(super) secrets: Secrets,
    /// Where to.
    pub(super) inventory: Inventory,
    /// The inventory's folder: its relative paths begin there.
    pub(super) inventory_dir: PathBuf,
    /// How NGINX is configured.
    pub(super) templates: Templates,
}

/// Reads playbook, inventory and templates. Problems of both files are shown in one run.
///
/// # Errors
/// [`LoadError`].
pub(super) fn load(global: &Global) -> Result<Loaded, LoadError> {
    let playbook_path = choose(global.playbook.as_deref(), "playbooks", "-p FILE")?;
    let playbook = read(&playbook_path).and_then(|text| Ok(read_playbook(&name(&playbook_path), &text, global.env.as_ref())?));
    let inventory = load_inventory(global);
    let (playbook, (inventory, inventory_dir)) = match (playbook, inventory) {
        (Ok(playbook), Ok(inventory)) => (playbook, inventory),
        (Err(LoadError::Problems(mut first)), Err(LoadError::Problems(second))) => {
            first.problems.extend(second.problems);
            return Err(LoadError::Problems(first));
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let (playbook_dir, secrets) = (folder(&playbook_path), Secrets::none());
    let pages = load_pages(&playbook, &playbook_dir)?;
    let playbook = Playbook { pages, ..playbook };
    Ok(Loaded { playbook, playbook_dir, secrets, inventory, inventory_dir, templates: load_templates(global)? })
}

/// Reads the inventory alone, with its folder.
///
/// # Errors
/// [`LoadError`].
pub(super) fn load_inventory(global: &Global) -> Result<(Inventory, PathBuf), LoadError> {
    let path = choose(global.inventory.as_deref(), "inventory", "-i FILE")?;
    let text = read(&path)?;
    let inventory = read_inventory(&name(&path), &text)?;
    Ok((inventory, folder(&path)))
}

/// The pages that the playbook names.
fn load_pages(playbook: &Playbook, folder: &Path) -> Result<BTreeMap<String, String>, LoadError> {
    let mut pages = BTreeMap::new();
    for named in playbook.services.values().filter_map(|service| service.proxy.as_ref()).flat_map(Proxy::pages) {
        let path = folder.join(named);
        let bytes = fs::read(&path).map_err(|source| LoadError::Io { path: path.clone(), source })?;
        if bytes.len() > LARGEST_PAGE {
            return Err(LoadError::Page { path, fault: "is too large" });
        }
        let text = String::from_utf8(bytes).map_err(|_| LoadError::Page { path, fault: "is not UTF-8" })?;
        pages.insert(named.clone(), text);
    }
    Ok(pages)
}

/// The folder that a file is in.
fn folder(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// The built-in templates, with those of `--templates`, or of a folder `templates/` here, in their place. Other programs have folders of that
/// name, too: one that has nothing of ours is theirs.
fn load_templates(global: &Global) -> Result<Templates, LoadError> {
    let folder = global.templates.clone().or_else(|| Some(PathBuf::from("templates")).filter(|folder| folder.is_dir()));
    let mut overrides = BTreeMap::new();
    if let Some(folder) = folder {
        for entry in fs::read_dir(&folder).map_err(|source| LoadError::Io { path: folder.clone(), source })? {
            let path = entry.map_err(|source| LoadError::Io { path: folder.clone(), source })?.path();
            if path.extension().is_some_and(|extension| extension == "j2") {
                overrides.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), read(&path)?);
            }
        }
    }
    if global.templates.is_none() && !Templates::names().iter().any(|name| overrides.contains_key(*name)) {
        overrides.clear();
    }
    Ok(Templates::new(&overrides)?)
}

fn choose(named: Option<&Path>, folder: &'static str, option: &'static str) -> Result<PathBuf, LoadError> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let files = match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| is_data(path)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(LoadError::Io { path: PathBuf::from(folder), source }),
    };
    match files.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(LoadError::Choose { folder, found: "there is no .toml or .json file".to_owned(), option }),
        several => {
            let mut names: Vec<String> =
                several.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect();
            names.sort();
            Err(LoadError::Choose { folder, found: format!("there are {} files ({})", names.len(), names.join(", ")), option })
        }
    }
}

fn is_data(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|extension| extension == "toml" || extension == "json")
}

fn read(path: &Path) -> Result<String, LoadError> {
    fs::read_to_string(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
