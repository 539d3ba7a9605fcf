//! What the bodies of docker actions share: how they report, and how they look before they act. Deliberately absent: acting.
use super::super::ScriptContext;
use super::super::quote::line;
use crate::docker::{self, Command};
use crate::model::label;

/// How a body ends: `seen: …` and exit 0, or `error: …`, `wanted: …`, `hint: …` and exit 1. Empty sentences are left out,
/// and line feeds in them become blanks, so that one sentence stays one line.
const REPORT: &str = r#"say() {
    [ -z "$2" ] || printf '%s: %s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"
}
done_with() {
    say seen "$1"
    exit 0
}
fail() {
    say error "$1"
    say wanted "$2"
    say hint "$3"
    exit 1
}
"#;

/// Fills `state`, `owner` and `image` of the container `$1`. All are empty where there is none. "No such file or directory" is what docker
/// says, too, where its socket is gone with its daemon: only the whole words mean that there is none.
const LOOK: &str = r#"look() {
    state= owner= image=
    if found=$(INSPECT "$1" 2>&1); then
        state=${found%%|*} found=${found#*|}
        owner=${found%%|*} image=${found#*|}
    else
        case $found in
            *[Nn]"o such container"* | *[Nn]"o such object"*) ;;
            *) fail "docker cannot say whether there is a container $1: $found" '' '' ;;
        esac
    fi
}
"#;

/// The labels that say whose a container is.
pub(super) const OWNER: [&str; 4] = [label::PROJECT, label::ENV, label::SERVICE, label::ROLE];

/// `exit` ends the step, not the script that it is a part of; the functions and variables stay inside too.
pub(super) fn subshell(body: &str) -> String {
    format!("(\n{body})\n")
}

/// The functions that report.
pub(super) fn report() -> String {
    REPORT.to_owned()
}

/// The functions that report, and `look`.
pub(super) fn report_and_look(ctx: &ScriptContext) -> String {
    let template = format!("{{{{.State.Status}}}}|{}|{{{{.Config.Image}}}}", labels_template(&OWNER));
    let Command(mut words) = docker::inspect_container(&ctx.docker, &template, "");
    // The name is the function's argument.
    words.pop();
    format!("{REPORT}{}", LOOK.replace("INSPECT", &line(&Command(words))))
}

/// A Go template that prints some labels of a container as `project=shop env=prod`; those that it has not stay empty.
pub(super) fn labels_template(keys: &[&str]) -> String {
    let part = |key: &&str| format!("{}={{{{index .Config.Labels \"{key}\"}}}}", short(key));
    keys.iter().map(part).collect::<Vec<_>>().join(" ")
}

/// What [`labels_template`] prints for a container with these labels.
pub(super) fn labels_text(keys: &[&str], labels: &crate::model::Labels) -> String {
    let part = |key: &&str| format!("{}={}", short(key), labels.get(*key).map_or("", String::as_str));
    keys.iter().map(part).collect::<Vec<_>>().join(" ")
}

/// What [`labels_template`] prints for a container that has none of them.
pub(super) fn stranger() -> String {
    labels_text(&OWNER, &crate::model::Labels::new())
}

fn short(key: &str) -> &str {
    key.strip_prefix("flipside.").unwrap_or(key)
}
