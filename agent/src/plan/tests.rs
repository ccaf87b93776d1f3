use lockstep_proto::v1::object_diff::Action;
use lockstep_proto::v1::{ApplyOptions, adopt};
use serde_json::{Value, json};

use super::*;
use crate::engine::tests::world::{World, config_map, path};

/// A cluster with the assignment `shop` of these objects settled.
async fn settled(objects: &[Value]) -> World {
    let mut world = World::new();
    world
        .fake
        .put("/api/v1/namespaces/shop", json!({"metadata": {}}));
    let digest = world.assign("shop", objects);
    world.start();
    world.synced("shop", digest).await;
    world
}

/// What applying `objects` would change, as "Change v1 ConfigMap shop/a".
async fn asked(
    world: &World,
    assignment: &str,
    objects: &[Value],
    options: ApplyOptions,
) -> (Vec<String>, Vec<ObjectDiff>) {
    let plan = Plan {
        id: 1,
        assignment: assignment.into(),
        bundle_digest: world.bundle(objects).to_string(),
        revision: "9f3c2a1".into(),
        options: Some(options),
    };
    let (parts, mut sent) = mpsc::channel(1_000);
    let mut out = Out {
        parts,
        bytes: 0,
        objects: 0,
    };
    let ground = world.desk.ground().await;
    make::make(&ground, &plan, &mut out).await.unwrap();
    drop(out);
    let mut found = Vec::new();
    while let Some(part) = sent.recv().await {
        match part.part {
            Some(Part::Object(object)) => found.push(object),
            other => panic!("no object: {other:?}"),
        }
    }
    let lines = found
        .iter()
        .map(|object| format!("{:?} {}", object.action(), object.object));
    (lines.collect(), found)
}

async fn diff(world: &World, objects: &[Value]) -> (Vec<String>, Vec<ObjectDiff>) {
    asked(world, "shop", objects, World::options()).await
}

#[tokio::test(start_paused = true)]
async fn what_comes_changes_and_goes_is_told_in_one_order_and_nothing_is_done() {
    let before = ["keep", "change", "go"].map(|name| config_map(name, "one"));
    let world = settled(&before).await;
    let (stood, listed) = (world.fake.paths(), world.inventory("shop"));
    let after = [
        config_map("keep", "one"),
        config_map("change", "two"),
        config_map("new", "one"),
    ];
    let (lines, found) = diff(&world, &after).await;
    assert_eq!(
        lines,
        [
            "Change v1 ConfigMap shop/change",
            "Create v1 ConfigMap shop/new",
            "Delete v1 ConfigMap shop/go",
        ]
    );
    assert!(
        found[0].diff.contains("-  key: one\n+  key: two\n"),
        "{}",
        found[0].diff
    );
    assert!(found[1].diff.contains("\n+  name: new\n") || found[1].diff.contains("name: new"));
    assert!(
        found[2].diff.contains("\n+++ /dev/null\n"),
        "{}",
        found[2].diff
    );
    assert!(
        found.iter().all(|object| object.message.is_empty()),
        "{found:?}"
    );
    assert_eq!(world.fake.paths(), stood);
    assert_eq!(world.inventory("shop"), listed);
    assert_eq!(
        world.fake.get(&path("change")).unwrap()["data"]["key"],
        "one"
    );

    let (lines, _) = diff(&world, &before).await;
    assert!(lines.is_empty(), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn values_of_a_secret_never_leave_the_cluster() {
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
            "data": {"password": value}})
    };
    let world = settled(&[secret("b2xkLXZhbHVl")]).await;
    let (lines, found) = diff(&world, &[secret("bmV3LXZhbHVl")]).await;
    assert_eq!(lines, ["Change v1 Secret shop/login"]);
    let said = format!("{found:?}");
    assert!(
        !said.contains("dmFsdWU") && !said.contains("LXZhbHVl"),
        "{said}"
    );
    assert!(
        said.contains("(masked, before)") && said.contains("(masked, after)"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_would_be_kept_or_stopped_says_so() {
    let names: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    let all: Vec<_> = names.iter().map(|name| config_map(name, "one")).collect();
    let world = settled(&all).await;
    let (_, found) = diff(&world, &all[5..]).await;
    assert_eq!(found.len(), 5);
    assert!(
        found
            .iter()
            .all(|object| object.message.contains("lockstep approve")),
        "{found:?}"
    );
    let unpruned = ApplyOptions {
        prune: false,
        ..World::options()
    };
    let (lines, _) = asked(&world, "shop", &all[5..], unpruned).await;
    assert!(lines.is_empty(), "{lines:?}");

    let mut kept = config_map("kept", "one");
    kept["metadata"]["annotations"] = json!({"lockstep.dev/prune": "Disabled"});
    let world = settled(&[kept, config_map("other", "one")]).await;
    let (lines, found) = diff(&world, &[config_map("other", "one")]).await;
    assert_eq!(lines, ["Delete v1 ConfigMap shop/kept"]);
    assert!(
        found[0].diff.is_empty() && found[0].message.contains("prune: Disabled"),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whose_an_object_is_decides_whether_it_would_be_touched() {
    let world = settled(&[config_map("mine", "one")]).await;
    let theirs = json!({"metadata": {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}},
        "data": {"key": "theirs"}});
    world.fake.put(&path("theirs"), theirs);
    let objects = [config_map("mine", "one"), config_map("theirs", "one")];
    let (lines, found) = diff(&world, &objects).await;
    assert_eq!(lines, ["Fail v1 ConfigMap shop/theirs"]);
    assert!(
        found[0].message.contains("Helm release shop/web"),
        "{found:?}"
    );
    let always = ApplyOptions {
        adopt: adopt::Policy::Always.into(),
        ..World::options()
    };
    let (lines, found) = asked(&world, "shop", &objects, always).await;
    assert_eq!(lines, ["Change v1 ConfigMap shop/theirs"]);
    assert!(
        found[0].message.contains("taken over from Helm"),
        "{found:?}"
    );
    // What another assignment wants stays its own.
    let (lines, found) = asked(&world, "other", &objects[..1], World::options()).await;
    assert_eq!(lines, ["Fail v1 ConfigMap shop/mine"]);
    assert!(found[0].message.contains("assignment shop"), "{found:?}");
    assert_eq!(found[0].action(), Action::Fail);
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_definition_or_a_namespace_of_the_same_revision_is_created() {
    let world = settled(&[config_map("a", "one")]).await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": {"kind": "Widget", "plural": "widgets"}}});
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    let gadget =
        json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}});
    let objects = [config_map("a", "one"), definition, widget, gadget];
    let (mut lines, found) = diff(&world, &objects).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            "Create apiextensions.k8s.io/v1 CustomResourceDefinition widgets.example.com",
            "Create example.com/v1 Widget w",
            "Fail example.com/v1 Gadget g",
        ]
    );
    let widget = found
        .iter()
        .find(|object| object.object.contains("Widget w"))
        .unwrap();
    assert!(widget.message.contains("same revision"), "{widget:?}");
}
