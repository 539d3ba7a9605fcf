//! The load that watches a deploy, as a command. What it does is in `load/`; here is only what is said to it and what it says.
mod load;
mod report;

use load::{Counts, Options, Summary, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
Sends requests until it is told to stop, never twice what a server may have begun with, and says what came of them.

Usage: fleet-traffic [OPTIONS] TARGET…
       fleet-traffic --report [--expect PHASE=WORD,…] [LABEL=]FILE…
                     what earlier runs with --json saw, as one table; in a PHASE, exactly these WORDs may answer

Targets:
  new:URL            HTTP, a new connection for every request
  keep:URL           HTTP over kept connections, used without a look at whether the server has closed them
  tcp:HOST:PORT      a line over a new TCP connection
  tcpkeep:HOST:PORT  lines over one long TCP connection
  ws:URL             lines over one long connection, after an HTTP upgrade
  h2:URL             HTTP/2 without TLS over kept connections; what a server says it has not begun with is asked again
  grpc:URL           unary calls of gRPC, over such a connection
  grpcstream:URL     messages of one long stream of gRPC
  URL#NAME sends NAME as the Host header; {200-2000} in a URL becomes a number in that range, for every request another

Options:
  --host NAME        The Host header of every URL that names none
  --concurrency N    Clients for each target (default 2)
  --pause MS         What a client waits between an answer and the next request (default 5)
  --timeout SECONDS  A request without an answer by then has failed (default 15)
  --seconds N        Stop after this time (default 60)
  --until-file PATH  Stop as soon as this file exists
  --phase-file PATH  Its content names the present phase; requests are counted by phase
  --json             Print the summary as JSON on stdout, instead of the table

Exit code: 0 when no request failed and all was as expected, 1 when not, 2 for a wrong command line.";

/// What the command line says.
struct Wishes {
    targets: Vec<Target>,
    options: Options,
    seconds: Duration,
    until_file: Option<PathBuf>,
    json: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--help") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == "--report" => report::report(rest).map(|(text, failed)| {
            print!("{text}");
            failed
        }),
        Some(_) | None => send(arguments),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("fleet-traffic: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Sends requests, and returns how many failed.
fn send(arguments: Vec<String>) -> Result<u64, String> {
    read(arguments).and_then(|wishes| {
        let handle = load::start(wishes.targets, wishes.options).map_err(|problem| format!("cannot start a client: {problem}"))?;
        let began = Instant::now();
        while began.elapsed() < wishes.seconds && !wishes.until_file.as_ref().is_some_and(|file| file.exists()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let summary = handle.stop();
        if wishes.json {
            println!("{}", serde_json::to_string_pretty(&summary).map_err(|problem| problem.to_string())?);
        } else {
            print(&summary);
        }
        Ok(summary.failed())
    })
}

fn read(arguments: Vec<String>) -> Result<Wishes, String> {
    let mut wishes =
        Wishes { targets: Vec::new(), options: Options::default(), seconds: Duration::from_secs(60), until_file: None, json: false };
    let mut host = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--host" => host = Some(value()?),
            "--concurrency" => wishes.options.concurrency = number(&argument, &value()?)?,
            "--pause" => wishes.options.pause = Duration::from_millis(number(&argument, &value()?)?),
            "--timeout" => wishes.options.timeout = Duration::from_secs(number(&argument, &value()?)?),
            "--seconds" => wishes.seconds = Duration::from_secs(number(&argument, &value()?)?),
            "--until-file" => wishes.until_file = Some(value()?.into()),
            "--phase-file" => wishes.options.phase_file = Some(value()?.into()),
            "--json" => wishes.json = true,
            option if option.starts_with('-') => return Err(format!("there is no option {option}")),
            target => wishes.targets.push(target.parse()?),
        }
    }
    if wishes.targets.is_empty() {
        return Err("no target is named".to_owned());
    }
    if let Some(host) = host {
        wishes.targets.iter_mut().filter(|target| target.host == target.address).for_each(|target| target.host.clone_from(&host));
    }
    Ok(wishes)
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{option} needs a number, not \"{text}\""))
}

fn print(summary: &Summary) {
    println!("{:<48} {:>8} {:>6} {:>5} {:>9} {:>9} {:>9}  ANSWERS", "TARGET", "SENT", "FAILED", "CUTS", "P50 MS", "P99 MS", "SLOWEST");
    for target in &summary.targets {
        row(&target.target, &target.total);
        if target.phases.len() > 1 {
            target.phases.iter().for_each(|phase| row(&format!("  {}", phase.phase), &phase.counts));
        }
        for failure in &target.failures {
            println!("  at {} ms, after {} ms: {}", failure.at_ms, failure.after_ms, failure.text);
        }
    }
    println!("{} requests in {:.1} s, {} failed", summary.sent(), summary.seconds, summary.failed());
}

fn row(name: &str, counts: &Counts) {
    let answers: Vec<String> = counts.answers.iter().map(|(word, count)| format!("{word} × {count}")).collect();
    println!(
        "{name:<48} {:>8} {:>6} {:>5} {:>9.1} {:>9.1} {:>9.1}  {}",
        counts.sent,
        counts.failed,
        counts.cuts,
        counts.p50_ms,
        counts.p99_ms,
        counts.slowest_ms,
        answers.join(", ")
    );
}
