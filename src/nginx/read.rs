//! A service's NGINX file back to the value it was rendered from: what NGINX routes is the truth. Deliberately absent: NGINX's whole grammar.
use super::error::ReadError;
use super::header::{Named, OUT, WAITING, read_header, read_words, upstream_name};
use super::types::{BackendRole, MeshBackend, MeshService};
use crate::model::{Backend, Side, Standing, container_name};
use crate::script::layout;

/// Reads back a rendered file. The live side is taken from the `server` lines that are not down; the header must agree.
///
/// # Errors
/// [`ReadError`] says what was seen in a file that was edited by hand until it makes no sense, or that is not Flipside's.
pub fn read_service(text: &str) -> Result<MeshService, ReadError> {
    let header = read_header(text)?;
    let mut backends = Vec::new();
    let mut each_side_has_its_own = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        // `server {` opens a block; `server TARGET …;` is a backend.
        let Some(rest) = trimmed.strip_prefix("server ").filter(|rest| !rest.trim_start().starts_with('{')) else { continue };
        let broken = || ReadError::Server { line: index + 1, text: trimmed.to_owned() };
        let (directive, comment) = rest.split_once(';').ok_or_else(broken)?;
        let words = comment.trim().strip_prefix('#').ok_or_else(broken)?;
        let words = words.trim();
        let (words, waits) = words.strip_prefix(WAITING).map_or((words, false), |words| (words, true));
        let (words, standing) = words.strip_prefix(OUT).map_or((words, Standing::In), |words| (words, Standing::Out));
        let mut parameters = directive.split_whitespace();
        let named = parameters.next().and_then(|target| read_words(target, words)).ok_or_else(broken)?;
        let Named { backend, app_port, side, replica, server } = named;
        each_side_has_its_own |= waits;
        let as_marked = if waits { BackendRole::Idle } else { BackendRole::Live };
        let parameters: Vec<&str> = parameters.collect();
        let [is_down, is_backup] = ["down", "backup"].map(|word| parameters.contains(&word));
        let role = match standing {
            // What NGINX gives traffic to is not out, whatever the words say.
            Standing::Out if !is_down || waits => return Err(broken()),
            Standing::In if waits && is_backup => BackendRole::IdleBackup,
            Standing::In if is_down => BackendRole::Idle,
            Standing::In | Standing::Out if is_backup => BackendRole::Backup,
            Standing::In | Standing::Out => as_marked,
        };
        if let Backend::Container { name, .. } = &backend {
            let named =
                Side::BOTH.into_iter().find(|side| *name == container_name(&header.project, &header.env, &header.service, replica, *side));
            match named {
                Some(named) if named == side => {}
                Some(named) => {
                    let text = trimmed.to_owned();
                    return Err(ReadError::Contradiction { line: index + 1, text, comment: side.as_str(), name: named.as_str() });
                }
                None => return Err(broken()),
            }
        }
        backends.push(MeshBackend { backend, app_port, side, replica, server, role, standing });
    }
    let takes_traffic = |side| backends.iter().any(|backend| backend.side == side && backend.takes_traffic());
    let routed = match (takes_traffic(Side::Primary), takes_traffic(Side::Secondary)) {
        (true, false) => Side::Primary,
        (false, true) => Side::Secondary,
        (true, true) => return Err(ReadError::BothLive),
        (false, false) => return Err(ReadError::NothingLive),
    };
    let name = layout::stem(&header.project, &header.env, &header.service);
    let passed = if each_side_has_its_own { passed_to(text, &name) } else { None };
    if let Some(routed) = passed.filter(|side| *side != header.live) {
        return Err(ReadError::OtherSide { header: header.live.as_str(), routed: routed.as_str() });
    }
    if routed != header.live {
        return Err(ReadError::OtherSide { header: header.live.as_str(), routed: routed.as_str() });
    }
    if let Some(share) = header.canary {
        let sides = [format!("{share} {};", upstream_name(&name, routed.other())), format!("* {};", upstream_name(&name, routed))];
        let is_there = |wanted: &String| text.lines().any(|line| line.trim() == wanted);
        if !sides.iter().all(is_there) {
            return Err(ReadError::OtherShare { header: share.to_string() });
        }
    }
    Ok(MeshService {
        project: header.project,
        env: header.env,
        service: header.service,
        protocol: header.protocol,
        internal_port: header.internal_port,
        live: routed,
        version: header.version,
        hosts: header.hosts,
        upstream: header.upstream,
        front: header.front,
        canary: header.canary,
        backends,
    })
}

/// The side whose upstream gets the traffic: the target of the last `proxy_pass` that is not the socket's of the side that waits.
fn passed_to(text: &str, name: &str) -> Option<Side> {
    let mut waits = false;
    let mut passed = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("server {") {
            waits = false;
        }
        waits |= line.starts_with("listen ") && line.contains(layout::WAITING_SOCKET);
        let target = ["proxy_pass ", "grpc_pass "].iter().find_map(|word| line.strip_prefix(word));
        let target = target.and_then(|rest| rest.strip_suffix(';')).filter(|_| !waits);
        let target = target.map(|target| ["http://", "grpc://"].iter().find_map(|word| target.strip_prefix(word)).unwrap_or(target));
        let its = target.and_then(|target| Side::BOTH.into_iter().find(|side| target == upstream_name(name, *side)));
        passed = its.or(passed);
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../tests/nginx_golden/single_server/expected/stream.d/new_project_uat_postgres.conf");

    fn edited(from: &str, to: &str) -> Result<MeshService, ReadError> {
        assert!(FILE.contains(from), "{from}");
        read_service(&FILE.replace(from, to))
    }

    #[test]
    fn the_live_side_is_what_is_routed() {
        let service = read_service(FILE).unwrap();
        assert_eq!((service.live, service.internal_port, service.backends.len()), (Side::Primary, 5228, 2));
        assert_eq!(service.backends[0].backend.socket(), ("10.210.4.10".parse().unwrap(), 5432));
    }

    #[test]
    fn an_app_port_stands_before_the_address() {
        let app_port = |words: &str| edited("# primary 1 lon1-a", words).map(|service| service.backends[0].app_port);
        assert_eq!(app_port("# primary 1 lon1-a"), Ok(None));
        assert_eq!(app_port("# primary 1 lon1-a app:15672"), Ok(Some(15672)));
        for words in ["app:", "app:0", "app:65536", "app:1 app:2", "ap:1"] {
            assert!(matches!(app_port(&format!("# primary 1 lon1-a {words}")), Err(ReadError::Server { .. })), "{words}");
        }
    }

    #[test]
    fn a_hand_that_moves_down_is_found() {
        let swapped = FILE.replace("# primary", "# waiting primary").replace("# waiting secondary", "# secondary");
        let error = read_service(&swapped).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the header says that the primary side is live, but traffic goes to the secondary side: the file was edited by hand"
        );
        assert_eq!(edited("# waiting", "#"), Err(ReadError::BothLive));
        assert_eq!(edited("postgres:5432 resolve max", "postgres:5432 resolve down max"), Err(ReadError::NothingLive));
        let passed = edited("    proxy_pass new_project_uat_postgres;", "    proxy_pass new_project_uat_postgres_secondary;");
        assert_eq!(passed, Err(ReadError::OtherSide { header: "primary", routed: "secondary" }));
    }

    #[test]
    fn a_file_that_makes_no_sense_says_where() {
        assert_eq!(read_service("upstream x {}"), Err(ReadError::NoHeader));
        assert_eq!(edited("# live: primary\n", ""), Err(ReadError::Missing("live")));
        assert!(matches!(edited("port: 5228", "port: 99999"), Err(ReadError::Field { line: 6, field: "internal port", .. })));
        for (from, to) in [
            ("; # primary 1 lon1-a 10.210.4.10", ";"),
            ("# primary 1 lon1-a 10.210.4.10", "# primary 0 lon1-a 10.210.4.10"),
            ("server new_project_uat_postgres:5432", "server other_name:5432"),
            ("server new_project_uat_postgres:5432", "server 10.0.0.1:5432"),
        ] {
            assert!(matches!(edited(from, to), Err(ReadError::Server { .. })), "{to}: {:?}", edited(from, to));
        }
        assert!(matches!(
            edited("# primary 1 lon1-a", "# secondary 1 lon1-a"),
            Err(ReadError::Contradiction { comment: "secondary", name: "primary", .. })
        ));
    }
}
