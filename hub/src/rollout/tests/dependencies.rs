//! What depends on others is looked at after them.

use lockstep_proto::v1::{self, resource::Resource as Any};

use super::world::{assignment, manifest, world};

fn depending(name: &str, path: &str, on: &str) -> Any {
    let mut resource = assignment(name, path);
    if let Any::Assignment(assignment) = &mut resource {
        assignment.spec.as_mut().unwrap().depends_on = vec![v1::Dependency {
            assignment: on.into(),
        }];
    }
    resource
}

#[tokio::test]
async fn one_commit_to_both_reaches_clusters_in_order() {
    let world = world().await;
    world.settled().await;
    world.git.commit("web", &manifest("web one"));
    // Names sort against the order.
    world.apply(vec![depending("a-web", "web", "shop")]).await;
    world
        .until("released", |world| world.rows("a-web").len() == 2)
        .await;
    let gate = world.git.hold();
    let reads = world.git.reads();
    world.git.commit("web", &manifest("web two"));
    let newest = world.git.commit("deploy", &manifest("two"));
    let both = ["a-web".to_owned(), "shop".to_owned()];
    world.fleet.dirty_assignments().mark_all(both);
    while world.git.reads() == reads {
        world.git.0.reading.notified().await;
    }
    // The one that others depend on renders, and nothing else does yet.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.git.reads(), reads + 1);
    assert_ne!(*world.rows("a-web")[0].revision, *newest);
    world.git.release(&gate);
    world
        .until("both released", |world| {
            *world.rows("a-web")[0].revision == *newest
        })
        .await;
    let rows = world
        .fleet
        .desired(&world.rows("shop")[0].cluster)
        .unwrap()
        .rows;
    let version = |name: &str| {
        rows.iter()
            .find(|row| *row.assignment == *name)
            .unwrap()
            .version
    };
    assert!(version("shop") < version("a-web"));
}

#[tokio::test]
async fn a_failure_of_one_holds_up_no_other_for_ever() {
    let world = world().await;
    world.settled().await;
    world.git.commit("web", &manifest("web one"));
    world.git.commit("deploy", "kind: [");
    world.apply(vec![depending("a-web", "web", "shop")]).await;
    let both = ["a-web".to_owned(), "shop".to_owned()];
    world.fleet.dirty_assignments().mark_all(both);
    world
        .until("released", |world| world.rows("a-web").len() == 2)
        .await;
    world
        .until("said", |world| !world.message().is_empty())
        .await;
}
