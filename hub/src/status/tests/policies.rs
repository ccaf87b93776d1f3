//! What an Assignment may say of how it is kept in step.

use lockstep_proto::v1::{self, resource::Resource as Any};

use crate::status::fixture::*;

fn shop_with(edit: impl FnOnce(&mut v1::AssignmentSpec)) -> v1::Resource {
    named("shop", edit)
}

fn named(name: &str, edit: impl FnOnce(&mut v1::AssignmentSpec)) -> v1::Resource {
    let mut resource = assignment(name, "shop", &["prod"]);
    if let Some(Any::Assignment(a)) = &mut resource.resource {
        edit(a.spec.as_mut().unwrap());
    }
    resource
}

fn policy(edit: impl FnOnce(&mut v1::SyncPolicy)) -> v1::Resource {
    shop_with(|spec| edit(spec.sync.get_or_insert_default()))
}

fn ignoring(rule: v1::IgnoreRule) -> v1::Resource {
    policy(|sync| sync.ignore.push(rule))
}

fn pointers(pointers: &[&str]) -> v1::IgnoreRule {
    v1::IgnoreRule {
        kind: "Deployment".into(),
        json_pointers: pointers.iter().map(ToString::to_string).collect(),
        ..v1::IgnoreRule::default()
    }
}

fn depending(name: &str, on: &[&str]) -> v1::Resource {
    named(name, |spec| {
        spec.depends_on = on
            .iter()
            .map(|other| v1::Dependency {
                assignment: (*other).into(),
            })
            .collect();
    })
}

#[tokio::test]
async fn every_mistake_in_a_policy_is_named_with_its_path() {
    let world = shop().await;
    let managers = |managers: &[&str]| v1::IgnoreRule {
        field_managers: managers.iter().map(ToString::to_string).collect(),
        ..v1::IgnoreRule::default()
    };
    for (resource, expected) in [
        (
            policy(|sync| sync.mode = 9),
            "spec.sync.mode: is none of Auto and Manual",
        ),
        (policy(|sync| sync.drift = 9), "spec.sync.drift: is none of"),
        (policy(|sync| sync.adopt = 9), "spec.sync.adopt: is none of"),
        (
            policy(|sync| sync.timeout = "0".into()),
            "spec.sync.timeout: \"0\" is not between 1s and 24h",
        ),
        (
            policy(|sync| sync.timeout = "25h".into()),
            "is not between 1s and 24h",
        ),
        (
            policy(|sync| sync.timeout = "soon".into()),
            "spec.sync.timeout: \"soon\" is not a duration",
        ),
        (
            policy(|sync| sync.prune_kinds = vec!["Secret".into()]),
            "spec.sync.pruneKinds[0]: \"Secret\" is none of Namespace, CustomResourceDefinition",
        ),
        (
            policy(|sync| sync.prune_kinds = vec!["Namespace".into(); 2]),
            "spec.sync.pruneKinds[1]: \"Namespace\" is named twice",
        ),
        (
            ignoring(pointers(&[])),
            "spec.sync.ignore[0]: names no field",
        ),
        (
            ignoring(pointers(&["/spec/replicas", "spec/x"])),
            "spec.sync.ignore[0].jsonPointers[1]: \"spec/x\" is not a JSON pointer",
        ),
        (ignoring(pointers(&[""])), "is not a JSON pointer"),
        (ignoring(pointers(&["/"])), "is not a JSON pointer"),
        (ignoring(pointers(&["/a~2b"])), "~ is written ~0"),
        (ignoring(pointers(&["/a~"])), "~ is written ~0"),
        (ignoring(managers(&[""])), "fieldManagers[0]: is empty"),
        (ignoring(managers(&["lockstep"])), "use drift: Ignore"),
        (
            policy(|sync| sync.ignore = vec![pointers(&["/a"]); 65]),
            "spec.sync.ignore: more than 64 rules",
        ),
        (
            policy(|sync| sync.ignore = vec![pointers(&[&format!("/{}", "x".repeat(400))]); 10]),
            "spec.sync: comes to",
        ),
        (
            depending("web", &["nope"]),
            "Assignment web: spec.dependsOn[0].assignment: no Assignment named \"nope\"",
        ),
        (
            depending("web", &[""]),
            "spec.dependsOn[0].assignment: is missing",
        ),
        (
            depending("web", &["shop", "shop"]),
            "spec.dependsOn[1].assignment: \"shop\" is named twice",
        ),
        (
            depending("web", &["web"]),
            "it would wait for itself: web -> web",
        ),
    ] {
        let refused = world.refused([resource]).await;
        assert!(refused.contains(expected), "{refused} / {expected}");
    }
}

#[tokio::test]
async fn a_sound_policy_is_taken() {
    let world = shop().await;
    let rule = v1::IgnoreRule {
        field_managers: vec!["kube-controller-manager".into()],
        ..pointers(&[
            "/spec/replicas",
            "/metadata/annotations/example.com~1x",
            "/spec/*/a~0b",
        ])
    };
    let policy = policy(|sync| {
        sync.mode = v1::sync_mode::Name::Manual.into();
        sync.timeout = "15m".into();
        sync.prune_kinds = vec!["Namespace".into(), "PersistentVolumeClaim".into()];
        sync.ignore = vec![rule];
    });
    world.apply([policy]).await;
}

#[tokio::test]
async fn a_circle_of_dependencies_is_refused_however_it_is_made() {
    let world = shop().await;
    let circle = [depending("a", &["b"]), depending("b", &["a"])];
    let refused = world.refused(circle).await;
    assert!(refused.contains("a -> b -> a"), "{refused}");
    // A name that comes in the same request is none that dangles.
    world
        .apply([depending("a", &["b"]), depending("b", &["shop"])])
        .await;
    let refused = world.refused([depending("shop", &["a"])]).await;
    assert!(refused.contains("shop -> a -> b -> shop"), "{refused}");
    let turned = [depending("a", &[]), depending("b", &["a"])];
    world.apply(turned).await;
}
