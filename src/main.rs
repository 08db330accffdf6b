//! The `copycat` binary: arguments and wiring.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
