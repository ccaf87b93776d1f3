//! An agent with nothing to do: the memory that it holds, and what an idle
//! minute costs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use lockstep_e2e::{Assignment, Context as _, Flavour, Result, World, group, repository};

use crate::changes::Changes;
use crate::content::{File, commit, files};
use crate::many::converged;
use crate::meter::{conditions, memory, mib, processor, requests, say, since, words};
use crate::table::{millis, render};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Assignments and objects of each: 200x5
    #[arg(long, value_delimiter = ',', default_values = ["100x5", "200x5", "1x5000"])]
    fleets: Vec<String>,
    /// Seconds from the last apply to the look at memory
    #[arg(long, default_value_t = 20)]
    settle: u64,
    /// Seconds of idling
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

pub async fn run(options: &Options) -> Result<()> {
    let header = [
        "objects",
        "resident",
        "highest",
        "after a restart",
        "idle: requests",
        "processor",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for fleet in &options.fleets {
        rows.push(one(options, fleet).await?);
    }
    let mut stdout = std::io::stdout().lock();
    let what = format!(
        "an agent's memory {} s after the last apply, and {} s of idling",
        options.settle, options.idle
    );
    writeln!(stdout, "{}", conditions(&what)?)?;
    write!(stdout, "{}", render(&rows))?;
    Ok(())
}

async fn one(options: &Options, fleet: &str) -> Result<Vec<String>> {
    let wrong = || format!("{fleet:?}: write ASSIGNMENTSxOBJECTS, as 200x5");
    let (assignments, objects) = fleet.split_once('x').with_context(wrong)?;
    let assignments: usize = assignments.parse().with_context(wrong)?;
    let objects: usize = objects.parse().with_context(wrong)?;
    say(&format!(
        "{fleet}: starting etcd, kube-apiserver, a Git server, a hub and an agent"
    ));
    let mut world = World::start().await?;
    world.join("eu-1", &[("env", "prod")], Flavour::Api).await?;
    let git = world.git.repository("idle").await?;
    let folder = |n: usize| format!("apps/{n:03}");
    let content: Vec<File> = (0..assignments)
        .flat_map(|n| files(&folder(n), &format!("item-{n}"), objects, "0"))
        .collect();
    commit(&git, &content).await?;
    let mut yaml = repository("idle", git.url()).replace("poll: 1s", "poll: 0s");
    yaml.push_str(&group("prod", "env", "prod"));
    for n in 0..assignments {
        let (name, path) = (format!("app-{n:03}"), folder(n));
        let assignment = Assignment {
            repository: "idle",
            path: &path,
            namespace: "idle",
            ..Assignment::new(&name)
        };
        let _ = write!(yaml, "{}", assignment.yaml());
    }
    world.cli()?.apply(&yaml).await?;
    let client = world.cluster("eu-1").client();
    let mut changes = Changes::of(client, "idle").await?;
    changes.all_have("0", assignments * objects).await?;
    converged(&world).await?;
    let settle = Duration::from_secs(options.settle);
    tokio::time::sleep(settle).await;
    let first = memory(world.agent("eu-1").process()?)?;

    let before = requests(&mut world, "eu-1").await?;
    let ran = processor(world.agent("eu-1").process()?)?;
    tokio::time::sleep(Duration::from_secs(options.idle)).await;
    let ran = processor(world.agent("eu-1").process()?)?.saturating_sub(ran);
    let made = since(&before, &requests(&mut world, "eu-1").await?);

    world.agent("eu-1").restart()?;
    converged(&world).await?;
    tokio::time::sleep(settle).await;
    let again = memory(world.agent("eu-1").process()?)?;
    say(&format!("{fleet}: {}", mib(first.resident)));
    Ok(vec![
        format!("{} in {assignments}", assignments * objects),
        mib(first.resident),
        mib(first.highest),
        mib(again.resident),
        words(&made),
        millis(ran),
    ])
}
