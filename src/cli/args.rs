//! The command line as typed: the commands. With `options` the only place that knows clap. Deliberately absent: reading files and doing
//! anything.
use super::exit;
use super::options::duration;
pub use super::options::{Color, DoingWithout, Leaving, OnOff, Output, Probing, Shell, Waiting};
use crate::model::{EnvName, Millis, NameError, ServiceName};
#[cfg(test)]
use clap::Error;
use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

/// Everything that was typed.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "flipside",
    bin_name = "flipside",
    version,
    about = "Deploy containers to many servers over SSH, without a dropped request",
    long_about = "Flipside deploys containers to many servers over SSH. Every service has two sides, primary and secondary, that take \
                  turns: the new side is started and proves itself, every server's NGINX is switched to it by a graceful reload, the \
                  old side drains and is stopped, or stays warm. When anything fails on the way, the whole fleet is put back.",
    after_help = exit_codes(),
    after_long_help = format!("{EXAMPLES}\n\n{}", exit_codes()),
    arg_required_else_help = true,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Args {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  flipside init                     make playbooks/ and inventory/ with a first playbook in them
  flipside -e uat plan              show what a deploy would do; change nothing
  flipside -e uat deploy            show the plan, ask, run it
  flipside -e prod deploy api -y    only the service api, without a question (for cron and CI)
  flipside -e prod rollback         back to the previous release
  flipside -e prod status           what runs where, and which side is live";

/// Options that every command takes.
#[derive(Debug, Clone, PartialEq, Eq, ClapArgs)]
pub struct Global {
    /// The playbook: what to deploy [default: the only file in playbooks/]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub playbook: Option<PathBuf>,
    /// The inventory: the servers [default: the only file in inventory/]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub inventory: Option<PathBuf>,
    /// The environment, such as uat or prod: a part of every name and port
    #[arg(short, long, global = true, value_name = "NAME", env = "FLIPSIDE_ENV", value_parser = env_name, help_heading = GLOBAL)]
    pub env: Option<EnvName>,
    /// What is printed: text for people, or json for programs, of a run one event a line
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = Output::Text, help_heading = GLOBAL)]
    pub output: Output,
    /// Colour: auto colours a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto, help_heading = GLOBAL)]
    pub color: Color,
    /// Where the journals of runs are kept, for resume and abort [default: ~/.local/state/flipside]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub state_dir: Option<PathBuf>,
    /// NGINX templates that replace the built-in ones of the same name [default: the folder templates, where there is one]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub templates: Option<PathBuf>,
    /// How many servers are connected to at the same time, 1 to 1000
    #[arg(long, global = true, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = GLOBAL)]
    pub parallel: u16,
    /// Say more: with a plan, the changes of the NGINX files
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = GLOBAL)]
    pub verbose: u8,
}

const GLOBAL: &str = "Global options";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Bring the servers to what the playbook says
    ///
    /// Shows the plan, asks on a terminal, and runs it. Services that have not changed are skipped. When a step fails, every server is
    /// put back to what it served before.
    Deploy {
        /// Only these services; without any, all of the playbook
        #[arg(value_name = "SERVICE", value_parser = service_name)]
        services: Vec<ServiceName>,
        /// Do not ask. Without a terminal this must be given
        #[arg(short, long)]
        yes: bool,
        /// Deploy services that have not changed as well
        #[arg(long)]
        force: bool,
        /// Requests that watch the run.
        #[command(flatten)]
        probing: Probing,
        /// Overwrite what somebody changed by hand on the servers
        #[arg(long)]
        repair: bool,
        /// Services that left the playbook.
        #[command(flatten)]
        leaving: Leaving,
        /// Servers that are left behind.
        #[command(flatten)]
        doing_without: DoingWithout,
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Bring servers that were left behind to what the fleet has
    ///
    /// For servers that could not be reached when the fleet was deployed to. Services that are level stay as they are. Exits 3 when the
    /// playbook wants something else than the fleet has: deploy does both.
    CatchUp {
        /// Do not ask. Without a terminal this must be given
        #[arg(short, long)]
        yes: bool,
        /// Requests that watch the run.
        #[command(flatten)]
        probing: Probing,
        /// Servers that stay behind.
        #[command(flatten)]
        doing_without: DoingWithout,
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Show what a deploy would do, and change nothing
    ///
    /// The same plan that deploy makes: the services, what the checks noticed, the steps of every server, and the changes of the NGINX
    /// files. Exits 3 when a check forbids the deploy.
    Plan {
        /// Only these services; without any, all of the playbook
        #[arg(value_name = "SERVICE", value_parser = service_name)]
        services: Vec<ServiceName>,
        /// Below each step, the exact commands that it runs on the server
        #[arg(long)]
        commands: bool,
        /// Below each step, what takes it back
        #[arg(long)]
        undo: bool,
        /// Plan services that have not changed as well
        #[arg(long)]
        force: bool,
        /// Plan to overwrite what somebody changed by hand on the servers
        #[arg(long)]
        repair: bool,
        /// Services that left the playbook.
        #[command(flatten)]
        leaving: Leaving,
        /// Servers that are left behind.
        #[command(flatten)]
        doing_without: DoingWithout,
    },
    /// Go back to the previous release on every server
    ///
    /// Starts the containers that the newest release replaced, unless they are warm and still run, and switches to them; services of older
    /// releases stay. Exits 3, with nothing touched, when there is no previous release.
    Rollback {
        /// Only these of the services that the newest release replaced; without any, all of them
        #[arg(value_name = "SERVICE", value_parser = service_name)]
        services: Vec<ServiceName>,
        /// Do not ask. Without a terminal this must be given
        #[arg(short, long)]
        yes: bool,
        /// Requests that watch the run.
        #[command(flatten)]
        probing: Probing,
        /// Overwrite what somebody changed by hand on the servers
        #[arg(long)]
        repair: bool,
        /// Servers that are left behind.
        #[command(flatten)]
        doing_without: DoingWithout,
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Show what runs where, and which side is live
    Status {
        /// Only these services; without any, all of the playbook
        #[arg(value_name = "SERVICE", value_parser = service_name)]
        services: Vec<ServiceName>,
    },
    /// Show each service's ports: base, secondary, and the one that apps connect to
    Ports,
    /// Show what runs already and looks like a service, and what to write so that a deploy takes it over
    ///
    /// Reads the servers and changes nothing. For containers that docker run, compose or another deployer has started.
    Adopt {
        /// Only these services; without any, all of the playbook
        #[arg(value_name = "SERVICE", value_parser = service_name)]
        services: Vec<ServiceName>,
    },
    /// Ask every copy of the services with `active_checks` again and again: one that fails is taken out, and comes back when it passes again
    ///
    /// Runs until it is stopped. Every copy is asked from servers whose NGINX routes to it. One that fails so many checks in a row is taken
    /// out of every server's upstream by a run of its own, with locks and undo; the last one of a service never is.
    Watch {
        /// Only these services; without any, all that have `active_checks`
        #[arg(value_name = "SERVICE", value_parser = service_name)]
        services: Vec<ServiceName>,
        /// One pass, for cron: ask until each copy is known to be well or not, do what is to be done, and exit
        #[arg(long)]
        once: bool,
        /// Ask every copy this often, such as 2s [default: `interval` of its `active_checks`, or 5s]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        interval: Option<Millis>,
    },
    /// Take services away: their containers and their NGINX files, on every server
    Remove {
        /// The services to take away; they must be named
        #[arg(value_name = "SERVICE", value_parser = service_name, required = true)]
        services: Vec<ServiceName>,
        /// Do not ask. Without a terminal this must be given
        #[arg(short, long)]
        yes: bool,
        /// Overwrite what somebody changed by hand on the servers
        #[arg(long)]
        repair: bool,
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Give requests for the public hosts of services the maintenance page, or let them through again
    Maintenance {
        /// Into maintenance, or back
        state: OnOff,
        /// The services; they must be named
        #[arg(value_name = "SERVICE", value_parser = service_name, required = true)]
        services: Vec<ServiceName>,
        /// Do not ask. Without a terminal this must be given
        #[arg(short, long)]
        yes: bool,
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Finish a run that was cut off or is held
    ///
    /// Looks at every step whose end nobody saw, and goes on from there: forward, or back where the run was on its way back.
    Resume {
        /// Requests that watch the run.
        #[command(flatten)]
        probing: Probing,
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Give a canary that waits for it all requests
    ///
    /// Where the playbook says `promote = "manual"`, a deploy ends when its canary has stood the test, with exit code 9. This goes on with it.
    Promote {
        /// Requests that watch the run.
        #[command(flatten)]
        probing: Probing,
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Undo a run that was cut off, is held, or waits for promotion
    ///
    /// Takes the run up as resume does, and puts every server back to what it served before that run. Exits 0 when all is as it was, 6
    /// when something could not be put back, 3 when the run had begun to tidy up: then resume finishes it, and rollback goes back.
    Abort {
        /// Other runs.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Show who has locked the servers, and end the run that has
    ///
    /// Never needed: a lock goes with its run, and 25 seconds at most after a workstation has frozen or lost its network. For a run that
    /// is alive and must not go on.
    Unlock {
        /// Do not ask before a run is ended. Without a terminal this must be given
        #[arg(short, long)]
        yes: bool,
    },
    /// List the servers of the inventory
    Inventory,
    /// Make a first playbook and inventory to start from
    Init {
        /// The folder to make them in
        #[arg(value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Print the completion script of a shell
    Completions {
        /// The shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
}

/// Reads the process's own arguments. Help and version are printed and exit 0; wrong usage is explained and exits 2.
#[must_use]
pub fn read() -> Args {
    Args::parse()
}

/// The completion script of a shell.
#[must_use]
pub fn completions(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Elvish => clap_complete::Shell::Elvish,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Powershell => clap_complete::Shell::PowerShell,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "flipside", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn exit_codes() -> String {
    let lines: Vec<String> = exit::MEANINGS.iter().map(|(code, meaning)| format!("  {code:>3}  {meaning}")).collect();
    format!("EXIT CODES:\n{}", lines.join("\n"))
}

fn service_name(text: &str) -> Result<ServiceName, NameError> {
    ServiceName::new(text)
}

fn env_name(text: &str) -> Result<EnvName, NameError> {
    EnvName::new(text)
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
