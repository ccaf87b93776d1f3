//! `lockstep-agent`: reads the arguments, and runs the agent.

use std::process::ExitCode;

use clap::Parser as _;
use lockstep_agent::config::{Cli, Command};
use lockstep_agent::{log, memory, run};
use tracing::error;

/// Gives memory back soon: an agent idles nearly all of its life.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong usage, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let Cli {
        command: Command::Run(args),
        log_format,
    } = Cli::parse();
    if let Err(error) = log::start(log_format) {
        return usage(&error);
    }
    let token = match args.join_token() {
        Ok(token) => token,
        Err(error) => return usage(&error),
    };
    memory::give_back();
    memory::share();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nobody has chosen another provider");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .on_thread_start(memory::share)
        .enable_all()
        .build()
        .expect("the system gives threads to a new process");
    match runtime.block_on(run::run(args, token)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr)] // there may be no log yet, and it is no log line
fn usage(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(USAGE)
}
