//! The `lockstep` command line: talks gRPC to the hub and nothing else.
//!
//! stdout is data, stderr is everything else. Without a terminal there is no
//! colour, no prompt and no redrawing. Exit codes are part of the surface:
//! see [`Exit`].

mod args;
mod commands;
mod context;
mod hub;
mod output;
mod term;

pub use args::Cli;

use std::process::ExitCode;

use args::Command;

/// How a command ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Error,
    /// As clap ends on arguments that it does not understand.
    Usage,
    /// `status --exit-code`: not converged.
    NotConverged,
    /// `status --exit-code`: something is stale or offline.
    Stale,
    /// `wait`, `sync --wait`, `rollback --wait`: the time ran out.
    Timeout,
    /// `diff`: there are differences.
    Different,
    /// `diff`: an error, or somebody gave no answer.
    NotCompared,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error | Self::Different => 1,
            Self::Usage | Self::NotConverged | Self::NotCompared => 2,
            Self::Stale => 3,
            Self::Timeout => 4,
        }
    }
}

/// A mistake in how a command was called that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub String);

/// Runs one command to its end.
///
/// # Errors
/// What went wrong, with the thing, the cause and the next step.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    term::log_to_stderr(cli.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(dispatch(cli))
}

async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    use commands::{
        apply, credential, delete, describe, diff, get, history, label, login, status, steer,
        token, wait,
    };
    let config = cli.config;
    match cli.command {
        Command::Completion { shell } => Ok(commands::completion(shell)),
        Command::Login(args) => login::login(config, args).await,
        Command::Context { command } => login::context(config, command),
        Command::Apply(args) => apply::run(&mut hub::connect(config).await?, args).await,
        Command::Get(args) => get::run(&mut hub::connect(config).await?, args).await,
        Command::Describe(args) => describe::run(&mut hub::connect(config).await?, args).await,
        Command::Delete(args) => delete::run(&mut hub::connect(config).await?, args).await,
        Command::Label(args) => label::run(&mut hub::connect(config).await?, args).await,
        Command::Status(args) => status::run(&mut hub::connect(config).await?, args).await,
        Command::Token { command } => token::run(&mut hub::connect(config).await?, command).await,
        Command::Credential { command } => {
            credential::run(&mut hub::connect(config).await?, command).await
        }
        Command::Wait(args) => wait::run(&mut hub::connect(config).await?, args).await,
        Command::Sync(args) => steer::sync(&mut hub::connect(config).await?, args).await,
        Command::Diff(args) => diff::run(config, args).await,
        Command::History(args) => history::run(&mut hub::connect(config).await?, args).await,
        Command::Rollback(args) => steer::rollback(&mut hub::connect(config).await?, args).await,
        Command::Pause(args) => steer::pause(&mut hub::connect(config).await?, args).await,
        Command::Resume(args) => steer::resume(&mut hub::connect(config).await?, args).await,
        Command::Approve(args) => steer::approve(&mut hub::connect(config).await?, args).await,
    }
}

/// Prints what went wrong, if anything, and gives the process its exit code.
pub fn report(outcome: anyhow::Result<Exit>) -> ExitCode {
    let exit = outcome.unwrap_or_else(|error| {
        if term::is_broken_pipe(&error) {
            return Exit::Done;
        }
        term::say(&format!("error: {}", hub::in_words(&error)));
        if error.is::<Usage>() {
            Exit::Usage
        } else {
            Exit::Error
        }
    });
    ExitCode::from(exit.code())
}
