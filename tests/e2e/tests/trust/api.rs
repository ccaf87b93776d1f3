//! The API for people: a token, or nothing but health and reflection.

use lockstep_e2e::fixtures::HubOptions;
use lockstep_e2e::{Caller, Context, Result, World, ensure, fleet_client};
use lockstep_proto::v1::{DeleteRequest, ListRequest, kind};
use tonic::Code;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

fn clusters() -> ListRequest {
    ListRequest {
        kind: kind::Name::Cluster.into(),
        ..ListRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_need_a_token_and_the_administrator_has_one() -> Result<()> {
    let world = World::start().await?;
    let caller = Caller::admin(&world.hub)?;
    for token in [None, Some(""), Some("guess"), Some(&caller.token[1..])] {
        let mut client = fleet_client(&caller, token).await?;
        let refused = client.list(clusters()).await.expect_err("no token");
        ensure!(
            refused.code() == Code::Unauthenticated,
            "{token:?}: {refused}"
        );
        ensure!(!refused.message().contains(&caller.token[1..]), "{refused}");
        let deletion = DeleteRequest {
            kind: kind::Name::Cluster.into(),
            name: "x".to_owned(),
        };
        let refused = client.delete(deletion).await.expect_err("no token");
        ensure!(
            refused.code() == Code::Unauthenticated,
            "{token:?}: {refused}"
        );
    }
    let mut client = fleet_client(&caller, Some(&caller.token)).await?;
    client.list(clusters()).await?;

    let mode = std::fs::metadata(world.hub.admin_config())?.permissions();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777;
    ensure!(mode == 0o600, "admin.yaml has mode {mode:o}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_certificate_is_no_administrators_token() -> Result<()> {
    let world = World::start().await?;
    let caller = Caller::admin(&world.hub)?;
    let agent = lockstep_e2e::EnrolledAgent::enrol(&caller, &world.cli()?, "eu-1").await?;
    let channel = caller.connect_as(&agent.identity).await?;
    let mut client = lockstep_proto::v1::fleet_service_client::FleetServiceClient::new(channel);
    let refused = client
        .list(clusters())
        .await
        .expect_err("an agent is no administrator");
    ensure!(refused.code() == Code::Unauthenticated, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer_as_grpcurl_asks() -> Result<()> {
    let world = World::start().await?;
    let caller = Caller::admin(&world.hub)?;
    let channel = caller.connect().await?;

    let mut health = HealthClient::new(channel.clone());
    for service in ["", "lockstep.v1.FleetService", "lockstep.v1.AgentService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await;
        let answer = answer
            .with_context(|| format!("health of {service:?}"))?
            .into_inner();
        ensure!(
            answer.status() == ServingStatus::Serving,
            "{service:?}: {answer:?}"
        );
    }

    let mut reflection = ServerReflectionClient::new(channel);
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "lockstep.v1.FleetService".to_owned(),
        )),
    ];
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter(questions))
        .await?
        .into_inner();
    let mut services = Vec::new();
    let mut files = 0;
    while let Some(answer) = answers.message().await? {
        match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                services = list.service.into_iter().map(|s| s.name).collect();
            }
            Some(MessageResponse::FileDescriptorResponse(found)) => {
                files = found.file_descriptor_proto.len();
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    for name in [
        "lockstep.v1.FleetService",
        "lockstep.v1.AgentService",
        "lockstep.v1.EnrolmentService",
        "grpc.health.v1.Health",
    ] {
        ensure!(
            services.iter().any(|s| s == name),
            "no {name} in {services:?}"
        );
    }
    ensure!(files > 0, "no descriptor");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_ca_the_token_and_the_certificate() -> Result<()> {
    let mut world = World::start_with(HubOptions::default(), Default::default()).await?;
    let before = Caller::admin(&world.hub)?;
    let agent = lockstep_e2e::EnrolledAgent::enrol(&before, &world.cli()?, "eu-1").await?;
    let status = world.hub.terminate().await?;
    ensure!(status.success(), "SIGTERM ends it well: {status}");
    world.hub.restart().await?;
    let after = Caller::admin(&world.hub)?;
    ensure!(
        before.ca == after.ca && before.token == after.token,
        "admin.yaml changed"
    );
    let mut client = fleet_client(&before, Some(&before.token)).await?;
    client.list(clusters()).await?;
    before.connect_as(&agent.identity).await?;
    Ok(())
}
