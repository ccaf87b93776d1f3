//! Joining.

use std::collections::BTreeMap;

use lockstep_proto::v1::kind::Name as Kind;

use crate::status::fixture::*;
use crate::status::{EnrolError, Enrolment};
use crate::store::JoinTokenRow;

fn token(id: &str, cluster: &str) -> JoinTokenRow {
    JoinTokenRow {
        id: id.into(),
        hash: digest("secret"),
        cluster: name(cluster),
        labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
        created_at: 0,
        expires_at: 1_700_000_000_000 + 3_600_000,
        used_at: None,
        used_by: None,
        used_identity: String::new(),
        revoked_at: None,
    }
}

fn enrolment(id: &str, secret: &str, key: &str, identity: &str) -> Enrolment {
    Enrolment {
        token_id: id.into(),
        token_hash: digest(secret),
        key: digest(key),
        identity: identity.into(),
    }
}

#[tokio::test]
async fn a_join_token_works_once_and_the_cluster_gets_its_labels() {
    let world = shop().await;
    let enrol = async |id: &str, secret: &str, key: &str, identity: &str| {
        world
            .fleet
            .enrol(enrolment(id, secret, key, identity))
            .await
    };
    world
        .fleet
        .put_join_token(token("t1", "eu-7"))
        .await
        .unwrap();
    assert!(matches!(
        enrol("t1", "guess", "k1", "i1").await,
        Err(EnrolError::Unknown)
    ));
    assert!(matches!(
        enrol("t9", "secret", "k1", "i1").await,
        Err(EnrolError::Unknown)
    ));
    let first = enrol("t1", "secret", "k1", "i1").await.unwrap();
    assert_eq!(
        (first.cluster.as_str(), first.identity.as_str()),
        ("eu-7", "i1")
    );
    assert_eq!(world.fleet.clusters_of("shop").len(), 3);
    // Its answer was lost: the same key gets the same again, another key does not.
    assert_eq!(enrol("t1", "secret", "k1", "i2").await.unwrap(), first);
    assert!(matches!(
        enrol("t1", "secret", "k2", "i2").await,
        Err(EnrolError::Used)
    ));
    assert_eq!(
        world.reload().await.identity(&name("eu-7")).as_deref(),
        Some("i1")
    );

    // Joining anew fences the former identity.
    world
        .fleet
        .put_join_token(token("t2", "eu-7"))
        .await
        .unwrap();
    world.fleet.dirty_clusters().take().await;
    enrol("t2", "secret", "k3", "i3").await.unwrap();
    assert_eq!(world.fleet.identity(&name("eu-7")).as_deref(), Some("i3"));
    assert_eq!(
        world.fleet.dirty_clusters().take().await,
        [name("eu-7")].into()
    );
    assert!(matches!(
        enrol("t1", "secret", "k1", "i4").await,
        Err(EnrolError::Used)
    ));
}

#[tokio::test]
async fn an_expired_or_revoked_join_token_is_refused() {
    let world = World::new().await;
    world.fleet.put_join_token(token("old", "a")).await.unwrap();
    world.fleet.put_join_token(token("bad", "b")).await.unwrap();
    assert!(world.fleet.revoke_join_token("bad").await.unwrap());
    assert!(!world.fleet.revoke_join_token("none").await.unwrap());
    let bad = world
        .fleet
        .enrol(enrolment("bad", "secret", "k", "i"))
        .await;
    assert!(matches!(bad, Err(EnrolError::Revoked)));
    world.pass(3600);
    let old = world
        .fleet
        .enrol(enrolment("old", "secret", "k", "i"))
        .await;
    assert!(matches!(old, Err(EnrolError::Expired)));
    assert!(world.fleet.get(Kind::Cluster, "a").is_none());
}
