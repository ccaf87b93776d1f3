//! The hub's process: reads its settings, starts, runs until it is told to stop.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _};
use lockstep_hub::config::{Command, CommandLine, ConfigError, LogFormat, Settings};
use lockstep_hub::limits;
use lockstep_hub::serve::Hub;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(error) => {
            say(&error.to_string());
            return ExitCode::from(2);
        }
    };
    start_log(&settings);
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<Settings, ConfigError> {
    let matches = CommandLine::command().get_matches();
    let typed = matches
        .subcommand_matches("serve")
        .and_then(|serve| serve.value_source("config"));
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let Command::Serve(args) = line.command;
    args.settle(typed == Some(ValueSource::EnvVariable))
}

fn start_log(settings: &Settings) {
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_default();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    limits::keep_files_private();
    limits::raise();
    limits::give_memory_back();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hub")
        .build()
        .context("cannot start the hub's threads")?
        .block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut told = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            let hub = tokio::select! {
                hub = Hub::start(settings) => hub?,
                () = told() => return Ok(()),
            };
            let failed = tokio::select! {
                () = told() => false,
                () = hub.failed() => true,
            };
            tokio::select! {
                () = hub.stop() => {}
                // Told twice: at once.
                () = told() => {}
            }
            anyhow::ensure!(
                !failed,
                "a part of the hub failed (see the log): start it again; what was acknowledged is \
                 in the database"
            );
            Ok(())
        })
}

/// For the person who started the hub, also where the log is filtered away.
fn say(error: &str) {
    let _ = writeln!(std::io::stderr(), "error: {error}");
}
