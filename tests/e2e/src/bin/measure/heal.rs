//! An object deleted by hand: how long until it is back.

use std::io::Write as _;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use lockstep_e2e::{Context as _, Flavour, Result, World, bail};

use crate::content::{commit, files};
use crate::meter::{conditions, say};
use crate::table::{millis, render, spread};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Deletions
    #[arg(long, default_value_t = 50)]
    rounds: usize,
}

pub async fn run(options: &Options) -> Result<()> {
    say("starting etcd, kube-apiserver, a Git server, a hub and an agent");
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    // Each object is deleted once: more often would be a fight, and be slowed down.
    commit(&shop, &files("deploy", "item", options.rounds, "0")).await?;
    world.arrived("shop", &shop.head().await?).await?;
    let client = world.cluster("eu-1").client();
    let api: Api<ConfigMap> = Api::namespaced(client, "shop");
    let mut times = Vec::new();
    for n in 0..options.rounds {
        let name = format!("item-{n}");
        let version = api.get(&name).await?.metadata.resource_version;
        let version = version.context("a version")?;
        let field = format!("metadata.name={name}");
        let watch = WatchParams::default().fields(&field).timeout(60);
        let mut events = api.watch(&watch, &version).await?.boxed();
        let begin = Instant::now();
        world
            .cluster("eu-1")
            .delete("v1 ConfigMap", "shop", &name)
            .await?;
        loop {
            match events.try_next().await? {
                Some(WatchEvent::Added(_)) => break,
                Some(_) => {}
                None => bail!("it was not back within a minute"),
            }
        }
        times.push(begin.elapsed());
    }
    let spread = spread(&times).context("nothing was measured")?;
    let mut stdout = std::io::stdout().lock();
    let what = format!("{} deletions", options.rounds);
    writeln!(stdout, "{}", conditions(&what)?)?;
    let header = [
        "from the deletion to the object being back",
        "median",
        "p90",
    ];
    let rows = [
        header.map(str::to_owned).to_vec(),
        vec![
            "Lockstep".to_owned(),
            millis(spread.median),
            millis(spread.p90),
        ],
    ];
    write!(stdout, "{}", render(&rows))?;
    Ok(())
}
