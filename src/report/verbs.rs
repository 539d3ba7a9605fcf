//! A step's title in the tense of what is known: `start x` becomes `starting x` while it runs and `started x` once it was seen to be done.

struct Verb {
    infinitive: &'static str,
    past: &'static str,
    present: &'static str,
}

const fn verb(infinitive: &'static str, past: &'static str, present: &'static str) -> Verb {
    Verb { infinitive, past, present }
}

/// Every verb that a title begins with. A verb of two words stands before its first word alone.
const VERBS: &[Verb] = &[
    verb("arm", "armed", "arming"),
    verb("attach", "attached", "attaching"),
    verb("boot", "booted", "booting"),
    verb("check", "checked", "checking"),
    verb("confirm", "confirmed", "confirming"),
    verb("count", "counted", "counting"),
    verb("disarm", "disarmed", "disarming"),
    verb("drain", "drained", "draining"),
    verb("keep", "kept", "keeping"),
    verb("lock", "locked", "locking"),
    verb("make", "made", "making"),
    verb("pause", "paused", "pausing"),
    verb("prepare", "prepared", "preparing"),
    verb("prune", "pruned", "pruning"),
    verb("pull", "pulled", "pulling"),
    verb("put back", "put back", "putting back"),
    verb("reload", "reloaded", "reloading"),
    verb("remove", "removed", "removing"),
    verb("rename", "renamed", "renaming"),
    verb("restore", "restored", "restoring"),
    verb("retire", "retired", "retiring"),
    verb("run", "ran", "running"),
    verb("set aside", "set aside", "setting aside"),
    verb("stage and test", "staged and tested", "staging and testing"),
    verb("stage", "staged", "staging"),
    verb("start", "started", "starting"),
    verb("stop", "stopped", "stopping"),
    verb("switch", "switched", "switching"),
    verb("unlock", "unlocked", "unlocking"),
    verb("wait for", "waited for", "waiting for"),
    verb("watch", "watched", "watching"),
    verb("write", "wrote", "writing"),
];

/// The title of a step that was seen to be done: `started shop_prod_api`. A verb that is not known: `done: …`.
#[must_use]
pub fn done(title: &str) -> String {
    match split(title) {
        Some((verb, rest)) => format!("{}{rest}", verb.past),
        None => format!("done: {title}"),
    }
}

/// The title of a step that runs: `starting shop_prod_api`. A verb that is not known: the title itself.
#[must_use]
pub fn running(title: &str) -> String {
    match split(title) {
        Some((verb, rest)) => format!("{}{rest}", verb.present),
        None => title.to_owned(),
    }
}

fn split(title: &str) -> Option<(&'static Verb, &str)> {
    VERBS.iter().find_map(|verb| {
        let rest = title.strip_prefix(verb.infinitive)?;
        (rest.is_empty() || rest.starts_with(' ')).then_some((verb, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verbs that the planner writes.
    const USED: &str = "lock prepare make write pull check start stop remove rename set_aside wait_for stage_and_test stage switch drain retire keep \
                        attach boot reload unlock prune put_back confirm arm disarm restore run watch pause count";

    #[test]
    fn every_verb_in_use_has_its_tenses_and_none_is_there_for_nothing() {
        let used: Vec<String> = USED.split_whitespace().map(|verb| verb.replace('_', " ")).collect();
        for verb in &used {
            let title = format!("{verb} shop_prod_api");
            assert!(!done(&title).starts_with("done:"), "{verb} has no past tense");
            assert!(running(&title).contains("ing "), "{verb} has no present tense: {}", running(&title));
        }
        for verb in VERBS {
            assert!(used.iter().any(|word| word == verb.infinitive), "no title begins with `{}`", verb.infinitive);
        }
    }

    #[test]
    fn only_a_whole_verb_counts() {
        assert_eq!(done("wait for shop_prod_api to be healthy"), "waited for shop_prod_api to be healthy");
        assert_eq!(running("set aside x"), "setting aside x");
        assert_eq!(done("put x back"), "done: put x back");
        assert_eq!(done("startle x"), "done: startle x");
        assert_eq!(running("ponder x"), "ponder x");
        assert_eq!(done("lock"), "locked");
    }
}
