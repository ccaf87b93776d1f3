//! One sandbox cluster to look at: prints where its kubeconfig is and runs until Ctrl-C.
//!
//! `cargo run -p lockstep-sandbox --example sandbox -- DIR [PORT]`

use std::path::PathBuf;

use anyhow::Context;
use lockstep_sandbox::{Sandbox, SandboxOptions};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().context("usage: sandbox DIR [PORT]")?);
    let port = arguments
        .next()
        .map_or(Ok(0), |port| port.parse())
        .context("PORT is a number")?;
    let sandbox = Sandbox::start(SandboxOptions {
        pods: true,
        port,
        ..SandboxOptions::default()
    })
    .await?;
    let path = sandbox.write_kubeconfig(&dir)?;
    // The path is the output of this program.
    #[allow(clippy::print_stdout)]
    {
        println!("{}", path.display());
    }
    std::future::pending::<()>().await;
    Ok(())
}
