//! The demo: a hub, a Git repository, clusters and their agents, started with one command,
//! and the story of one commit that reaches them all.

mod args;
mod clusters;
mod demo;
mod ground;
mod plan;
mod repository;
mod say;
mod screen;
mod status;
mod story;

use std::process::ExitCode;

use clap::Parser as _;

use args::Args;
use say::say;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match demo::run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nThe demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
