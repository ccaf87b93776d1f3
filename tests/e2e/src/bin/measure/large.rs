//! One Assignment of many objects: applied for the first time, and then one of
//! them changed.

use std::io::Write as _;
use std::time::{Duration, Instant};

use lockstep_e2e::{
    Assignment, Context as _, Flavour, Result, World, group, json, post, repository,
};

use crate::bare::BareLoop;
use crate::changes::Changes;
use crate::content::{commit, files};
use crate::many::converged;
use crate::meter::{conditions, memory, mib, ratio, requests, say, since, words};
use crate::table::{millis, render, spread};

#[derive(Debug, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// First applies, each of a new Assignment into a new namespace
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub async fn run(options: &Options) -> Result<()> {
    let count = options.objects;
    say("starting etcd, kube-apiserver, a Git server, a hub and an agent");
    let mut world = World::start().await?;
    world.join("eu-1", &[("env", "prod")], Flavour::Api).await?;
    let large = world.git.repository("large").await?;
    commit(&large, &files("deploy", "item", count, "0")).await?;
    let declared = [
        repository("large", large.url()).replace("poll: 1s", "poll: 0s"),
        group("prod", "env", "prod"),
    ];
    world.cli()?.apply(&declared.concat()).await?;
    let client = world.cluster("eu-1").client();
    let hook = format!("{}/hooks/generic/large", world.hub.http());

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut changes = None;
    for round in 0..options.rounds {
        let (name, bare_name) = (format!("large-{round}"), format!("bare-{round}"));
        for namespace in [&name, &bare_name] {
            let namespace = json!({"metadata": {"name": namespace}});
            let cluster = world.cluster("eu-1");
            cluster.create("v1 Namespace", "", namespace).await?;
        }
        let mut in_large = Changes::of(client.clone(), &name).await?;
        let mut in_bare = Changes::of(client.clone(), &bare_name).await?;
        let assignment = Assignment {
            repository: "large",
            ..Assignment::new(&name)
        };
        let begin = Instant::now();
        world.cli()?.apply(&assignment.yaml()).await?;
        ours.push(in_large.all_have("0", count).await? - begin);
        converged(&world).await?;

        let bare = BareLoop::new(client.clone(), &bare_name, large.url(), "none").await?;
        let begin = Instant::now();
        bare.pass("deploy", 8).await?;
        theirs.push(in_bare.all_have("0", count).await? - begin);
        say(&format!(
            "round {}: Lockstep {}, bare loop {}",
            round + 1,
            millis(ours[round]),
            millis(theirs[round])
        ));
        changes = Some((name, in_large));
        if round + 1 < options.rounds {
            let before = Instant::now();
            world
                .cli()?
                .run(&["delete", "assignment", &format!("large-{round}")])
                .await?;
            while world.cli()?.run(&["status", "--exit-code"]).await?.code != 0
                && before.elapsed() < Duration::from_secs(120)
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    let (_, mut in_large) = changes.context("there was a round")?;
    converged(&world).await?;
    let before = requests(&mut world, "eu-1").await?;
    commit(&large, &files("deploy", "item", 1, "1")).await?;
    let begin = Instant::now();
    post(&hook, &[], "{}").await?;
    let one = in_large.all_have("1", 1).await? - begin;
    converged(&world).await?;
    let made = since(&before, &requests(&mut world, "eu-1").await?);
    let agent = memory(world.agent("eu-1").process()?)?;

    let spread = |samples: &[Duration]| spread(samples).context("nothing was measured");
    let (ours, theirs) = (spread(&ours)?, spread(&theirs)?);
    let rate = |time: Duration| format!("{:.0}/s", count as f64 / time.as_secs_f64());
    let mut stdout = std::io::stdout().lock();
    let what = format!("{} first applies of {count} ConfigMaps", options.rounds);
    writeln!(stdout, "{}", conditions(&what)?)?;
    let header = ["first applied", "median", "objects"];
    let rows = [
        header.map(str::to_owned).to_vec(),
        vec![
            "Lockstep (from `lockstep apply`)".to_owned(),
            millis(ours.median),
            rate(ours.median),
        ],
        vec![
            "bare loop (git fetch, eight applies at once)".to_owned(),
            millis(theirs.median),
            rate(theirs.median),
        ],
        vec![
            "share of the bare loop's rate".to_owned(),
            ratio(theirs.median, ours.median),
            String::new(),
        ],
    ];
    writeln!(stdout, "{}", render(&rows))?;
    writeln!(
        stdout,
        "one of them changed, from push: {}; API requests: {}",
        millis(one),
        words(&made)
    )?;
    writeln!(
        stdout,
        "memory of the agent: {}, at most {}",
        mib(agent.resident),
        mib(agent.highest)
    )?;
    Ok(())
}
