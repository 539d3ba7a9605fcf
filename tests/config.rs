//! What `config` makes of whole files. Each folder of `config_cases` holds one file and what becomes of it: the value, or the problems
//! exactly as printed. `UPDATE=1 cargo test --test config` writes the expectations anew; read the difference as a user would.
#![expect(clippy::unwrap_used, reason = "a case that cannot be read is a broken test")]
use flipside::config::{Problems, read_inventory, read_playbook, starter_inventory, starter_playbook};
use flipside::model::EnvName;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// The only place that touches the API: a file to what a user would see. A first line `# env: NAME` asks for an environment.
fn outcome(name: &str, text: &str) -> String {
    let env = text.lines().next().and_then(|line| line.strip_prefix("# env: ")).map(|name| EnvName::new(name).unwrap());
    let result = if name.starts_with("inventory") {
        read_inventory(name, text).map(|inventory| pretty(&inventory))
    } else {
        read_playbook(name, text, env.as_ref()).map(|playbook| pretty(&playbook))
    };
    match result {
        Ok(value) => format!("{value}\n"),
        Err(problems) => format!("{problems}\n"),
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_is_answered_as_written_down() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differing = Vec::new();
    let cases = cases();
    for case in &cases {
        let input = ["playbook.toml", "playbook.json", "inventory.toml", "inventory.json"]
            .into_iter()
            .find(|name| case.join(name).exists())
            .unwrap_or_else(|| panic!("{} has no input", case.display()));
        let seen = outcome(input, &fs::read_to_string(case.join(input)).unwrap());
        let expected = case.join("expected.txt");
        if update {
            fs::write(&expected, &seen).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != seen {
            differing.push(format!("== {}\n{seen}", case.file_name().unwrap().to_string_lossy()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(cases.len() >= 25, "only {} cases", cases.len());
}

/// Carets stand below the excerpt, or just past its end where something is missing.
fn carets_fit(result: Result<(), Problems>) {
    let Err(problems) = result else { return };
    assert!(!problems.problems.is_empty());
    assert!(!problems.to_string().chars().any(|c| c.is_control() && c != '\n'), "{problems:?}");
    for place in problems.problems.iter().filter_map(|problem| problem.place.as_ref()) {
        let width = place.excerpt.chars().count();
        assert!(place.length >= 1 && place.line >= 1 && place.column >= 1, "{place:?}");
        assert!(place.indent + place.length <= width.max(place.indent + 1) && place.indent <= width, "{place:?}");
    }
}

fn read_everything(text: &str) {
    for name in ["a.toml", "a.json"] {
        carets_fit(read_playbook(name, text, None).map(drop));
        carets_fit(read_inventory(name, text).map(drop));
    }
}

/// A valid playbook in the nested JSON form, to be damaged.
const NESTED: &str = include_str!("config_cases/json_nested/playbook.json");

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_everything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn text_that_looks_like_a_file_is_read_or_refused(text in "[\\[\\]{}\"'=:,.#a-c0-9 \t\r\nä\u{feff}-]{0,120}") {
        read_everything(&text);
        read_everything(&format!("{{{text}"));
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(
        which in 0..3usize, at in any::<prop::sample::Index>(), length in 0..12usize, insert in "[\\[\\]{}\"'=:,.#a-z0-9 \n\u{1F980}]{0,6}",
    ) {
        let whole: Vec<char> = [starter_playbook(), &starter_inventory(None), NESTED][which].replace("#: ", "").chars().collect();
        let at = at.index(whole.len());
        let end = (at + length).min(whole.len());
        let text: String = whole[..at].iter().copied().chain(insert.chars()).chain(whole[end..].iter().copied()).collect();
        read_everything(&text);
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{a=", "}")] {
        for depth in [70, 600, 20_000] {
            let nest = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            read_everything(&nest);
            read_everything(&format!("a = {nest}"));
        }
    }
    read_everything(&format!("{} = 1", vec!["services"; 5000].join(".")));
    let chain: String = (0..2000).map(|n| format!("[services.s{n}]\nimage = \"a\"\nport = 1\nuses = [\"s{}\"]\n", n + 1)).collect();
    read_everything(&chain);
}
