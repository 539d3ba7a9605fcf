//! Which keys every part of a file has, what people write instead, and what later versions will understand.
//! Deliberately absent: what the values may be.

/// A part of a playbook or an inventory: one set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Playbook,
    Project,
    Rollout,
    Canary,
    Service,
    HealthCheck,
    Balance,
    ActiveChecks,
    Proxy,
    ProxyTimeout,
    ProxyTls,
    Snippets,
    Adopt,
    Secret,
    Hooks,
    Hook,
    Inventory,
    Defaults,
    Server,
    Nginx,
}

/// A key that this version does not understand yet. A version that does removes the row.
pub(super) struct Later {
    part: Part,
    pub(super) key: &'static str,
    /// What to do until then.
    pub(super) instead: &'static str,
}

const fn key(part: Part, key: &'static str, instead: &'static str) -> Later {
    Later { part, key, instead }
}

const BUILD: &str = "build and push the image beforehand, and name it with `image`";
const HOOKS: &str = "write them in `[hooks]` of the playbook; one with `on = \"container\"` names the service";

/// Everything that is planned and not built.
const LATER: [Later; 5] = [
    key(Part::Service, "dockerfile", BUILD),
    key(Part::Service, "context", BUILD),
    key(Part::Service, "archive", BUILD),
    key(Part::Service, "network", "every service runs in the project's own network: remove it"),
    key(Part::Service, "hooks", HOOKS),
];

impl Part {
    /// The keys, in the order in which the documentation explains them.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Part::Playbook => &["project", "rollout", "services", "secrets", "hooks", "env"],
            Part::Project => &["name", "version", "default_env"],
            Part::Rollout => &[
                "strategy",
                "batch",
                "pause",
                "max_failures",
                "on_failure",
                "drain_timeout",
                "stop_timeout",
                "keep",
                "warm_time",
                "min_healthy_time",
                "max_unreachable",
                "canary",
            ],
            Part::Canary => &["share", "servers", "tags", "time", "max_error_rate", "min_requests", "promote"],
            Part::Service => &[
                "image",
                "command",
                "port",
                "protocol",
                "servers_count",
                "server_zone",
                "servers",
                "tags",
                "replicas",
                "uses",
                "env",
                "volumes",
                "mesh",
                "health_check",
                "proxy",
                "balance",
                "host_port",
                "internal_port",
                "overlap",
                "singleton",
                "alias",
                "secrets",
                "secrets_owner",
                "min_healthy",
                "adopt",
            ],
            Part::HealthCheck => &["path", "command", "start_period", "interval", "timeout", "retries", "deadline"],
            Part::Balance => &[
                "strategy",
                "active",
                "method",
                "key",
                "max_fails",
                "fail_timeout",
                "tries",
                "tries_timeout",
                "zone_routing",
                "active_checks",
                "slow_start",
            ],
            Part::ActiveChecks => &["path", "interval", "timeout", "fails", "passes"],
            Part::Proxy => &[
                "hosts",
                "app_port",
                "path_prefix",
                "strip_prefix",
                "body_size",
                "timeout",
                "buffering",
                "grpc",
                "tls",
                "maintenance_page",
                "error_pages",
                "snippets",
            ],
            Part::ProxyTimeout => &["connect", "read", "send"],
            Part::ProxyTls => &["certificate", "key", "redirect", "hsts", "http2"],
            Part::Snippets => &["server", "location"],
            Part::Adopt => &["container", "servers", "leave_behind"],
            Part::Secret => &["file", "env", "command"],
            Part::Hooks => &[
                "before_connect",
                "after_connect",
                "before_deploy",
                "before_rollback",
                "before_switch",
                "after_switch",
                "after_deploy",
                "after_rollback",
                "after_failure",
            ],
            Part::Hook => &["command", "on", "server", "service", "timeout"],
            Part::Inventory => &["defaults", "servers", "nginx"],
            Part::Defaults => &[
                "zone",
                "tags",
                "port",
                "user",
                "identity_file",
                "identity_files",
                "jump",
                "become",
                "docker",
                "remote_root",
                "host_key",
                "known_hosts",
                "allow_public_backends",
            ],
            Part::Server => &[
                "address",
                "private_address",
                "zone",
                "tags",
                "port",
                "user",
                "identity_file",
                "identity_files",
                "jump",
                "become",
                "docker",
                "remote_root",
                "host_key",
                "known_hosts",
                "allow_public_backends",
            ],
            Part::Nginx => &["image", "ingress", "edge", "trusted_proxies", "plus"],
        }
    }

    /// Parts inside this one whose keys are easily written one level too high, with the key that holds them.
    fn inner(self) -> &'static [(&'static str, Part)] {
        match self {
            Part::Playbook => &[("project", Part::Project), ("rollout", Part::Rollout)],
            Part::Service => &[("health_check", Part::HealthCheck), ("proxy", Part::Proxy), ("balance", Part::Balance)],
            Part::Proxy => &[("timeout", Part::ProxyTimeout), ("tls", Part::ProxyTls), ("snippets", Part::Snippets)],
            Part::Inventory => &[("defaults", Part::Defaults), ("nginx", Part::Nginx)],
            Part::Rollout => &[("canary", Part::Canary)],
            Part::Project
            | Part::Canary
            | Part::HealthCheck
            | Part::Balance
            | Part::ActiveChecks
            | Part::ProxyTimeout
            | Part::ProxyTls
            | Part::Snippets
            | Part::Adopt
            | Part::Secret
            | Part::Hooks
            | Part::Hook
            | Part::Defaults
            | Part::Server
            | Part::Nginx => &[],
        }
    }

    /// What other tools call it: the wrong key and what to write. Spelling alone would not find these.
    fn habits(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Part::Playbook => &[("service", "write `[services.NAME]`"), ("environments", "write `[env.NAME]`")],
            Part::Service => &[
                ("environment", "write `env`"),
                ("depends_on", "write `uses`"),
                ("links", "write `uses`"),
                ("ports", "write `port`, the container's own port: host ports are chosen for you, or pinned with `host_port`"),
                ("zone", "write `server_zone`"),
                ("hosts", "write it in `proxy`: `proxy = { hosts = [\"…\"] }`"),
                ("host", "write it in `proxy`: `proxy = { hosts = [\"…\"] }`"),
                ("healthcheck", "write `health_check`"),
                ("load_balancing", "write `balance`"),
                ("lb_policy", "write `balance = { method = \"…\" }`"),
                ("build", "build and push the image beforehand, and name it with `image`"),
                ("restart", "remove it: containers are always started again"),
                ("secret", "write `secrets = [\"NAME\"]`"),
            ],
            Part::Adopt => &[("containers", "write `container`"), ("name", "write `container`"), ("server", "write `servers`")],
            Part::Balance => &[
                ("policy", "write `method`"),
                ("next_upstream_tries", "write `tries`"),
                ("next_upstream_timeout", "write `tries_timeout`"),
                ("backup", "write `strategy = \"active-passive\"`"),
                ("health_check", "write `active_checks`; `health_check` is the service's own, for a deploy"),
            ],
            Part::ActiveChecks => &[("uri", "write `path`"), ("retries", "write `fails`, and `passes` for the way back")],
            Part::HealthCheck => &[("test", "write `command`"), ("url", "write `path`")],
            Part::Server => &[
                ("host", "write `address`"),
                ("hostname", "write `address`"),
                ("ip", "write `address`"),
                ("key", "write `identity_file`"),
                ("ssh_key", "write `identity_file`"),
                ("sudo", "write `become = \"sudo\"`"),
                ("server_zone", "write `zone`"),
            ],
            Part::Defaults => &[
                ("address", "every server has an address of its own: write it in `[servers.NAME]`"),
                ("private_address", "every server has an address of its own: write it in `[servers.NAME]`"),
                ("sudo", "write `become = \"sudo\"`"),
            ],
            Part::Inventory => &[("groups", "give the servers `tags` instead")],
            Part::Project => &[("environment", "write `default_env`")],
            Part::Secret => &[
                ("environment", "write `env`"),
                ("path", "write `file`"),
                ("value", "a value does not belong in a playbook: write `file`, `env` or `command`"),
            ],
            Part::Hooks => &[
                ("pre_connect", "write `before_connect`"),
                ("pre_deploy", "write `before_deploy`"),
                ("post_deploy", "write `after_deploy`"),
                ("pre_switch", "write `before_switch`"),
                ("post_switch", "write `after_switch`"),
                ("on_failure", "write `after_failure`"),
                ("before_failure", "nobody knows of a failure before it comes: write `after_failure`"),
            ],
            Part::Hook => &[
                ("run", "write `command`"),
                ("where", "write `on`"),
                ("deadline", "write `timeout`"),
                ("env", "it is told of the run by variables `FLIPSIDE_…`; others belong into the command"),
            ],
            Part::Canary => &[("weight", "write `share = \"10%\"`"), ("percent", "write `share = \"10%\"`")],
            Part::Proxy => &[
                ("domains", "write `hosts`"),
                ("path", "write `path_prefix`"),
                ("client_max_body_size", "write `body_size`"),
                ("max_body_size", "write `body_size`"),
                ("timeouts", "write `timeout = { read = \"60s\" }`"),
                ("response_timeout", "write `timeout = { read = \"60s\" }`"),
                ("ssl", "write `tls = { certificate = \"…\", key = \"…\" }`"),
                ("websocket", "remove it: WebSockets pass"),
            ],
            Part::Nginx => &[("real_ip_from", "write `trusted_proxies`"), ("set_real_ip_from", "write `trusted_proxies`")],
            Part::ProxyTls => &[
                ("cert", "write `certificate`"),
                ("private_key", "write `key`"),
                ("certificate_key", "write `key`"),
                ("force", "write `redirect`"),
            ],
            Part::Rollout | Part::ProxyTimeout | Part::Snippets => &[],
        }
    }

    /// The row of a key that a later version understands.
    pub(super) fn later(self, key: &str) -> Option<&'static Later> {
        LATER.iter().find(|row| row.part == self && row.key == key)
    }

    /// What to say about a key that does not exist here. Empty when nothing comes to mind.
    pub(super) fn advice(self, unknown: &str) -> String {
        if let Some((_, advice)) = self.habits().iter().find(|(habit, _)| *habit == unknown) {
            return (*advice).to_owned();
        }
        if let Some((holder, _)) = self.inner().iter().find(|(_, part)| part.keys().contains(&unknown)) {
            return format!("`{unknown}` belongs in `{holder}`");
        }
        did_you_mean(unknown, self.keys().iter().copied())
    }
}

/// ``did you mean `port`?``, or nothing. A candidate is near when one character in three is off, or when what was seen is one of its
/// words and of no other candidate's: `drain` for `drain_timeout`.
pub(super) fn did_you_mean<'a>(seen: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let lower = seen.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let near = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min();
    let mut with_word = candidates.iter().copied().filter(|candidate| candidate.split('_').any(|word| word == lower));
    match (near, with_word.next(), with_word.next()) {
        (Some((_, candidate)), _, _) | (None, Some(candidate), None) => format!("did you mean `{candidate}`?"),
        (None, _, _) => String::new(),
    }
}

/// `` `a`, `b` and `c` ``.
pub(super) fn listing<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    joined(&words, "and")
}

/// The words as code, with commas, and `last` before the last one.
pub(super) fn joined(words: &[impl std::fmt::Display], last: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, others)) => format!("{} {last} {end}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_near_or_absent() {
        let keys = Part::Service.keys();
        for (seen, wanted) in
            [("portt", "port"), ("Image", "image"), ("replcas", "replicas"), ("helth_check", "health_check"), ("count", "servers_count")]
        {
            assert_eq!(did_you_mean(seen, keys.iter().copied()), format!("did you mean `{wanted}`?"));
        }
        for seen in ["x", "banana", "restart_policy", "", "servers_x_y_z"] {
            assert_eq!(did_you_mean(seen, keys.iter().copied()), "", "{seen}");
        }
    }

    #[test]
    fn every_row_for_later_is_unknown_today() {
        for row in &LATER {
            assert!(!row.part.keys().contains(&row.key), "{}", row.key);
        }
    }
}
