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
mod survey;
mod watching;

use args::{Args, Command};
use exit::Outcome;
use std::time::Instant;

/// Carries out what was typed, and says how it went.
pub async fn run(args: Args, began: Instant) -> Outcome {
    match &args.command {
        Command::Deploy { services, yes, force, probing, repair } => {
            deploy::deploy(&args.global, services, *yes, deploy::wanted(services, *force, *repair), *probing, began).await
        }
        Command::Rollback { services, yes, probing, repair } => {
            deploy::rollback(&args.global, services, *yes, deploy::wanted(services, false, *repair), *probing, began).await
        }
        Command::Remove { services, yes, repair } => {
            deploy::remove(&args.global, services, *yes, deploy::wanted(&[], false, *repair), began).await
        }
        Command::Resume { probing } => resume::resume(&args.global, *probing, began).await,
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
