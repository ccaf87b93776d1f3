//! Hands out Bundles: to a cluster that is assigned one now, and to nobody else.

use std::sync::Arc;

use futures::{Stream, stream};
use lockstep_proto::{Digest, v1};
use tonic::Status;

use super::pack::{Pack, PackError};
use super::{Shared, peer};
use crate::transport::PeerIdentity;

use v1::fetch_bundle_response::Part;

/// The answer to `request` of `peer`.
///
/// # Errors
/// `PermissionDenied` for whatever the cluster is not assigned now, whether or
/// not it exists.
pub async fn fetch(
    hub: Arc<Shared>,
    peer: PeerIdentity,
    request: &v1::FetchBundleRequest,
) -> Result<impl Stream<Item = Result<v1::FetchBundleResponse, Status>> + Send + 'static, Status> {
    let digest = parsed(&request.digest)?;
    let have = match request.have_digest.as_str() {
        "" => None,
        text => Some(parsed(text)?),
    };
    let may =
        hub.view.is_assigned(&peer.cluster, digest) || hub.plans.allows(&peer.cluster, digest);
    if !may {
        return Err(Status::permission_denied(format!(
            "bundle {digest} is not assigned to cluster {} now",
            peer.cluster
        )));
    }
    let pack = hub.packs.get(digest, have).await.map_err(|error| {
        if let PackError::Missing(_) = error {
            // Has it rendered again, should it have been collected.
            hub.view.misses(&peer.cluster, digest);
        }
        failed(&peer, &error)
    })?;
    let header = v1::FetchBundleResponse {
        part: Some(Part::Header(v1::BundleHeader {
            digest: digest.to_string(),
            objects: pack.objects,
            bytes: pack.bytes,
        })),
    };
    let first = stream::once(std::future::ready(Ok(header)));
    Ok(futures::StreamExt::chain(first, chunks(hub, peer, pack)))
}

fn chunks(
    hub: Arc<Shared>,
    peer: PeerIdentity,
    pack: Arc<Pack>,
) -> impl Stream<Item = Result<v1::FetchBundleResponse, Status>> + Send + 'static {
    stream::unfold(Some(0_u64), move |offset| {
        let (hub, peer, pack) = (Arc::clone(&hub), peer.clone(), Arc::clone(&pack));
        async move {
            let offset = offset?;
            if !hub.view.is_current(&peer) {
                return Some((Err(peer::refused()), None));
            }
            match hub.packs.chunk(&pack, offset).await {
                Ok(chunk) if chunk.is_empty() => {
                    hub.metrics.bundle_sent(pack.len);
                    None
                }
                Ok(chunk) => {
                    let next = offset + chunk.len() as u64;
                    let part = Some(Part::Chunk(chunk));
                    Some((Ok(v1::FetchBundleResponse { part }), Some(next)))
                }
                Err(error) => Some((Err(failed(&peer, &error.into())), None)),
            }
        }
    })
}

fn parsed(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error: lockstep_proto::NameError| Status::invalid_argument(error.to_string()))
}

fn failed(peer: &PeerIdentity, error: &PackError) -> Status {
    tracing::error!(cluster = %peer.cluster, %error, "cannot send a bundle");
    Status::unavailable("the hub cannot read the bundle at the moment: try again")
}
