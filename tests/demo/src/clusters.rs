//! The clusters of the demo, each with its agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use lockstep_fixtures::{Agent, AgentOptions, Cluster, ClusterOptions, Hub};
use lockstep_sandbox::{Sandbox, SandboxOptions};

use crate::args::Args;
use crate::plan::{self, Member};

/// How many clusters start at a time: real ones are heavy, and the hub is one process.
const AT_A_TIME: usize = 8;
/// Larger fleets do without pods, which nobody could look at anyway.
const MOST_WITH_PODS: usize = 20;

/// What runs the workloads. Held for what dropping it ends.
enum Place {
    Sandbox { _sandbox: Sandbox },
    Real { _cluster: Box<Cluster> },
    Own,
}

/// One cluster of the fleet, running.
pub struct Running {
    pub member: Member,
    pub kubeconfig: PathBuf,
    /// The context, where the kubeconfig has several.
    pub context: Option<String>,
    pub agent: Agent,
    _place: Place,
}

/// The fleet that the arguments ask for.
pub fn members(args: &Args) -> Vec<Member> {
    if args.contexts.is_empty() {
        plan::fleet(usize::from(args.clusters))
    } else {
        plan::own(&args.contexts)
    }
}

/// Starts and joins every cluster; `each` hears of each one.
///
/// # Errors
///
/// The first that cannot be started or joined.
pub async fn start(
    args: &Args,
    members: &[Member],
    hub: &Hub,
    dir: &Path,
    each: impl Fn(&Running),
) -> Result<Vec<Running>> {
    let count = members.len();
    let mut running: Vec<(usize, Running)> =
        futures::stream::iter(members.iter().enumerate().map(|(at, member)| async move {
            let context = args.contexts.get(at).cloned();
            let one = start_one(args, member, count, at, context, hub, dir).await;
            one.map(|one| (at, one))
                .with_context(|| format!("cluster {}", member.name))
        }))
        .buffer_unordered(AT_A_TIME)
        .inspect_ok(|(_, one)| each(one))
        .try_collect()
        .await?;
    running.sort_by_key(|(at, _)| *at);
    Ok(running.into_iter().map(|(_, one)| one).collect())
}

async fn start_one(
    args: &Args,
    member: &Member,
    count: usize,
    at: usize,
    context: Option<String>,
    hub: &Hub,
    dir: &Path,
) -> Result<Running> {
    let (place, kubeconfig) = if let Some(kubeconfig) = &args.kubeconfig {
        (Place::Own, kubeconfig.clone())
    } else if args.real {
        let cluster = Cluster::start(ClusterOptions::new(&member.name).with_controllers()).await?;
        let kubeconfig = dir.join(format!("{}.kubeconfig", member.name));
        std::fs::copy(cluster.kubeconfig(), &kubeconfig).context("copy the kubeconfig")?;
        (
            Place::Real {
                _cluster: Box::new(cluster),
            },
            kubeconfig,
        )
    } else {
        // A little apart from each other, as clusters are.
        let ready_after = Duration::from_millis(400 + 150 * (at as u64 % 5));
        let pods = count <= MOST_WITH_PODS;
        let options = SandboxOptions {
            name: member.name.clone(),
            ready_after,
            pods,
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await?;
        let kubeconfig = sandbox.write_kubeconfig(dir)?;
        (Place::Sandbox { _sandbox: sandbox }, kubeconfig)
    };
    let labels = [("env", member.group), ("region", member.region.as_str())];
    let token = hub.cli()?.join_token(&member.name, &labels).await?;
    let arguments = context
        .iter()
        .flat_map(|context| ["--context".to_owned(), context.clone()])
        .collect();
    let agent = Agent::start(AgentOptions {
        name: member.name.clone(),
        hub: hub.endpoint(),
        kubeconfig: kubeconfig.clone(),
        join_token: Some(token),
        arguments,
        environment: Vec::new(),
    })
    .await?;
    Ok(Running {
        member: member.clone(),
        kubeconfig,
        context,
        agent,
        _place: place,
    })
}
