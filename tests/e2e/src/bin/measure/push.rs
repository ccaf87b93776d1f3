//! From a push to the last object changed, beside the bare loop, in turns, so
//! that both meet the same machine.

use std::io::Write as _;
use std::time::{Duration, Instant};

use lockstep_e2e::fixtures::{GitRepository, Process};
use lockstep_e2e::{
    Assignment, Context as _, Flavour, Result, World, config_map, group, json, post, repository,
};

use crate::bare::BareLoop;
use crate::changes::Changes;
use crate::table::{Spread, millis, render, spread};

/// Not counted: connections, caches and branch predictors get warm.
const WARM_UP: usize = 3;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Commits that are measured, for each of both
    #[arg(long, default_value_t = 30)]
    commits: usize,
    /// ConfigMaps that every commit changes
    #[arg(long, default_value_t = 10)]
    objects: usize,
}

pub async fn run(options: &Options) -> Result<()> {
    say("starting etcd, kube-apiserver, a Git server, a hub and an agent");
    let mut world = World::start().await?;
    world.join("eu-1", &[("env", "prod")], Flavour::Api).await?;
    let shop = world.git.repository("shop").await?;
    let other = world.git.repository("bare").await?;
    commit(&shop, "0", options.objects).await?;
    commit(&other, "0", options.objects).await?;
    let yaml = [
        repository("shop", shop.url()).replace("poll: 1s", "poll: 0s"),
        group("prod", "env", "prod"),
        Assignment::new("shop").yaml(),
    ];
    world.cli()?.apply(&yaml.concat()).await?;
    world.arrived("shop", &shop.head().await?).await?;

    let client = world.cluster("eu-1").client();
    let namespace = json!({"metadata": {"name": "bare"}});
    let cluster = world.cluster("eu-1");
    cluster.create("v1 Namespace", "", namespace).await?;
    let mut in_shop = Changes::of(client.clone(), "shop").await?;
    let mut in_bare = Changes::of(client.clone(), "bare").await?;
    let bare = BareLoop::new(client, "bare", other.url()).await?;
    let hook = format!("{}/hooks/generic/shop", world.hub.http());

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut fetches, mut applies) = (Vec::new(), Vec::new());
    for step in 1..=WARM_UP + options.commits {
        let round = step.to_string();
        commit(&shop, &round, options.objects).await?;
        let begin = Instant::now();
        post(&hook, &[], "{}").await?;
        let end = in_shop.all_have(&round, options.objects).await?;
        let took_ours = end - begin;
        // Its reports and its database come to rest before the other's turn.
        world.arrived("shop", &shop.head().await?).await?;

        commit(&other, &round, options.objects).await?;
        let begin = Instant::now();
        let pass = bare.pass("deploy").await?;
        let end = in_bare.all_have(&round, options.objects).await?;
        if step > WARM_UP {
            ours.push(took_ours);
            theirs.push(end - begin);
            fetches.push(pass.fetch);
            applies.push(pass.apply);
            say(&format!(
                "commit {} of {}: Lockstep {}, bare loop {}",
                step - WARM_UP,
                options.commits,
                millis(took_ours),
                millis(end - begin)
            ));
        }
    }

    let hub = memory(world.hub.process()?)?;
    let agent = memory(world.agent("eu-1").process()?)?;
    let spread = |samples: &[Duration]| spread(samples).context("no commit was measured");
    let (ours, theirs) = (spread(&ours)?, spread(&theirs)?);
    let ratio = |ours: Duration, theirs: Duration| {
        format!("{:.2}x", ours.as_secs_f64() / theirs.as_secs_f64())
    };
    let row = |name: &str, s: Spread| vec![name.to_owned(), millis(s.median), millis(s.p90)];
    let mut rows = vec![
        ["from push to the last object changed", "median", "p90"]
            .map(str::to_owned)
            .to_vec(),
        row("Lockstep (webhook, hub, agent)", ours),
        row("bare loop (git fetch, server-side applies)", theirs),
        row("  of which fetch", spread(&fetches)?),
        row("  of which applies", spread(&applies)?),
    ];
    rows.push(vec![
        "Lockstep / bare loop".to_owned(),
        ratio(ours.median, theirs.median),
        ratio(ours.p90, theirs.p90),
    ]);
    let memory_rows = [
        ["memory", "resident", "highest"]
            .map(str::to_owned)
            .to_vec(),
        vec!["hub".to_owned(), mib(hub.resident), mib(hub.highest)],
        vec!["agent".to_owned(), mib(agent.resident), mib(agent.highest)],
    ];
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", conditions(options)?)?;
    writeln!(stdout, "{}", render(&rows))?;
    write!(stdout, "{}", render(&memory_rows))?;
    Ok(())
}

/// Changes every object, and pushes. The webhook, which a forge sends after
/// the push, is the measurement's.
async fn commit(repository: &GitRepository, round: &str, objects: usize) -> Result<()> {
    let files: Vec<(String, String)> = (0..objects)
        .map(|n| {
            let name = format!("item-{n}");
            (
                format!("deploy/{name}.yaml"),
                config_map(&name, "round", round),
            )
        })
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(p, c)| (p.as_str(), c.as_str()))
        .collect();
    repository
        .commit(&format!("Round {round}"), &files)
        .await
        .map(drop)
}

struct Memory {
    resident: u64,
    highest: u64,
}

/// In KiB, as the kernel counts.
fn memory(process: &Process) -> Result<Memory> {
    let path = format!("/proc/{}/status", process.pid());
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("{name} in {path}"))
    };
    Ok(Memory {
        resident: field("VmRSS:")?,
        highest: field("VmHWM:")?,
    })
}

fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

fn conditions(options: &Options) -> Result<String> {
    let cpus = std::thread::available_parallelism().context("count the processors")?;
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or(": unknown")
        .trim_start_matches([' ', '\t', ':']);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    Ok(format!(
        "{} commits (after {WARM_UP} that do not count) of {} ConfigMaps, one cluster: \
         kube-apiserver {} and etcd without fsync;\n{cpus} processors ({model}), Linux {}; \
         {profile} build\n",
        options.commits,
        options.objects,
        "v1.36.3",
        kernel.trim(),
    ))
}

fn say(line: &str) {
    // stderr may be closed; the numbers go to stdout.
    drop(writeln!(std::io::stderr(), "{line}"));
}
