//! The commands: one file each; parse, call, print. Deliberately absent: decisions, which `plan` makes.
pub mod args;
mod carry_out;
mod deploy;
pub mod exit;
mod files;
mod load;
mod look;
mod passphrase;
mod patience;
mod print;
mod resume;
mod reverts;
mod secrets;
mod survey;
mod unlock;
mod watching;

use args::{Args, Command};
use exit::Outcome;
use std::time::Instant;

/// Carries out what was typed, and says how it went.
pub async fn run(args: Args, began: Instant) -> Outcome {
    match &args.command {
        Command::Deploy { services, yes, force, probing, repair, waiting } => {
            let manner = deploy::Manner { confirmed: *yes, probing: *probing, lock_wait: waiting.lock_wait };
            deploy::deploy(&args.global, services, deploy::wanted(services, *force, *repair), manner, began).await
        }
        Command::Rollback { services, yes, probing, repair, waiting } => {
            let manner = deploy::Manner { confirmed: *yes, probing: *probing, lock_wait: waiting.lock_wait };
            deploy::rollback(&args.global, services, deploy::wanted(services, false, *repair), manner, began).await
        }
        Command::Remove { services, yes, repair, waiting } => {
            let manner = deploy::Manner { confirmed: *yes, probing: args::Probing::default(), lock_wait: waiting.lock_wait };
            deploy::remove(&args.global, services, deploy::wanted(&[], false, *repair), manner, began).await
        }
        Command::Resume { probing, waiting } => resume::resume(&args.global, *probing, waiting.lock_wait, began).await,
        Command::Abort { waiting } => resume::abort(&args.global, waiting.lock_wait, began).await,
        Command::Unlock { yes } => unlock::unlock(&args.global, *yes).await,
        Command::Plan { services, commands, undo, force, repair } => {
            look::plan(&args.global, services, *commands, *undo, &deploy::wanted(services, *force, *repair)).await
        }
        Command::Status { services } => look::status(&args.global, services).await,
        Command::Ports => look::ports(&args.global).await,
        Command::Inventory => files::inventory(&args.global),
        Command::Init { dir } => files::init(dir),
        Command::Completions { shell } => {
            print::result(&args::completions(*shell));
            Outcome::Done
        }
    }
}
