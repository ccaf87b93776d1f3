//! Applying and labelling.

use std::collections::BTreeMap;

use lockstep_proto::v1::{
    self, apply_result::Action, kind::Name as Kind, resource::Resource as Any,
};

use crate::status::ApplyError;
use crate::status::fixture::*;

fn edit_assignment(edit: impl FnOnce(&mut v1::AssignmentSpec)) -> v1::Resource {
    let mut resource = assignment("shop", "shop", &["prod"]);
    if let Some(Any::Assignment(a)) = &mut resource.resource {
        edit(a.spec.as_mut().unwrap());
    }
    resource
}

fn edit_repository(edit: impl FnOnce(&mut v1::RepositorySpec)) -> v1::Resource {
    let mut resource = repository("shop");
    if let Some(Any::Repository(r)) = &mut resource.resource {
        edit(r.spec.as_mut().unwrap());
    }
    resource
}

#[tokio::test]
async fn every_mistake_is_named_with_resource_and_path() {
    let world = shop().await;
    let git = |branch: &str, tag: &str, commit: &str| {
        Some(v1::GitRef {
            branch: branch.into(),
            tag: tag.into(),
            commit: commit.into(),
        })
    };
    let expression = |operator: i32, values: &[&str]| {
        let mut resource = group("prod", &[]);
        if let Some(Any::ClusterGroup(g)) = &mut resource.resource {
            let selector = g.spec.as_mut().unwrap().selector.as_mut().unwrap();
            selector
                .match_expressions
                .push(v1::LabelSelectorRequirement {
                    key: "region".into(),
                    operator,
                    values: values.iter().map(ToString::to_string).collect(),
                });
        }
        resource
    };
    for (resource, expected) in [
        (
            assignment("web", "nope", &["prod"]),
            "Assignment web: spec.repository: no Repository named \"nope\"",
        ),
        (
            assignment("web", "shop", &["prod", "qa"]),
            "Assignment web: spec.clusterGroups[1]: no ClusterGroup named \"qa\"",
        ),
        (
            edit_repository(|r| r.credential = "git".into()),
            "Repository shop: spec.credential: no Credential named \"git\": make it with `lockstep credential create`",
        ),
        (
            edit_repository(|r| r.webhook_secret = "hook".into()),
            "Repository shop: spec.webhookSecret: no Credential named",
        ),
        (
            cluster("EU_1", &[]),
            "Cluster: metadata.name: \"EU_1\" is not a valid name",
        ),
        (cluster("", &[]), "Cluster: metadata.name: is missing"),
        (
            cluster("eu-1", &[("-x", "")]),
            "Cluster eu-1: metadata.labels: \"-x\" is not a label key",
        ),
        (
            cluster("eu-1", &[("x", "a b")]),
            "Cluster eu-1: metadata.labels.x: \"a b\" is not a label value",
        ),
        (
            edit_assignment(|a| a.r#ref = None),
            "Assignment shop: spec.ref: is missing",
        ),
        (
            edit_assignment(|a| a.r#ref = git("", "", "")),
            "Assignment shop: spec.ref: is empty",
        ),
        (
            edit_assignment(|a| a.r#ref = git("main", "v1", "")),
            "Assignment shop: spec.ref: names more than one",
        ),
        (
            edit_assignment(|a| a.r#ref = git("a..b", "", "")),
            "spec.ref.branch: \"a..b\" is not a name that Git allows",
        ),
        (
            edit_assignment(|a| a.r#ref = git("", "refs/tags/v1", "")),
            "spec.ref.tag: \"refs/tags/v1\" is a full ref",
        ),
        (
            edit_assignment(|a| a.r#ref = git("", "", "9f3c2a1")),
            "spec.ref.commit: \"9f3c2a1\" is not a commit",
        ),
        (
            edit_assignment(|a| a.path = "/etc".into()),
            "Assignment shop: spec.path: \"/etc\" is absolute",
        ),
        (
            edit_assignment(|a| a.path = "a/../../b".into()),
            "Assignment shop: spec.path: \"a/../../b\" leaves the repository",
        ),
        (
            edit_assignment(|a| a.cluster_groups.clear()),
            "Assignment shop: spec.clusterGroups: is missing",
        ),
        (
            edit_assignment(|a| a.cluster_groups.push("prod".into())),
            "spec.clusterGroups[1]: \"prod\" is named twice",
        ),
        (
            edit_assignment(|a| a.namespace = "Shop".into()),
            "Assignment shop: spec.namespace: \"Shop\" is not a valid name",
        ),
        (
            edit_assignment(|a| {
                a.sync = Some(v1::SyncPolicy {
                    max_prune: "a lot".into(),
                    ..Default::default()
                });
            }),
            "Assignment shop: spec.sync.maxPrune: \"a lot\" is neither",
        ),
        (
            edit_assignment(|a| {
                a.sync = Some(v1::SyncPolicy {
                    max_prune: "101%".into(),
                    ..Default::default()
                });
            }),
            "spec.sync.maxPrune: \"101%\"",
        ),
        (
            edit_repository(|r| r.url.clear()),
            "Repository shop: spec.url: is missing",
        ),
        (
            edit_repository(|r| r.url = "git@example.com:shop".into()),
            "Repository shop: spec.url: ",
        ),
        (
            edit_repository(|r| r.url = "ssh://example.com/shop".into()),
            "scheme \"ssh\" is not supported",
        ),
        (
            edit_repository(|r| r.url = "https://bob:hunter2@example.com/x".into()),
            "spec.url: holds a user name or password",
        ),
        (
            edit_repository(|r| r.url = "https://example.com/x?token=hunter2".into()),
            "spec.url: has a query",
        ),
        (
            edit_repository(|r| r.url = "file:///srv/git".into()),
            "spec.url: this hub does not read file URLs",
        ),
        (
            edit_repository(|r| r.poll = "30".into()),
            "Repository shop: spec.poll: \"30\" is not a duration",
        ),
        (
            edit_repository(|r| r.poll = "48h".into()),
            "spec.poll: \"48h\" is not between",
        ),
        (
            edit_repository(|r| r.ca_bundle = "junk".into()),
            "spec.caBundle: holds no PEM certificate",
        ),
        (
            expression(1, &[]),
            "ClusterGroup prod: spec.selector.matchExpressions[0].values: is empty",
        ),
        (
            expression(3, &["a"]),
            "spec.selector.matchExpressions[0].values: must be empty",
        ),
        (
            expression(0, &["a"]),
            "spec.selector.matchExpressions[0].operator: is missing",
        ),
        (v1::Resource { resource: None }, "a resource without a kind"),
        (
            v1::Resource {
                resource: Some(Any::Credential(v1::Credential::default())),
            },
            "lockstep credential create",
        ),
    ] {
        let problem = world.refused([resource]).await;
        assert!(
            problem.contains(expected),
            "expected {expected:?}, got {problem:?}"
        );
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

#[tokio::test]
async fn what_is_sound_is_taken() {
    let world = shop().await;
    let prune = |text: &str| {
        Some(v1::SyncPolicy {
            max_prune: text.into(),
            ..Default::default()
        })
    };
    world
        .apply([
            edit_assignment(|a| {
                a.path = ".".into();
                a.sync = prune("15");
                a.r#ref = Some(v1::GitRef {
                    tag: "release/v1.2".into(),
                    ..Default::default()
                });
            }),
            edit_repository(|r| r.poll = "1h30m".into()),
        ])
        .await;
    world
        .apply([edit_repository(|r| r.poll = "0".into())])
        .await;
    world
        .apply([edit_assignment(|a| a.sync = prune("0%"))])
        .await;
}

#[tokio::test]
async fn one_mistake_and_nothing_of_the_request_is_applied() {
    let world = World::new().await;
    let problem = world
        .refused([
            repository("shop"),
            group("prod", &[]),
            assignment("shop", "shop", &["prod"]),
            assignment("web", "web", &["qa"]),
        ])
        .await;
    assert_eq!(
        problem,
        "Assignment web: spec.repository: no Repository named \"web\"\n\
         Assignment web: spec.clusterGroups[0]: no ClusterGroup named \"qa\""
    );
    assert!(world.fleet.repositories().is_empty());
    assert!(world.reload().await.repositories().is_empty());
}

#[tokio::test]
async fn a_resource_that_stands_twice_in_a_request_is_an_error() {
    let world = World::new().await;
    let problem = world
        .refused([group("g", &[]), group("g", &[("a", "b")])])
        .await;
    assert_eq!(
        problem,
        "ClusterGroup g: stands in the request more than once"
    );
}

#[tokio::test]
async fn generation_grows_with_what_is_wanted_and_nothing_else() {
    let world = World::new().await;
    let apply = async |resource: v1::Resource| {
        let result = world
            .fleet
            .apply(vec![resource], false, "admin")
            .await
            .unwrap();
        let meta = match world.fleet.get(Kind::Cluster, "eu-1").unwrap().resource {
            Some(Any::Cluster(c)) => c.metadata.unwrap(),
            _ => unreachable!(),
        };
        (result[0].action(), meta)
    };
    let (action, first) = apply(cluster("eu-1", &[("a", "1")])).await;
    assert_eq!((action, first.generation), (Action::Created, 1));
    assert!(!first.uid.is_empty());

    let mut same = cluster("eu-1", &[("a", "1")]);
    if let Some(Any::Cluster(c)) = &mut same.resource {
        // What people write here is ignored.
        c.status = Some(v1::ClusterStatus {
            agent_version: "9".into(),
            ..Default::default()
        });
        c.metadata.as_mut().unwrap().uid = "mine".into();
        c.metadata.as_mut().unwrap().generation = 77;
        (c.api_version, c.kind) = ("lockstep.dev/v1alpha1".into(), "Cluster".into());
    }
    let (action, meta) = apply(same).await;
    assert_eq!((action, meta), (Action::Unchanged, first.clone()));

    let (action, meta) = apply(cluster("eu-1", &[("a", "2")])).await;
    assert_eq!(
        (action, meta.generation, meta.uid),
        (Action::Configured, 2, first.uid)
    );

    let mut noted = cluster("eu-1", &[("a", "2")]);
    if let Some(Any::Cluster(c)) = &mut noted.resource {
        let notes = &mut c.metadata.as_mut().unwrap().annotations;
        notes.insert("owner".into(), "me".into());
    }
    let (action, meta) = apply(noted).await;
    assert_eq!((action, meta.generation), (Action::Configured, 2));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let world = World::new().await;
    let results = world
        .fleet
        .apply(vec![group("prod", &[])], true, "admin")
        .await
        .unwrap();
    assert_eq!(results[0].action(), Action::Created);
    assert!(world.fleet.get(Kind::ClusterGroup, "prod").is_none());
    assert!(
        world
            .reload()
            .await
            .get(Kind::ClusterGroup, "prod")
            .is_none()
    );
}

#[tokio::test]
async fn a_relabelled_cluster_makes_the_assignments_it_leaves_and_joins_dirty() {
    let world = shop().await;
    world
        .apply([
            group("dev", &[("env", "dev")]),
            assignment("tools", "shop", &["dev"]),
        ])
        .await;
    world.fleet.dirty_assignments().take().await;
    let set = BTreeMap::from([("env".to_owned(), "dev".to_owned())]);
    world
        .fleet
        .label_cluster("eu-1", set, vec![])
        .await
        .unwrap();
    let dirty = world.fleet.dirty_assignments().take().await;
    assert_eq!(dirty, ["shop".to_owned(), "tools".to_owned()].into());
    assert_eq!(
        world.fleet.clusters_of("tools"),
        [name("eu-1"), name("lab")]
    );
    assert_eq!(world.cluster("eu-1").groups, ["dev"]);
}

#[tokio::test]
async fn labels_of_a_cluster_that_is_not_there_or_are_none_are_refused() {
    let world = shop().await;
    let label = async |name: &str, key: &str, remove: &str| {
        let set = BTreeMap::from([(key.to_owned(), "x".to_owned())]);
        let done = world
            .fleet
            .label_cluster(name, set, vec![remove.to_owned()])
            .await;
        done.unwrap_err()
    };
    assert!(matches!(
        label("nope", "a", "b").await,
        ApplyError::NoCluster(_)
    ));
    assert!(
        label("eu-1", "-", "b")
            .await
            .to_string()
            .contains("label key")
    );
    assert!(
        label("eu-1", "a", "a")
            .await
            .to_string()
            .contains("both set and removed")
    );
}
