use lockstep_proto::v1::agent_service_client::AgentServiceClient;
use lockstep_proto::{Digest, v1};
use tonic::{Code, Request};

use super::world::{identity, request, world};
use crate::store::Change;

#[tokio::test]
async fn a_cluster_gets_what_it_is_assigned_and_only_what_it_lacks() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let old = world.bundle(&[("a", "1"), ("b", "1")]).await;
    let new = world.bundle(&[("a", "1"), ("b", "2"), ("c", "1")]).await;
    world.assign("eu-1", "shop", new).await;
    let me = identity("eu-1");
    let sizes = |entries: Vec<v1::BundleEntry>| -> Vec<bool> {
        entries.iter().map(|entry| !entry.json.is_empty()).collect()
    };
    let whole = world.fetch(&me, &new.to_string(), "").await.unwrap();
    assert!(
        whole
            .iter()
            .all(|entry| Digest::of(&entry.json).0[..] == entry.sha256[..])
    );
    assert_eq!(sizes(whole), [true, true, true]);
    let part = world
        .fetch(&me, &new.to_string(), &old.to_string())
        .await
        .unwrap();
    assert_eq!(sizes(part), [false, true, true]);
    let unknown = Digest::of(b"nobody has this").to_string();
    let part = world.fetch(&me, &new.to_string(), &unknown).await.unwrap();
    assert_eq!(sizes(part), [true, true, true]);
}

#[tokio::test]
async fn nobody_learns_of_what_others_are_assigned() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    world.join("us-1", &["shop"]).await;
    let mine = world.bundle(&[("a", "1")]).await;
    let theirs = world.bundle(&[("a", "2")]).await;
    world.assign("eu-1", "shop", mine).await;
    world.assign("us-1", "shop", theirs).await;
    let ask = async |digest: Digest| {
        let status = world
            .fetch(&identity("eu-1"), &digest.to_string(), "")
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        status.message().replace(&digest.to_string(), "DIGEST")
    };
    let exists = ask(theirs).await;
    assert_eq!(exists, ask(Digest::of(b"no such bundle")).await);
    world
        .fetch(&identity("us-1"), &theirs.to_string(), "")
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_cluster_had_is_not_given_any_more() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let (old, new) = (
        world.bundle(&[("a", "1")]).await,
        world.bundle(&[("a", "2")]).await,
    );
    let me = identity("eu-1");
    world.assign("eu-1", "shop", old).await;
    world.assign("eu-1", "shop", new).await;
    let status = world.fetch(&me, &old.to_string(), "").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    world.change("eu-1", "shop", Change::Tombstone).await;
    let status = world.fetch(&me, &new.to_string(), "").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn without_the_clusters_certificate_there_is_nothing() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "shop", digest).await;
    let fetch = v1::FetchBundleRequest {
        digest: digest.to_string(),
        have_digest: String::new(),
    };
    let mut client = AgentServiceClient::new(world.channel.clone());
    let anonymous = client.fetch_bundle(Request::new(fetch.clone())).await;
    assert_eq!(anonymous.unwrap_err().code(), Code::Unauthenticated);
    let mut former = identity("eu-1");
    former.identity = "former".into();
    let former = client.fetch_bundle(request(&former, fetch)).await;
    assert_eq!(former.unwrap_err().code(), Code::Unauthenticated);
    let stranger = identity("never-joined");
    let renewal =
        client.renew_certificate(request(&stranger, v1::RenewCertificateRequest::default()));
    assert_eq!(renewal.await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn what_is_no_digest_and_no_signing_request_is_said_to_be_none() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let me = identity("eu-1");
    let status = world.fetch(&me, "latest", "").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut client = AgentServiceClient::new(world.channel.clone());
    let renewal = v1::RenewCertificateRequest { csr: vec![0; 100] };
    let status = client
        .renew_certificate(request(&me, renewal))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_assigned_bundle_that_is_gone_is_looked_at_again() {
    let world = world().await;
    world.join("eu-1", &["shop", "other"]).await;
    let gone = Digest::of(b"collected");
    world.assign("eu-1", "shop", gone).await;
    world.fleet.dirty_assignments().take().await;
    let status = world
        .fetch(&identity("eu-1"), &gone.to_string(), "")
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let dirty = world.fleet.dirty_assignments().take().await;
    assert_eq!(dirty.into_iter().collect::<Vec<_>>(), ["shop"]);
}
