//! argv in, exit code out.
use flipside::cli::{args, exit, run};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is still at work in the end is waited for so long.
const AT_THE_END: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let began = Instant::now();
    let args = args::read();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(args, began));
            // A question that a signal has ended is still read for an answer, which nobody waits for.
            runtime.shutdown_timeout(AT_THE_END);
            outcome
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "flipside: cannot start its runtime: {error}");
            exit::Outcome::Bug
        }
    };
    ExitCode::from(exit::code(outcome))
}
