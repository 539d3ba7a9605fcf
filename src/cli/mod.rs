//! The commands: one file each; parse, call, print. Deliberately absent: decisions, which `plan` makes.
mod adopt;
pub mod args;
mod carry_out;
mod deploy;
pub mod exit;
mod files;
mod hooks;
mod load;
mod look;
mod manner;
mod options;
mod passphrase;
mod patience;
mod print;
mod resume;
mod reverts;
mod secrets;
mod signals;
mod survey;
mod unlock;
mod watch;
mod watching;

use args::{Args, Command};
use exit::Outcome;
use manner::{Manner, wanted};
use std::time::Instant;

/// Carries out what was typed, and says how it went.
pub async fn run(args: Args, began: Instant) -> Outcome {
    match &args.command {
        Command::Deploy { services, yes, force, probing, repair, leaving, doing_without, waiting } => {
            let manner = Manner { confirmed: *yes, probing: *probing, lock_wait: waiting.lock_wait };
            let asked = wanted(services, *force, *repair).with(*leaving).without(*doing_without);
            deploy::deploy(&args.global, services, asked, manner, began).await
        }
        Command::CatchUp { yes, probing, doing_without, waiting } => {
            let manner = Manner { confirmed: *yes, probing: *probing, lock_wait: waiting.lock_wait };
            deploy::catch_up(&args.global, wanted(&[], false, false).without(*doing_without), manner, began).await
        }
        Command::Rollback { services, yes, probing, repair, doing_without, waiting } => {
            let manner = Manner { confirmed: *yes, probing: *probing, lock_wait: waiting.lock_wait };
            deploy::rollback(&args.global, services, wanted(services, false, *repair).without(*doing_without), manner, began).await
        }
        Command::Remove { services, yes, repair, waiting } => {
            let manner = Manner { confirmed: *yes, probing: args::Probing::default(), lock_wait: waiting.lock_wait };
            deploy::remove(&args.global, services, wanted(&[], false, *repair), manner, began).await
        }
        Command::Maintenance { state, services, yes, waiting } => {
            let manner = Manner { confirmed: *yes, probing: args::Probing::default(), lock_wait: waiting.lock_wait };
            deploy::maintenance(&args.global, services, *state, manner, began).await
        }
        Command::Resume { probing, waiting } => resume::resume(&args.global, *probing, waiting.lock_wait, began).await,
        Command::Promote { probing, waiting } => resume::promote(&args.global, *probing, waiting.lock_wait, began).await,
        Command::Abort { waiting } => resume::abort(&args.global, waiting.lock_wait, began).await,
        Command::Unlock { yes } => unlock::unlock(&args.global, *yes).await,
        Command::Plan { services, commands, undo, force, repair, leaving, doing_without } => {
            let asked = wanted(services, *force, *repair).with(*leaving).without(*doing_without);
            look::plan(&args.global, services, *commands, *undo, &asked).await
        }
        Command::Status { services } => look::status(&args.global, services).await,
        Command::Watch { services, once, interval } => watch::watch(&args.global, services, *once, *interval).await,
        Command::Ports => look::ports(&args.global).await,
        Command::Adopt { services } => adopt::adopt(&args.global, services, &wanted(services, false, false)).await,
        Command::Inventory => files::inventory(&args.global),
        Command::Init { dir } => files::init(dir),
        Command::Completions { shell } => {
            print::result(&args::completions(*shell));
            Outcome::Done
        }
    }
}
