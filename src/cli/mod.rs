//! The commands: one file each; parse, call, print. Deliberately absent: decisions, which `plan` makes.
pub mod args;
mod deploy;
pub mod exit;
mod files;
mod load;
mod look;
mod passphrase;
mod print;
mod resume;
mod secrets;
mod survey;

use args::{Args, Command};
use exit::Outcome;
use std::time::Instant;

/// Carries out what was typed, and says how it went.
pub async fn run(args: Args, began: Instant) -> Outcome {
    match &args.command {
        Command::Deploy { services, yes, force } => deploy::deploy(&args.global, services, *yes, *force, began).await,
        Command::Rollback { services, yes } => deploy::rollback(&args.global, services, *yes, began).await,
        Command::Remove { services, yes } => deploy::remove(&args.global, services, *yes, began).await,
        Command::Resume => resume::resume(&args.global, began).await,
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
