//! Join tokens: single use, expiring, revocable, bound to a name and a hub.

use std::time::Duration;

use lockstep_e2e::fixtures::{Agent, AgentOptions, Hub};
use lockstep_e2e::{Caller, ClusterUnderTest, EnrolledAgent, Flavour, Result, World, ensure, json};

fn options(hub: &Hub, cluster: &ClusterUnderTest, token: &str) -> AgentOptions {
    AgentOptions {
        name: "second".to_owned(),
        hub: hub.endpoint(),
        kubeconfig: cluster.kubeconfig().to_owned(),
        join_token: Some(token.to_owned()),
        arguments: Vec::new(),
        environment: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_works_once_and_the_second_agent_is_told_so() -> Result<()> {
    let world = World::start().await?;
    let cluster = ClusterUnderTest::start("eu-1", Flavour::Api).await?;
    let cli = world.cli()?;
    let token = cli.join_token("eu-1", &[("env", "prod")]).await?;
    ensure!(
        !token.contains(char::is_whitespace),
        "the token alone: {token:?}"
    );

    let mut first = Agent::start(options(&world.hub, &cluster, &token)).await?;
    lockstep_e2e::until("the first is in", lockstep_e2e::SOON, async || {
        let resource = cli.get("cluster", "eu-1").await?;
        ensure!(resource["status"]["connection"] == "Online", "{resource}");
        ensure!(
            resource["metadata"]["labels"] == json!({"env": "prod"}),
            "{resource}"
        );
        Ok(())
    })
    .await?;

    let mut second = Agent::start(options(&world.hub, &cluster, &token)).await?;
    let status = second.process()?.ended(Duration::from_secs(30)).await?;
    ensure!(!status.success(), "{status}");
    let said = second.process()?.output()?;
    ensure!(said.contains("used"), "{said}");
    // The first goes on, also over a restart without the token.
    first.process()?.check()?;
    first.restart()?;
    lockstep_e2e::until("the first is back", lockstep_e2e::SOON, async || {
        first.process()?.check()?;
        let resource = cli.get("cluster", "eu-1").await?;
        ensure!(resource["status"]["connection"] == "Online", "{resource}");
        Ok(())
    })
    .await?;
    let list = cli.run(&["token", "list"]).await?.ok()?;
    ensure!(list.contains("used") && !list.contains(&token), "{list}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_revoked_and_invented_tokens_are_refused() -> Result<()> {
    let world = World::start().await?;
    let caller = Caller::admin(&world.hub)?;
    let cli = world.cli()?;

    let create = ["token", "create", "--cluster", "late", "--ttl", "1s"];
    let late = cli.run(&create).await?.ok()?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let refused = EnrolledAgent::enrol_with(&caller, late.trim()).await;
    let said = format!("{:#}", refused.expect_err("it is too late"));
    ensure!(said.contains("expired"), "{said}");

    let revoked = cli.join_token("gone", &[]).await?;
    let list = cli.json(&["token", "list"]).await?;
    let tokens = list["items"].as_array().expect("a list");
    let id = tokens
        .iter()
        .find(|token| token["spec"]["cluster"] == "gone")
        .and_then(|token| token["metadata"]["name"].as_str())
        .expect("the token is listed");
    cli.run(&["token", "revoke", id]).await?.ok()?;
    let refused = EnrolledAgent::enrol_with(&caller, &revoked).await;
    let said = format!("{:#}", refused.expect_err("it is revoked"));
    ensure!(said.contains("revoked"), "{said}");

    let good = cli.join_token("real", &[]).await?;
    let mut altered: Vec<&str> = good.split('.').collect();
    altered[2] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for invented in [
        altered.join("."),
        "lsj1.x.y.z".to_owned(),
        "nonsense".to_owned(),
    ] {
        let refused = EnrolledAgent::enrol_with(&caller, &invented).await;
        refused.expect_err("nobody made this token");
    }
    // Guessing did not use it up.
    let enrolled = EnrolledAgent::enrol_with(&caller, &good).await?;
    ensure!(enrolled.cluster == "real");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_shows_its_token_to_no_other_hub() -> Result<()> {
    let ours = World::start().await?;
    let other = Hub::start().await?;
    let cluster = ClusterUnderTest::start("eu-1", Flavour::Api).await?;
    let cli = ours.cli()?;
    let token = cli.join_token("eu-1", &[]).await?;
    // The other hub has another CA: the pin in the token does not match.
    let mut agent = Agent::start(options(&other, &cluster, &token)).await?;
    // It may give up or go on trying; it must not be taken in.
    tokio::time::sleep(Duration::from_secs(3)).await;
    agent.kill();
    ensure!(
        other.cli()?.get("cluster", "eu-1").await.is_err(),
        "it joined the other hub"
    );
    let caller = Caller::admin(&ours.hub)?;
    EnrolledAgent::enrol_with(&caller, &token).await?;
    Ok(())
}
