//! The agents' API: everything is bound to the certificate of the caller.

use lockstep_e2e::fixtures::Authority;
use lockstep_e2e::{
    Assignment, Caller, EnrolledAgent, Flavour, Result, SOON, World, config_map, ensure, group,
    until,
};
use lockstep_proto::v1::agent_service_client::AgentServiceClient;
use lockstep_proto::v1::{AgentMessage, FetchBundleRequest, Hello, agent_message, hub_message};
use tonic::Code;
use tonic::transport::Channel;

async fn fetch(channel: Channel, digest: &str) -> Result<usize, tonic::Status> {
    let mut client = AgentServiceClient::new(channel);
    let request = FetchBundleRequest {
        digest: digest.to_owned(),
        have_digest: String::new(),
    };
    let mut parts = client.fetch_bundle(request).await?.into_inner();
    let mut count = 0;
    while let Some(_part) = parts.message().await? {
        count += 1;
    }
    Ok(count)
}

async fn hello(channel: Channel) -> Result<Option<hub_message::Message>, tonic::Status> {
    let mut client = AgentServiceClient::new(channel);
    let hello = AgentMessage {
        message: Some(agent_message::Message::Hello(Hello {
            agent_version: "0.0.0-test".to_owned(),
            ..Hello::default()
        })),
    };
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let _ = sender.send(hello).await;
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut answers = client.session(messages).await?.into_inner();
    Ok(answers.message().await?.and_then(|answer| answer.message))
}

fn is_refusal(code: Code) -> bool {
    matches!(code, Code::PermissionDenied | Code::Unauthenticated)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_the_bundles_that_are_assigned_to_it_and_no_other() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    let caller = Caller::admin(&world.hub)?;
    shop.commit(
        "For the lab",
        &[("lab/x.yaml", &config_map("x", "k", "secret"))],
    )
    .await?;
    let lab = Assignment {
        repository: "shop",
        path: "lab",
        groups: &["lab"],
        ..Assignment::new("lab")
    };
    cli.apply(&(group("lab", "env", "lab") + &lab.yaml()))
        .await?;

    let spy = EnrolledAgent::enrol(&caller, &cli, "lab-1").await?;
    cli.run(&["label", "cluster", "lab-1", "env=lab"])
        .await?
        .ok()?;
    let channel = caller.connect_as(&spy.identity).await?;
    let digest_of = async |assignment: &str| {
        until("rendered", SOON, async || {
            let resource = cli.get("assignment", assignment).await?;
            let digest = resource["status"]["digest"].as_str().unwrap_or_default();
            ensure!(digest.starts_with("sha256:"), "{resource}");
            Ok(digest.to_owned())
        })
        .await
    };
    let (of_shop, of_lab) = (digest_of("shop").await?, digest_of("lab").await?);
    until("its own is given", SOON, async || {
        let parts = fetch(channel.clone(), &of_lab).await?;
        ensure!(parts >= 2, "{parts} parts");
        Ok(())
    })
    .await?;
    let refused = fetch(channel.clone(), &of_shop)
        .await
        .expect_err("it is another's");
    ensure!(
        matches!(refused.code(), Code::PermissionDenied | Code::NotFound),
        "{refused}"
    );
    let nonsense = fetch(channel.clone(), "sha256:00")
        .await
        .expect_err("no digest");
    ensure!(nonsense.code() != Code::Internal, "{nonsense}");

    // Out of the group: no longer its own.
    cli.run(&["label", "cluster", "lab-1", "env-"])
        .await?
        .ok()?;
    until("no longer given", SOON, async || {
        ensure!(
            fetch(channel.clone(), &of_lab).await.is_err(),
            "it is still given"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_certificate_or_none_opens_nothing() -> Result<()> {
    let world = World::start().await?;
    let caller = Caller::admin(&world.hub)?;
    let cli = world.cli()?;
    let real = EnrolledAgent::enrol(&caller, &cli, "eu-1").await?;
    hello(caller.connect_as(&real.identity).await?).await?;

    // The same SAN, from a CA of our own.
    let authority = Authority::new("lockstep")?;
    for uri in [
        "spiffe://lockstep/cluster/eu-1",
        "spiffe://lockstep.dev/cluster/eu-1",
    ] {
        let forged = authority.client(uri)?;
        // TLS 1.3: the refusal may come with the first call.
        if let Ok(channel) = caller.connect_as(&forged).await {
            let refused = hello(channel.clone())
                .await
                .expect_err("a forged certificate");
            ensure!(
                !matches!(refused.code(), Code::Ok | Code::Internal),
                "{refused}"
            );
            fetch(channel, &format!("sha256:{}", "0".repeat(64)))
                .await
                .expect_err("a forged certificate");
        }
    }
    let anonymous = caller.connect().await?;
    let refused = hello(anonymous.clone()).await.expect_err("no certificate");
    ensure!(is_refusal(refused.code()), "{refused}");
    let refused = fetch(anonymous, &format!("sha256:{}", "0".repeat(64))).await;
    ensure!(is_refusal(refused.expect_err("no certificate").code()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_cluster_and_a_replaced_agent_lose_their_certificates() -> Result<()> {
    let world = World::start().await?;
    let caller = Caller::admin(&world.hub)?;
    let cli = world.cli()?;
    let first = EnrolledAgent::enrol(&caller, &cli, "eu-1").await?;
    let old = caller.connect_as(&first.identity).await?;
    hello(old.clone()).await?;
    // The cluster was rebuilt: a new token, a new identity.
    let second = EnrolledAgent::enrol(&caller, &cli, "eu-1").await?;
    hello(caller.connect_as(&second.identity).await?).await?;
    until("the old identity is refused", SOON, async || {
        let refused = hello(old.clone()).await;
        ensure!(
            refused.is_err_and(|s| is_refusal(s.code())),
            "it is still let in"
        );
        Ok(())
    })
    .await?;

    cli.run(&["delete", "cluster", "eu-1"]).await?.ok()?;
    let refused = hello(caller.connect_as(&second.identity).await?).await;
    let refused = refused.expect_err("its cluster is deleted");
    ensure!(is_refusal(refused.code()), "{refused}");
    // And it does not come back by itself.
    ensure!(
        cli.get("cluster", "eu-1").await.is_err(),
        "the cluster is back"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_cluster_keeps_its_objects() -> Result<()> {
    let (mut world, _shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    let before = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    cli.run(&["delete", "cluster", "eu-1"]).await?.ok()?;
    // Its agent is told why, in its log.
    world
        .agent("eu-1")
        .process()?
        .line("token create", std::time::Duration::from_secs(60))
        .await?;
    let after = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    ensure!(before == after, "{before:?} {after:?}");
    Ok(())
}
