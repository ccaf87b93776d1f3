//! Measures what `docs/performance.md` says, on the machine it runs on. Real
//! parts only: a hub, an agent, an API server, Git over HTTP.
//!
//! `cargo run --release -p lockstep-e2e --bin measure -- push`

mod bare;
mod changes;
mod content;
mod heal;
mod idle;
mod large;
mod many;
mod meter;
mod push;
mod table;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    about = "Measures Lockstep beside a bare loop, on this machine",
    after_help = "Example:\n  cargo run --release -p lockstep-e2e --bin measure -- push --commits 30"
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The time from a push, with webhook, to the last object changed in the
    /// API, beside a bare loop of the same fetch and applies; and the memory
    /// of hub and agent
    Push(push::Options),
    /// Many Assignments from one Repository on one cluster: a commit that
    /// changes all of them, and one that changes one
    Many(many::Options),
    /// One Assignment of many objects: applied for the first time, and one of
    /// them changed
    Large(large::Options),
    /// The memory of an idle agent, its requests and its processor time
    Idle(idle::Options),
    /// From an object's deletion by hand to its being back
    Heal(heal::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Push(options) => push::run(&options).await,
        What::Many(options) => many::run(&options).await,
        What::Large(options) => large::run(&options).await,
        What::Idle(options) => idle::run(&options).await,
        What::Heal(options) => heal::run(&options).await,
    }
}
