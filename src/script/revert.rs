//! The dead man's switch of a server: a shell that is left there before a switch and puts the generation from before back, unless the run
//! confirms in time. Pure text. Deliberately absent: when it is armed, which plans say.
//!
//! The shell has a session of its own, no terminal and no open file of ours, and looks at the server's lease once a second: as long as
//! anybody holds it, a run is at work, and nothing happens. Once it has been free for the grace, the shell takes the lease itself, so that
//! no run works beside it, and switches back by the same compare-and-swap as any undo, as often as it takes. A shell whose file `armed` is
//! gone, or names another one, has nothing to do any more and ends; so there is at most one that acts. After a reboot there is none: the
//! file is then all that is left, and facts tell of it.
//!
//! `armed` is renamed to `firing` before anything is switched, and removed to confirm: the file system decides which of the two it was.
use super::quote::quote;
use super::{ScriptContext, layout, nginx};
use crate::model::{GenerationId, Millis};

const ARM: &str = include_str!("revert/arm.sh");
const WATCH: &str = include_str!("revert/watch.sh");
const CONFIRM: &str = include_str!("revert/confirm.sh");

/// How the words of a lease begin that a revert holds; those of the run that left it follow.
pub const ITSELF: &str = "the server itself, which puts back what was left unconfirmed by ";

/// ArmRevert: leaves the shell, and waits until it has written down that it watches.
#[must_use]
pub fn arm(context: &ScriptContext, back: &GenerationId, to: &[GenerationId], grace: Millis) -> String {
    let folder = quote(&layout::folder(&context.remote_root));
    let generations: Vec<&str> = to.iter().map(|generation| generation.0.as_str()).collect();
    let given = format!(
        "folder={folder}\nback={}\ngenerations={}\ngrace={}\n",
        quote(&back.0),
        quote(&generations.join(" ")),
        grace.0.div_ceil(1000)
    );
    let program = format!("{given}put_back={}\n{WATCH}", quote(&nginx::switch_from_variable(context, back)));
    format!("(\n{given}program={}\n{ARM})\n", quote(&program))
}

/// ConfirmSwitch: takes the revert away, if `to` is still live.
#[must_use]
pub fn confirm(context: &ScriptContext, to: &GenerationId) -> String {
    format!("(\nfolder={}\nto={}\n{CONFIRM})\n", quote(&layout::folder(&context.remote_root)), quote(&to.0))
}

/// DisarmRevert: takes away whatever revert is there. Only by whoever holds the lease: then none is being carried out.
#[must_use]
pub fn disarm(context: &ScriptContext) -> String {
    let folder = quote(&layout::revert_folder(&context.remote_root));
    format!(
        "(\ncd {folder} 2>/dev/null || {{ echo 'seen: none was armed'; exit 0; }}\n\
         message=$(rm -f armed firing outcome 2>&1) || {{ echo \"error: $message\"; exit 1; }}\necho 'seen: disarmed'\n)\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revert_is_known_by_the_words_of_its_lease() {
        assert!(WATCH.contains(&format!("'{ITSELF}%s\\n' \"$who\"")));
    }
}
