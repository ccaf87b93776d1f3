//! `lockstep`: the command line. Reads arguments, runs one command, and turns
//! its outcome into an exit code.

use std::process::ExitCode;

use lockstep_cli::{Cli, report, run};

fn main() -> ExitCode {
    report(run(Cli::from_environment()))
}
