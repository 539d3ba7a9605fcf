//! argv in, exit code out.
use flipside::cli::{args, exit, run};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let began = Instant::now();
    let args = args::read();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(args, began)),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "flipside: cannot start its runtime: {error}");
            exit::Outcome::Bug
        }
    };
    ExitCode::from(exit::code(outcome))
}
