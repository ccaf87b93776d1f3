//! Many Assignments of a few objects each, from one Repository on one
//! cluster: a commit that changes all of them, and one that changes one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use lockstep_e2e::{
    Assignment, Context as _, Flavour, Result, World, ensure, group, json, post, repository,
};

use crate::bare::BareLoop;
use crate::changes::Changes;
use crate::content::{File, commit, files};
use crate::meter::{conditions, memory, mib, ratio, requests, say, since, words};
use crate::table::{millis, render, spread};

#[derive(Debug, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 200)]
    assignments: usize,
    /// ConfigMaps of each
    #[arg(long, default_value_t = 5)]
    objects: usize,
    /// Commits that change everything
    #[arg(long, default_value_t = 5)]
    whole: usize,
    /// Commits that change one Assignment
    #[arg(long, default_value_t = 20)]
    single: usize,
}

pub async fn run(options: &Options) -> Result<()> {
    let total = options.assignments * options.objects;
    let all = |round: &str| -> Vec<File> {
        let each = |n| files(&folder(n), &format!("item-{n}"), options.objects, round);
        (0..options.assignments).flat_map(each).collect()
    };
    say("starting etcd, kube-apiserver, a Git server, a hub and an agent");
    let mut world = World::start().await?;
    world.join("eu-1", &[("env", "prod")], Flavour::Api).await?;
    let many = world.git.repository("many").await?;
    let other = world.git.repository("bare").await?;
    commit(&many, &all("0")).await?;
    commit(&other, &all("0")).await?;
    world.cli()?.apply(&declared(options, many.url())).await?;
    let cluster = world.cluster("eu-1");
    let client = cluster.client();
    let namespace = json!({"metadata": {"name": "bare"}});
    cluster.create("v1 Namespace", "", namespace).await?;
    let mut in_many = Changes::of(client.clone(), "many").await?;
    let mut in_bare = Changes::of(client.clone(), "bare").await?;
    in_many.all_have("0", total).await?;
    say(&format!(
        "{total} objects of {} assignments are applied",
        options.assignments
    ));
    let bare = BareLoop::new(client, "bare", other.url(), "apps").await?;
    let hook = format!("{}/hooks/generic/many", world.hub.http());

    let (mut ours, mut theirs, mut wide) = (Vec::new(), Vec::new(), Vec::new());
    for step in 1..=options.whole {
        converged(&world).await?;
        let (round, again) = (format!("all-{step}"), format!("again-{step}"));
        commit(&many, &all(&round)).await?;
        let begin = Instant::now();
        post(&hook, &[], "{}").await?;
        ours.push(in_many.all_have(&round, total).await? - begin);
        converged(&world).await?;
        commit(&other, &all(&round)).await?;
        let begin = Instant::now();
        bare.pass("apps", 1).await?;
        theirs.push(in_bare.all_have(&round, total).await? - begin);
        commit(&other, &all(&again)).await?;
        let begin = Instant::now();
        bare.pass("apps", 8).await?;
        wide.push(in_bare.all_have(&again, total).await? - begin);
        say(&format!("all of them: {}", millis(ours[step - 1])));
    }

    let (mut one, mut asked) = (Vec::new(), Vec::new());
    let (mut ten, mut applies) = (Vec::new(), Vec::new());
    for step in 1..=options.single {
        converged(&world).await?;
        let round = format!("one-{step}");
        let n = step % options.assignments;
        let changed = files(&folder(n), &format!("item-{n}"), options.objects, &round);
        commit(&many, &changed).await?;
        let before = requests(&mut world, "eu-1").await?;
        let begin = Instant::now();
        post(&hook, &[], "{}").await?;
        one.push(in_many.all_have(&round, options.objects).await? - begin);
        converged(&world).await?;
        let after = requests(&mut world, "eu-1").await?;
        let made = since(&before, &after);
        applies.push(made.get("apply").copied().unwrap_or(0));
        asked.push(words(&made));
        commit(&other, &changed).await?;
        let begin = Instant::now();
        bare.pass(&folder(n), 1).await?;
        ten.push(in_bare.all_have(&round, options.objects).await? - begin);
    }
    let agent = memory(world.agent("eu-1").process()?)?;
    let hub = memory(world.hub.process()?)?;

    let mut stdout = std::io::stdout().lock();
    let what = format!(
        "{} assignments of {} ConfigMaps; {} commits to all, {} to one",
        options.assignments, options.objects, options.whole, options.single
    );
    writeln!(stdout, "{}", conditions(&what)?)?;
    let spread = |samples: &[Duration]| spread(samples).context("no commit was measured");
    let (ours, theirs, wide) = (spread(&ours)?, spread(&theirs)?, spread(&wide)?);
    let (one, ten) = (spread(&one)?, spread(&ten)?);
    let row = |name: &str, ours: Duration, theirs: Duration| {
        vec![
            name.to_owned(),
            millis(ours),
            millis(theirs),
            ratio(ours, theirs),
        ]
    };
    let header = [
        "from push to the last object changed",
        "Lockstep",
        "bare loop",
        "ratio",
    ];
    let rows = [
        header.map(str::to_owned).to_vec(),
        row(&format!("all {total}, median"), ours.median, theirs.median),
        row("  beside eight applies at once", ours.median, wide.median),
        row(
            &format!("{} of one, median", options.objects),
            one.median,
            ten.median,
        ),
        row("  p90", one.p90, ten.p90),
    ];
    writeln!(stdout, "{}", render(&rows))?;
    applies.sort_unstable();
    writeln!(
        stdout,
        "API requests for a commit to one: {} apply requests (most of any commit: {}); \
         all requests of the last: {}",
        applies[applies.len() / 2],
        applies.last().copied().unwrap_or(0),
        asked.last().map_or("", String::as_str),
    )?;
    writeln!(
        stdout,
        "memory after that: hub {}, agent {}",
        mib(hub.resident),
        mib(agent.resident)
    )?;
    Ok(())
}

fn folder(n: usize) -> String {
    format!("apps/{n:03}")
}

fn declared(options: &Options, url: &str) -> String {
    let mut yaml = repository("many", url).replace("poll: 1s", "poll: 0s");
    yaml.push_str(&group("prod", "env", "prod"));
    for n in 0..options.assignments {
        let (name, path) = (format!("app-{n:03}"), folder(n));
        let assignment = Assignment {
            repository: "many",
            path: &path,
            namespace: "many",
            ..Assignment::new(&name)
        };
        let _ = write!(yaml, "{}", assignment.yaml());
    }
    yaml
}

/// Reports and database have come to rest.
pub async fn converged(world: &World) -> Result<()> {
    let begin = Instant::now();
    loop {
        let output = world.cli()?.run(&["status", "--exit-code"]).await?;
        if output.code == 0 {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < Duration::from_secs(120),
            "it did not converge within two minutes:\n{}",
            output.stdout
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
