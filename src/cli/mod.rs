//! The commands: one file each; parse, call, print. Deliberately absent: decisions, which `plan` makes.
pub mod args;
mod deploy;
pub mod exit;
mod files;
mod load;
mod look;
mod passphrase;
mod patience;
mod print;
mod resume;
mod survey;
mod unlock;

use args::{Args, Command};
use exit::Outcome;
use std::time::Instant;

/// Carries out what was typed, and says how it went.
pub async fn run(args: Args, began: Instant) -> Outcome {
    match &args.command {
        Command::Deploy { services, yes, force, lock_wait } => {
            deploy::deploy(&args.global, services, *yes, *force, *lock_wait, began).await
        }
        Command::Rollback { services, yes, lock_wait } => deploy::rollback(&args.global, services, *yes, *lock_wait, began).await,
        Command::Remove { services, yes, lock_wait } => deploy::remove(&args.global, services, *yes, *lock_wait, began).await,
        Command::Resume { lock_wait } => resume::resume(&args.global, *lock_wait, began).await,
        Command::Abort { lock_wait } => resume::abort(&args.global, *lock_wait, began).await,
        Command::Unlock { yes } => unlock::unlock(&args.global, *yes).await,
        Command::Plan { services, commands, undo, force } => look::plan(&args.global, services, *commands, *undo, *force).await,
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
