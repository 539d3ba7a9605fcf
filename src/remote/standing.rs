//! What a look at a container that should become healthy means. Pure, and apart from the waiting. Deliberately absent: probes.
use crate::script::ContainerSight;

/// What the container's state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may become healthy.
    Up,
    /// It has exited, and that is forgiven: the start period is not over, and the engine starts it again. So many restarts do not count.
    Forgiven(u32),
    /// It will not become healthy.
    Fallen {
        /// What was seen of it, without its name.
        seen: String,
        /// Its exit code, where the engine still shows it.
        exit: Option<i32>,
    },
}

/// A container that exits, or that the engine keeps restarting, will not become healthy: no need to wait for the deadline. In the start
/// period it may: an app that ends because what it needs is not there yet is started again by the engine. `forgiven` is the number of
/// restarts that were seen in the start period.
pub(super) fn standing(sight: &ContainerSight, in_start_period: bool, forgiven: u32) -> Standing {
    if in_start_period {
        return Standing::Forgiven(sight.restarts);
    }
    let up = match sight.status.as_str() {
        "running" => sight.restarts <= forgiven,
        "created" => true,
        _ => false,
    };
    if up {
        return Standing::Up;
    }
    // It has not exited, and does not answer before somebody lets it go on.
    if sight.status == "paused" {
        return Standing::Fallen { seen: "is paused: `docker unpause` lets it go on".to_owned(), exit: None };
    }
    let killed = if sight.oom_killed { ": killed, out of memory" } else { "" };
    // Between two starts the engine shows the exit code of the last one, after a start it shows 0.
    match sight.restarts {
        0 => Standing::Fallen { seen: format!("exited with code {}{killed}", sight.exit), exit: Some(sight.exit) },
        _ => Standing::Fallen { seen: format!("exits again and again{killed}"), exit: (sight.exit != 0).then_some(sight.exit) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: &str, exit: i32, restarts: u32) -> ContainerSight {
        ContainerSight { name: "web".to_owned(), status: status.to_owned(), exit, oom_killed: false, restarts }
    }

    fn fallen(text: &str, exit: Option<i32>) -> Standing {
        Standing::Fallen { seen: text.to_owned(), exit }
    }

    #[test]
    fn without_a_start_period_the_first_exit_is_the_end() {
        assert_eq!(standing(&seen("running", 0, 0), false, 0), Standing::Up);
        assert_eq!(standing(&seen("created", 0, 0), false, 0), Standing::Up, "docker has not started it yet");
        assert_eq!(standing(&seen("exited", 3, 0), false, 0), fallen("exited with code 3", Some(3)));
        assert_eq!(standing(&seen("restarting", 3, 1), false, 0), fallen("exits again and again", Some(3)));
        assert_eq!(standing(&seen("running", 0, 1), false, 0), fallen("exits again and again", None), "it runs for the moment");
    }

    #[test]
    fn in_the_start_period_exits_are_forgiven_and_counted() {
        for status in ["running", "restarting", "exited"] {
            assert_eq!(standing(&seen(status, 1, 4), true, 2), Standing::Forgiven(4), "{status}");
        }
    }

    #[test]
    fn after_the_start_period_only_what_was_forgiven_is() {
        assert_eq!(standing(&seen("running", 0, 4), false, 4), Standing::Up);
        assert_eq!(standing(&seen("running", 0, 5), false, 4), fallen("exits again and again", None), "once more since then");
        assert_eq!(
            standing(&seen("restarting", 1, 4), false, 4),
            fallen("exits again and again", Some(1)),
            "down at the end of the period"
        );
        assert_eq!(standing(&seen("exited", 1, 0), false, 0), fallen("exited with code 1", Some(1)));
    }

    #[test]
    fn what_is_paused_has_not_exited() {
        for restarts in [0, 2] {
            assert_eq!(standing(&seen("paused", 0, restarts), false, 2), fallen("is paused: `docker unpause` lets it go on", None));
        }
    }

    #[test]
    fn a_kill_for_memory_is_told() {
        let sight = ContainerSight { oom_killed: true, ..seen("exited", 137, 0) };
        assert_eq!(standing(&sight, false, 0), fallen("exited with code 137: killed, out of memory", Some(137)));
    }
}
