//! The README against the program: every snippet is read, every command and flag exists and is mentioned, every key is explained.
use clap::{CommandFactory, Parser};
use flipside::cli::args::Args;
use flipside::cli::exit::MEANINGS;
use flipside::config::{read_inventory, read_playbook};
use keys::Part;

#[path = "../src/config/keys.rs"]
#[expect(dead_code, reason = "only the lists of keys are wanted here")]
mod keys;

const README: &str = include_str!("../README.md");

/// The blocks of one language, without the indentation of a list around them.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut fence: Option<(usize, bool)> = None;
    for line in README.lines() {
        let trimmed = line.trim_start();
        match (fence, trimmed.strip_prefix("```")) {
            (None, Some(word)) => {
                fence = Some((line.len() - trimmed.len(), word == language));
                if word == language {
                    blocks.push(String::new());
                }
            }
            (Some(_), Some(_)) => fence = None,
            (Some((indent, true)), None) => {
                if let Some(block) = blocks.last_mut() {
                    block.push_str(line.get(indent..).unwrap_or_default());
                    block.push('\n');
                }
            }
            (Some((_, false)) | None, None) => {}
        }
    }
    blocks
}

/// The text from a heading to the next one.
fn section(heading: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("the README has no heading \"{heading}\""));
    rest.split("\n#").next().unwrap_or(rest)
}

#[test]
fn every_toml_block_is_a_playbook_or_an_inventory() {
    let blocks = blocks("toml");
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    for block in blocks {
        if block.contains("[servers.") || block.contains("[nginx]") {
            read_inventory("README.md", &block).unwrap_or_else(|problems| panic!("{problems}"));
        } else {
            read_playbook("README.md", &block, None).unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
}

#[test]
fn every_command_line_would_be_understood() {
    let lines = [blocks("sh"), blocks("console")].concat().join("\n");
    let commands: Vec<&str> = lines
        .lines()
        .map(|line| line.strip_prefix("$ ").unwrap_or(line).split(" #").next().unwrap_or_default().trim())
        .filter(|line| line.starts_with("flipside "))
        .collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        if let Err(error) = Args::try_parse_from(command.split_whitespace()) {
            panic!("{command}: {error}");
        }
    }
}

#[test]
fn every_command_and_flag_exists_and_is_mentioned() {
    let program = Args::command();
    let table = section("## Commands");
    let mut flags: Vec<String> = Vec::new();
    for command in program.get_subcommands() {
        assert!(table.contains(&format!("| `flipside {}", command.get_name())), "no row for the command {}", command.get_name());
        flags.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(|flag| format!("--{flag}")));
    }
    flags.extend(program.get_arguments().filter_map(|argument| argument.get_long()).map(|flag| format!("--{flag}")));
    for flag in &flags {
        assert!(table.contains(flag.as_str()), "{flag} is not in the section Commands");
    }
    // In running text, a command stands in backticks.
    for span in README.split('`').filter(|span| span.starts_with("flipside ")) {
        let word = span.split_whitespace().nth(1).unwrap_or_default();
        let known = program.get_subcommands().any(|command| command.get_name() == word);
        assert!(known || word.starts_with('-'), "there is no command `{span}`");
        for flag in span.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(flags.iter().any(|known| known == flag), "`{span}`: there is no {flag}");
        }
    }
}

#[test]
fn every_key_has_a_row() {
    for (part, heading) in [
        (Part::Project, "### `[project]`"),
        (Part::Rollout, "### `[rollout]`"),
        (Part::Canary, "### `[rollout.canary]`"),
        (Part::Service, "### `[services.NAME]`"),
        (Part::HealthCheck, "### `[services.NAME.health_check]`"),
        (Part::Proxy, "### `[services.NAME.proxy]`"),
        (Part::Defaults, "### `[defaults]`"),
        (Part::Nginx, "### `[nginx]`"),
    ] {
        let table = section(heading);
        let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        for key in part.keys() {
            assert!(rows.contains(key), "{heading} has no row for `{key}`");
        }
        for row in rows {
            assert!(part.keys().contains(&row), "{heading} has a row for `{row}`, which is no key");
        }
    }
    let servers = [section("### `[servers.NAME]`"), section("### `[defaults]`")].concat();
    for key in Part::Server.keys() {
        assert!(servers.contains(&format!("| `{key}` |")), "no row for `{key}` of a server");
    }
    let balance = section("### `[services.NAME.balance]`");
    for key in Part::Balance.keys() {
        assert!(balance.contains(&format!("| `{key}` |")), "no row for `{key}` of `balance`");
    }
    let hooks = section("## Hooks");
    for key in [Part::Hooks.keys(), Part::Hook.keys()].concat() {
        assert!(hooks.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{key}`"))), "no row for `{key}` of hooks");
    }
    for key in [Part::Playbook.keys(), Part::Inventory.keys()].concat() {
        assert!(README.contains(&format!("`[{key}")), "nothing is said about `[{key}]`");
    }
}

#[test]
fn every_exit_code_is_explained() {
    let table = section("### Exit codes");
    for (code, _) in MEANINGS {
        assert!(table.contains(&format!("| {code} |")), "{code}");
    }
    assert_eq!(table.lines().filter(|line| line.starts_with("| ")).count(), MEANINGS.len() + 2);
}
