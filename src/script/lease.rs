//! The lease of a server: a lock that lives exactly as long as the process that holds it, and the fence that keeps what an older run left
//! running away from a new one. Deliberately absent: keeping that process.
//!
//! Files in `{remote_root}/flipside/lock`: `lease`, whose exclusive kernel lock (`flock`) is the lease; `holder`, who took it, in
//! words for a person, `before`, who had it before that, and `since`, when, by the server's own clock; and `work`. Every script of a
//! run holds a shared lock on `work` as long as any process of it lives, and begins only while `holder` is its own run. Whoever takes
//! the lease waits for the exclusive lock on `work` before it becomes the holder. So no script of an older run is alive once a new one
//! may begin, whatever became of its connection.
use super::ScriptContext;
use super::revert::ITSELF;
use super::{layout, quote::quote};

/// Who held the lease before the one in `holder`, for a claim that comes to nothing; empty where nobody did.
const BEFORE: &str = "before";

/// The time since `since`, as a line `age: SECONDS`.
const AGE: &str = "age() {\n    now=$(date +%s 2>/dev/null) && since=$(cat since 2>/dev/null) || return\n    \
                   case $now$since in '' | *[!0-9]*) return ;; esac\n    \
                   [ -n \"$since\" ] && [ \"$now\" -ge \"$since\" ] && echo \"age: $((now - since))\"\n}\n";

/// How a lease is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// By a run that has not had it.
    First,
    /// By the run that had it last, and lost it with its connection: not once somebody else has had it in between.
    Again,
}

/// A script that takes the lease, prints `locked`, and holds it until it is ended; or prints `age: SECONDS` and `held: WHO`, or
/// `failed: WHY`, and ends. While scripts of an older run are still there it prints `waiting`.
///
/// The lock is a kernel lock on an open file, so nothing is left to clean up when the holder dies. `holder` says who
/// holds it, in words for a person. Whoever asks for facts meanwhile holds a shared lock for an instant, so a lock that is taken is
/// tried again for some three seconds; with `flock -n` each time, since busybox has no waiting one.
#[must_use]
pub fn lease(context: &ScriptContext, holder: &str, claim: Claim) -> String {
    let folder = folder(context);
    let claim = match claim {
        Claim::First => String::new(),
        // That the server put itself back meanwhile is no reason: what the run does next finds it so, and an undo finds it done.
        Claim::Again => format!(
            "case $(cat holder 2>/dev/null) in \"$me\" | {}\"$me\") ;;\n*) printf 'held: %s\\n' \"$(cat holder 2>/dev/null)\"; exit 1 ;;\nesac\n",
            quote(ITSELF)
        ),
    };
    format!(
        "umask 022\nme={holder}\nmessage=$(mkdir -p {folder} 2>&1) || {{ echo \"failed: $message\"; exit 1; }}\ncd {folder} || exit 1\n{AGE}\
         command -v flock >/dev/null 2>&1 || {{ echo 'failed: there is no flock on this server; install util-linux'; exit 1; }}\n\
         message=$( (: >>lease && : >>work) 2>&1) || {{ echo \"failed: $message\"; exit 1; }}\nexec 9>>lease 8>>work\n\
         tries=0\nuntil flock -n 9; do\n    tries=$((tries + 1))\n\
         [ \"$tries\" -lt 15 ] || {{ age; printf 'held: %s\\n' \"$(cat holder 2>/dev/null)\"; exit 1; }}\n\
         sleep 0.2 2>/dev/null || {{ sleep 1; tries=$((tries + 4)); }}\ndone\n\
         tries=0\nuntil flock -n 8; do\n    [ \"$tries\" != 0 ] || echo waiting\n    tries=$((tries + 1))\n\
         [ \"$tries\" -lt 200 ] || {{ echo \"failed: what an older run started here has not ended in 40 s; look with: fuser -v $PWD/work\"; exit 1; }}\n\
         sleep 0.2 2>/dev/null || {{ sleep 1; tries=$((tries + 4)); }}\ndone\n\
         {claim}\
         {{ date +%s >since.new && mv since.new since; }} 2>/dev/null\n\
         [ \"$(cat holder 2>/dev/null)\" = \"$me\" ] || {{ rm -f {BEFORE}; : >{BEFORE}.new && {{ [ ! -e holder ] || cat holder >{BEFORE}.new; }} && mv {BEFORE}.new {BEFORE}; }} 2>/dev/null\n\
         [ \"$(cat holder 2>/dev/null)\" = \"$me\" ] || {{ printf '%s\\n' \"$me\" >holder.new && mv holder.new holder; }} 2>/dev/null || {{ rm -f holder.new; printf '%s\\n' \"$me\" >holder; }} 2>/dev/null ||\n    \
         {{ echo 'failed: the lock cannot be written; is the disk full?'; exit 1; }}\n\
         exec 8>&-\necho locked\n\
         while :; do sleep 3600 9>&-; done\n",
        holder = quote(holder)
    )
}

/// The beginning of every script that changes a server: descriptor 8 holds the shared lock on `work`, and is inherited by all that the
/// script starts. `$flipside_refused` is set, to the reason, where the lease is not this holder's any more.
///
/// A process that is meant to outlive its script closes descriptor 8 (`8<&-`), or nobody else gets the lease as long as it lives.
#[must_use]
pub fn fence(context: &ScriptContext, holder: &str) -> String {
    let folder = folder(context);
    format!(
        "flipside_refused=\nif [ -r {folder}/work ]; then\n    exec 8<{folder}/work\n    flock -s -n 8 || flipside_refused='another run is about to take this server over'\nfi\n\
         flipside_holder=$(cat {folder}/holder 2>/dev/null)\n\
         [ \"$flipside_holder\" = {holder} ] || flipside_refused=\"the lock of this server is not this run's any more: it went to ${{flipside_holder:-nobody}}\"\n",
        holder = quote(holder)
    )
}

/// A script that prints `age: SECONDS` and `held: WHO`, or `free`; takes nothing. Its first line is empty, as that of [`lease_end`]: what a
/// start-up file of the login shell has said last may have no line feed.
#[must_use]
pub fn lease_sight(context: &ScriptContext) -> String {
    let folder = folder(context);
    format!(
        "echo\ncd {folder} 2>/dev/null && [ -r lease ] && [ -r holder ] || {{ echo free; exit 0; }}\n{AGE}\
         if flock -s -n lease true; then echo free; else age; printf 'held: %s\\n' \"$(cat holder)\"; fi\n"
    )
}

/// A script for whoever holds the lease and has begun nothing under it: `holder` is as it was, so that a run that lost the lease to us may
/// still take it again. The lease is to be let go of right after it: until then `since` is gone, so that whoever asks is not told that the one
/// in `holder` has it. Says nothing.
#[must_use]
pub fn lease_unused(context: &ScriptContext, holder: &str) -> String {
    format!(
        "cd {folder} 2>/dev/null && [ \"$(cat holder 2>/dev/null)\" = {holder} ] && [ -e {BEFORE} ] || exit 0\n\
         rm -f since\n\
         if [ -s {BEFORE} ]; then mv {BEFORE} holder; else rm -f {BEFORE} holder; fi\n",
        folder = folder(context),
        holder = quote(holder)
    )
}

/// A script that ends the run of these words, which holds the lease, with every script of it (a shell may keep either file under any
/// number), and makes `by` the last holder, so that the run does not take the lease back. Where somebody else has taken the lease since,
/// it does nothing. Prints `ended: N`, the number of processes; or `failed: WHY`.
#[must_use]
pub fn lease_end(context: &ScriptContext, holder: &str, by: &str) -> String {
    let folder = folder(context);
    format!(
        "echo\numask 022\ncd {folder} 2>/dev/null || {{ echo 'ended: 0'; exit 0; }}\n\
         [ \"$(cat holder 2>/dev/null)\" = {holder} ] || {{ printf 'failed: it went to %s meanwhile\\n' \"$(cat holder 2>/dev/null)\"; exit 0; }}\n\
         holders() {{\n    holders=\n    for process in /proc/[0-9]*; do\n        for file in \"$process\"/fd/*; do\n            \
         if [ \"$file\" -ef lease ] || [ \"$file\" -ef work ]; then\n                holders=\"$holders ${{process#/proc/}}\"\n                break\n            fi\n        done\n    done\n}}\n\
         printf '%s\\n' {by} >holder.new && mv holder.new holder || {{ echo 'failed: the lock cannot be written'; exit 0; }}\n\
         holders\nset -- $holders\nn_ended=$#\ntries=0\n\
         while [ -n \"$holders\" ]; do\n\
         if [ \"$tries\" -lt 25 ]; then kill -TERM $holders 2>/dev/null; else kill -KILL $holders 2>/dev/null; fi\n\
         sleep 0.2 2>/dev/null || {{ sleep 1; tries=$((tries + 4)); }}\ntries=$((tries + 1))\n\
         [ \"$tries\" -lt 35 ] || break\nholders\ndone\n\
         if flock -s -n lease true; then echo \"ended: $n_ended\"; else echo \"failed: processes$holders still hold it\"; fi\n",
        holder = quote(holder),
        by = quote(by)
    )
}

fn folder(context: &ScriptContext) -> String {
    quote(&format!("{}/lock", layout::folder(&context.remote_root)))
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
