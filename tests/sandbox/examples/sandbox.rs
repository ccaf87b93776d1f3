//! One sandbox cluster to look at: prints where its kubeconfig is and runs until it is ended.
//!
//! `cargo run -p lockstep-sandbox --example sandbox -- DIR [PORT] [api-only]`

use std::path::PathBuf;

use anyhow::Context;
use lockstep_sandbox::{Sandbox, SandboxOptions};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(
        arguments
            .next()
            .context("usage: sandbox DIR [PORT] [api-only]")?,
    );
    let port = arguments
        .next()
        .map_or(Ok(0), |port| port.parse())
        .context("PORT is a number")?;
    let workloads = arguments.next().is_none_or(|word| word != "api-only");
    let options = SandboxOptions {
        pods: workloads,
        workloads,
        port,
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::start(options).await?;
    let path = sandbox.write_kubeconfig(&dir)?;
    // The path is the output of this program.
    #[allow(clippy::print_stdout)]
    {
        println!("{}", path.display());
    }
    std::future::pending::<()>().await;
    Ok(())
}
