//! Deleting.

use lockstep_proto::v1::{self, kind::Name as Kind, resource::Resource as Any};

use crate::status::fixture::*;
use crate::store::{Change, CredentialRow};

fn of_credential(name: &str) -> v1::Resource {
    let mut resource = repository("shop");
    if let Some(Any::Repository(r)) = &mut resource.resource {
        r.spec.as_mut().unwrap().credential = name.into();
    }
    resource
}

#[tokio::test]
async fn deleting_is_refused_while_somebody_depends_on_it() {
    let world = shop().await;
    let row = CredentialRow {
        name: "git".into(),
        uid: "u".into(),
        kind: v1::credential_spec::Type::Token,
        username: String::new(),
        sealed: vec![1],
        created_at: 1,
    };
    world.fleet.put_credential(row).await.unwrap();
    world.apply([of_credential("git")]).await;
    let mut web = assignment("web", "shop", &["prod"]);
    if let Some(Any::Assignment(web)) = &mut web.resource {
        web.spec.as_mut().unwrap().depends_on = vec![v1::Dependency {
            assignment: "shop".into(),
        }];
    }
    world.apply([web]).await;
    let error = world.fleet.delete(Kind::Assignment, "shop", "admin").await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "Assignment shop is in use by Assignment web: change or delete that first"
    );
    world
        .fleet
        .delete(Kind::Assignment, "web", "admin")
        .await
        .unwrap();
    for (kind, name, expected) in [
        (
            Kind::Credential,
            "git",
            "Credential git is in use by Repository shop: change or delete that first",
        ),
        (
            Kind::Repository,
            "shop",
            "Repository shop is in use by Assignment shop: change or delete that first",
        ),
        (
            Kind::ClusterGroup,
            "prod",
            "ClusterGroup prod is in use by Assignment shop: change or delete that first",
        ),
        (Kind::Cluster, "nope", "there is no Cluster named \"nope\""),
    ] {
        let error = world.fleet.delete(kind, name, "admin").await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    for (kind, name) in [
        (Kind::Assignment, "shop"),
        (Kind::Repository, "shop"),
        (Kind::ClusterGroup, "prod"),
        (Kind::Credential, "git"),
    ] {
        world.fleet.delete(kind, name, "admin").await.unwrap();
        assert!(world.fleet.get(kind, name).is_none());
    }
}

#[tokio::test]
async fn deleting_an_assignment_buries_it_on_every_cluster_that_has_it() {
    let world = shop().await;
    world.set("eu-1", "shop", "x").await;
    world.set("us-9", "shop", "x").await;
    world.fleet.dirty_clusters().take().await;
    let message = world
        .fleet
        .delete(Kind::Assignment, "shop", "admin")
        .await
        .unwrap();
    assert_eq!(
        message,
        "tombstones for 2 clusters: they remove what it applied"
    );
    for fleet in [world.fleet.clone(), world.reload().await] {
        let desired = fleet.desired(&name("eu-1")).unwrap();
        assert_eq!((desired.version, desired.rows.len()), (2, 1));
        assert!(desired.rows[0].tombstone);
        assert!(!fleet.is_assigned(&name("eu-1"), &digest("x")));
    }
    let dirty = world.fleet.dirty_clusters().take().await;
    assert_eq!(dirty, [name("eu-1"), name("us-9")].into());
    let row = &world.cluster("eu-1").assignments[0];
    assert!(row.removing);
    assert_eq!(row.sync(), v1::sync::Status::Applying);

    // A tombstone that a later one took the place of is not forgotten.
    world
        .change("eu-1", "shop", Change::Forget { version: 1 })
        .await;
    assert_eq!(world.cluster("eu-1").assignments.len(), 1);
    world
        .change("eu-1", "shop", Change::Forget { version: 2 })
        .await;
    assert_eq!(world.cluster("eu-1").assignments.len(), 0);
    let desired = world.fleet.desired(&name("eu-1")).unwrap();
    assert_eq!((desired.version, desired.floor), (3, 3));
}

#[tokio::test]
async fn a_deleted_cluster_is_forgotten_and_its_session_cut() {
    let world = shop().await;
    world.set("eu-1", "shop", "x").await;
    world.report("eu-1", well("shop", "x")).await;
    world.fleet.dirty_clusters().take().await;
    world
        .fleet
        .delete(Kind::Cluster, "eu-1", "admin")
        .await
        .unwrap();
    assert_eq!(
        world.fleet.dirty_clusters().take().await,
        [name("eu-1")].into()
    );
    assert_eq!(world.fleet.identity(&name("eu-1")), None);
    // A rollout that was under way does not bring it back.
    world.set("eu-1", "shop", "y").await;
    for fleet in [world.fleet.clone(), world.reload().await] {
        assert_eq!(fleet.desired(&name("eu-1")), None);
        assert_eq!(fleet.desired_rows("shop"), []);
    }
}

#[tokio::test]
async fn a_rollout_that_raced_a_delete_writes_nothing() {
    let world = shop().await;
    world
        .fleet
        .delete(Kind::Assignment, "shop", "admin")
        .await
        .unwrap();
    world.set("eu-1", "shop", "x").await;
    assert_eq!(world.fleet.desired(&name("eu-1")).unwrap().rows, []);
}
