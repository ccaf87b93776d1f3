//! What every gRPC server says of itself: whether it serves, and what.

use lockstep_proto::v1;
use tonic::service::Routes;

/// Open to everyone, so small: a name of a service or a symbol.
const MESSAGE_LIMIT: usize = 4 * 1024;

/// Adds `grpc.health.v1` and reflection to `routes`.
pub(super) async fn add(routes: Routes) -> anyhow::Result<Routes> {
    let (health, health_service) = tonic_health::server::health_reporter();
    // The empty name stands for the whole server, and is serving from the start.
    for service in ["EnrolmentService", "AgentService", "FleetService"] {
        let name = format!("lockstep.v1.{service}");
        let status = tonic_health::ServingStatus::Serving;
        health.set_service_status(name, status).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // grpcurl asks for v1 since 1.8.9, and for v1alpha before.
    let (now, before) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    Ok(routes
        .add_service(health_service.max_decoding_message_size(MESSAGE_LIMIT))
        .add_service(now.max_decoding_message_size(MESSAGE_LIMIT))
        .add_service(before.max_decoding_message_size(MESSAGE_LIMIT)))
}
