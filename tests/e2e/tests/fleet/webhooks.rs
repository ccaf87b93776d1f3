//! A push is told to the hub by the forge. Polling is off in these stories:
//! what arrives, the webhook brought.

use std::time::Duration;

use lockstep_e2e::fixtures::{Counts, GitRepository, Patience};
use lockstep_e2e::{
    Assignment, Flavour, Result, World, config_map, ensure, group, post, repository, sign, until,
};

async fn unpolled(secret: Option<&str>) -> Result<(World, GitRepository)> {
    let mut world = World::start().await?;
    world.join("eu-1", &[("env", "prod")], Flavour::Api).await?;
    let shop = world.git.repository("shop").await?;
    let first = shop
        .commit("First", &[("deploy/a.yaml", &config_map("a", "step", "1"))])
        .await?;
    let mut yaml = repository("shop", shop.url()).replace("poll: 1s", "poll: 0s");
    let cli = world.cli()?;
    if let Some(secret) = secret {
        let create = ["credential", "create", "shop-hook", "--token-stdin"];
        cli.run_with_input(&create, secret).await?.ok()?;
        yaml += "  webhookSecret: shop-hook\n";
    }
    let rest = group("prod", "env", "prod") + &Assignment::new("shop").yaml();
    cli.apply(&(yaml + &rest)).await?;
    // A new repository is fetched without being asked to.
    world.arrived("shop", &first).await?;
    Ok((world, shop))
}

/// What was asked of the remote, once nothing more is: a new repository is
/// looked at again when its first Assignment is known.
async fn at_rest(world: &World) -> Counts {
    let mut asked = world.git.counts("shop");
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = world.git.counts("shop");
        if now == asked {
            return now;
        }
        asked = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generic_webhook_brings_the_commit_at_once() -> Result<()> {
    let (world, shop) = unpolled(None).await?;
    let second = shop
        .commit(
            "Second",
            &[("deploy/a.yaml", &config_map("a", "step", "2"))],
        )
        .await?;
    let url = format!("{}/hooks/generic/shop", world.hub.http());
    let (status, body) = post(&url, &[], "{}").await?;
    ensure!(status == 202, "{status} {body}");
    world.arrived("shop", &second).await?;
    world
        .data_becomes("eu-1", ("shop", "a", "step"), Some("2"))
        .await?;

    let unknown = format!("{}/hooks/generic/nobody", world.hub.http());
    let (status, body) = post(&unknown, &[], "{}").await?;
    ensure!((400..500).contains(&status), "{status} {body}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_secret_only_signed_calls_are_taken() -> Result<()> {
    let (world, shop) = unpolled(Some("hook-secret")).await?;
    let asked = at_rest(&world).await;
    let second = shop
        .commit(
            "Second",
            &[("deploy/a.yaml", &config_map("a", "step", "2"))],
        )
        .await?;
    let body = r#"{"ref":"refs/heads/main"}"#;
    let github = format!("{}/hooks/github/shop", world.hub.http());
    let generic = format!("{}/hooks/generic/shop", world.hub.http());
    let forged = sign("guess", body);
    for (url, headers) in [
        (&github, vec![("x-github-event", "push")]),
        (&github, vec![("x-hub-signature-256", forged.as_str())]),
        (&github, vec![("x-hub-signature-256", "sha256=")]),
        (&generic, vec![]),
    ] {
        let (status, said) = post(url, &headers, body).await?;
        ensure!(
            matches!(status, 401 | 403),
            "{url} {headers:?}: {status} {said}"
        );
        ensure!(!said.contains("hook-secret"), "{said}");
    }
    // Refused calls are no reason to ask the remote.
    let now = world.git.counts("shop");
    ensure!(
        now == asked,
        "a refused call fetched: {asked:?}, then {now:?}"
    );

    let right = sign("hook-secret", body);
    let headers = [("x-github-event", "push"), ("x-hub-signature-256", &right)];
    let (status, said) = post(&github, &headers, body).await?;
    ensure!(status == 202, "{status} {said}");
    world.arrived("shop", &second).await?;

    let third = shop
        .commit("Third", &[("deploy/a.yaml", &config_map("a", "step", "3"))])
        .await?;
    let (status, said) = post(&generic, &[("x-lockstep-signature", &right)], body).await?;
    ensure!(status == 202, "{status} {said}");
    world.arrived("shop", &third).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_webhooks_costs_few_fetches() -> Result<()> {
    let (world, shop) = unpolled(None).await?;
    let url = format!("{}/hooks/generic/shop", world.hub.http());
    let before = world.git.counts("shop").refs;
    let last = shop
        .commit("Last", &[("deploy/a.yaml", &config_map("a", "step", "9"))])
        .await?;
    for _ in 0..100 {
        post(&url, &[], "{}").await?;
    }
    world.arrived("shop", &last).await?;
    until("the storm is over", Patience::seconds(30), async || {
        let asked = world.git.counts("shop").refs - before;
        ensure!(asked < 30, "100 calls asked the remote {asked} times");
        Ok(())
    })
    .await
}
