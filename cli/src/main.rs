//! `lockstep`: the command line. Reads arguments, runs one command, and turns
//! its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use lockstep_cli::{Cli, report, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    report(run(cli))
}
