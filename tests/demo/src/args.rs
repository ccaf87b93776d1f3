//! The command line of the demo.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// More sandbox clusters than this belong into a load test.
pub const MOST_CLUSTERS: u16 = 200;

/// Starts a fleet on this machine and shows one commit reach every cluster.
///
/// A hub on its embedded database, a Git repository over HTTP, and clusters with an agent
/// each, in two groups: prod and staging. Everything is joined, assigned and watched until it
/// has converged; then a commit is pushed and watched until it is everywhere. After that the
/// demo stays, says how to look closer, and takes everything down on Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "demo", bin_name = "cargo demo", version, after_help = EXAMPLES)]
pub struct Args {
    /// End after convergence, with the final table on stdout
    #[arg(long)]
    pub once: bool,

    /// How many clusters to start
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_CLUSTERS)), conflicts_with = "contexts")]
    pub clusters: u16,

    /// Use real API servers with controllers in place of sandbox clusters; builds them the
    /// first time, which needs Go
    #[arg(long, conflicts_with = "kubeconfig")]
    pub real: bool,

    /// Use your own clusters: a kubeconfig with their contexts. What the demo applies there
    /// (namespaces `shop` and `preview`) is removed when it ends
    #[arg(long, value_name = "FILE", requires = "contexts")]
    pub kubeconfig: Option<PathBuf>,

    /// The contexts of --kubeconfig to use, separated by commas
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        requires = "kubeconfig"
    )]
    pub contexts: Vec<String>,

    /// Keep the database, the repository, kubeconfigs and logs in this folder, in place of a
    /// temporary one
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// How long convergence may take before the demo gives up
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a number of seconds, such as 300".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  cargo demo                       five sandbox clusters, until Ctrl-C
  cargo demo --once                the same, ends once the commit is everywhere
  cargo demo --clusters 50         a larger fleet
  cargo demo --real --clusters 3   real API servers and controllers
  cargo demo --kubeconfig ~/.kube/config --contexts kind-a,kind-b

Exit codes: 0 converged, 1 it did not or something failed, 2 wrong usage.
Progress is on stderr; only --once writes to stdout, the final table.";
