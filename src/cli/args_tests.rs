//! Command lines as people type them, right and wrong. Deliberately absent: what they do.
use super::*;
use clap::ValueEnum;

fn parse(line: &str) -> Result<Args, Error> {
    Args::try_parse_from(line.split_whitespace())
}

fn error(line: &str) -> String {
    let error = parse(line).unwrap_err();
    assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{line}");
    error.to_string()
}

#[test]
fn clap_finds_nothing_wrong_with_the_definition() {
    Args::command().debug_assert();
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let before = parse("flipside -e prod -p a.toml --output json deploy api web -y").unwrap();
    let after = parse("flipside deploy api web -y -e prod -p a.toml --output json").unwrap();
    assert_eq!(before, after);
    assert_eq!(before.global.env, Some(EnvName::new("prod").unwrap()));
    assert_eq!((before.global.output, before.global.parallel, before.global.verbose), (Output::Json, 32, 0));
    let services = ["api", "web"].map(|name| ServiceName::new(name).unwrap()).to_vec();
    assert_eq!(
        before.command,
        Command::Deploy {
            services,
            yes: true,
            force: false,
            probing: Probing::default(),
            repair: false,
            leaving: Leaving::default(),
            doing_without: DoingWithout::default(),
            waiting: Waiting::default()
        }
    );
}

#[test]
fn a_wait_has_a_unit() {
    let waits = |line: &str| match parse(line).unwrap().command {
        Command::Resume { waiting, .. }
        | Command::Promote { waiting, .. }
        | Command::Abort { waiting }
        | Command::CatchUp { waiting, .. } => waiting.lock_wait,
        other => panic!("{other:?}"),
    };
    assert_eq!(waits("flipside resume"), Millis(0));
    assert_eq!(waits("flipside abort --lock-wait 5m"), Millis::seconds(300));
    assert_eq!(waits("flipside catch-up --max-unreachable 2 --lock-wait 1s"), Millis::seconds(1));
    assert!(error("flipside deploy --lock-wait 5").contains("write 5s"));
}

#[test]
fn a_wrong_line_exits_2_and_says_what_would_be_right() {
    assert!(error("flipside deplyo").contains("'deploy'"), "{}", error("flipside deplyo"));
    assert!(error("flipside plan --comands").contains("--commands"));
    assert!(error("flipside deploy api_secondary").contains("kept for sides and replicas"));
    assert!(error("flipside remove").contains("SERVICE"));
    assert!(error("flipside deploy --probe-budget 3").contains("--probe"));
    assert!(error("flipside --parallel 0 status").contains("1..=1000"));
    error("flipside");
}

#[test]
fn help_names_every_exit_code_and_exits_0() {
    let help = parse("flipside --help").unwrap_err();
    assert_eq!(help.exit_code(), 0);
    for (code, meaning) in exit::MEANINGS {
        assert!(help.to_string().contains(&format!("{code}  {meaning}")), "{code}");
    }
    assert!(help.to_string().contains("Examples:"));
}

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    for shell in Shell::value_variants() {
        assert!(completions(*shell).contains("rollback"), "{shell:?}");
    }
}
