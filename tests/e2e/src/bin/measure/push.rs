//! From a push to the last object changed, beside the bare loop, in turns, so
//! that both meet the same machine.

use std::io::Write as _;
use std::time::{Duration, Instant};

use lockstep_e2e::{
    Assignment, Context as _, Flavour, Result, World, group, json, post, repository,
};

use crate::bare::BareLoop;
use crate::changes::Changes;
use crate::content::{commit, files};
use crate::meter::{conditions, memory, mib, ratio, say};
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
    let round = |round: &str| files("deploy", "item", options.objects, round);
    commit(&shop, &round("0")).await?;
    commit(&other, &round("0")).await?;
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
    let bare = BareLoop::new(client, "bare", other.url(), "deploy").await?;
    let hook = format!("{}/hooks/generic/shop", world.hub.http());

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut fetches, mut applies) = (Vec::new(), Vec::new());
    for step in 1..=WARM_UP + options.commits {
        let files = round(&step.to_string());
        let round = step.to_string();
        commit(&shop, &files).await?;
        let begin = Instant::now();
        post(&hook, &[], "{}").await?;
        let end = in_shop.all_have(&round, options.objects).await?;
        let took_ours = end - begin;
        // Its reports and its database come to rest before the other's turn.
        world.arrived("shop", &shop.head().await?).await?;

        commit(&other, &files).await?;
        let begin = Instant::now();
        let pass = bare.pass("deploy", 1).await?;
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
    let what = format!(
        "{} commits (after {WARM_UP} that do not count) of {} ConfigMaps",
        options.commits, options.objects
    );
    writeln!(stdout, "{}", conditions(&what)?)?;
    writeln!(stdout, "{}", render(&rows))?;
    write!(stdout, "{}", render(&memory_rows))?;
    Ok(())
}
