//! What the cluster's owner allows, and how what he does not allow is said.

use std::collections::HashSet;

use lockstep_proto::v1::sync::Status as Sync;
use serde_json::json;

use super::owners::{maps, namespace};
use super::world::{World, config_map, path};

#[tokio::test(start_paused = true)]
async fn the_owner_caps_even_an_approved_prune() {
    let mut world = World::new();
    world.caps("maxPrune: 3\n");
    let objects = maps(10);
    let mut options = World::options();
    options.prune_approved = true;
    let first = world.assign_with("shop", &objects, options.clone());
    world.start();
    world.synced("shop", first).await;
    world.fake.deleted();
    world.assign_with("shop", &objects[..5], options.clone());
    let report = world
        .until("shop", |r| r.message.contains("prune stopped"))
        .await;
    assert!(
        report
            .message
            .contains("maxPrune 3 in agent.yaml line 1 allows 3")
            && report.message.contains("the cluster's owner"),
        "{}",
        report.message
    );
    assert_eq!(report.awaiting_approval, 0, "no approval helps");
    assert!(world.fake.deleted().is_empty());
    let third = world.assign_with("shop", &objects[..7], options);
    world.synced("shop", third).await;
    assert_eq!(world.fake.deleted().len(), 3);
}

const OWNERS_FILE: &str = "\
allowedNamespaces: [shop]
deniedKinds:
- Secret
";

#[tokio::test(start_paused = true)]
async fn what_the_owner_refuses_is_said_with_the_line_and_never_sent() {
    let mut world = World::new();
    world.caps(OWNERS_FILE);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let mut away = config_map("away", "x");
    away["metadata"]["namespace"] = json!("kube-system");
    let objects = [config_map("a", "x"), secret, away, namespace("other")];
    world.assign("shop", &objects);
    world.start();
    let report = world
        .until("shop", |r| {
            r.problems.len() == 3 && r.sync() == Sync::Failed
        })
        .await;
    let mut said: Vec<String> = report
        .problems
        .iter()
        .map(|p| format!("{}: {}", p.object, p.message))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "v1 ConfigMap kube-system/away: refused by agent.yaml line 1: allowedNamespaces does not have kube-system",
            "v1 Namespace other: refused by agent.yaml line 1: allowedNamespaces does not have other",
            "v1 Secret shop/s: refused by agent.yaml line 3: deniedKinds has Secret",
        ]
    );
    world
        .eventually("the rest lands", |fake| fake.get(&path("a")).is_some())
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    let log = world.fake.log();
    let about = |words: &str| {
        log.iter()
            .any(|line| line.contains(words) && !line.starts_with("GET"))
    };
    assert!(
        !about("/secrets") && !about("kube-system") && !about("/namespaces/other"),
        "{log:#?}"
    );
    // Taken out of Git, nothing is left of it.
    let digest = world.assign("shop", &objects[..1]);
    world.synced("shop", digest).await;
    assert_eq!(world.inventory("shop").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_who_narrows_the_file_keeps_what_is_there_as_it_is() {
    let mut world = World::new();
    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": value}});
    let first = world.assign("shop", &[config_map("a", "x"), secret("one")]);
    world.start();
    world.synced("shop", first).await;
    world.caps(OWNERS_FILE);
    world.start();
    let refused = "refused by agent.yaml line 3: deniedKinds has Secret";
    world.until("shop", |r| r.message.contains(refused)).await;
    let stored = "/api/v1/namespaces/shop/secrets/s";
    world.fake.edit(stored, "data.k", json!("theirs"));
    world.entomb("shop");
    let words = format!("v1 Secret shop/s: cannot be removed: {refused}");
    let report = world.until("shop", |r| r.message.contains(&words)).await;
    assert!(!report.removed);
    assert_eq!(world.fake.get(stored).unwrap()["data"]["k"], "theirs");
    assert!(world.fake.get(&path("a")).is_none());
    world.caps("{}");
    world.start();
    world.until("shop", |r| r.removed).await;
}

#[tokio::test(start_paused = true)]
async fn writes_are_made_as_the_account_and_reads_and_the_inventory_are_not() {
    let mut world = World::new();
    world.caps("serviceAccount: sys/all\nassignments:\n  shop: {serviceAccount: shop/deployer}\n");
    let digest = world.assign("shop", &[config_map("a", "x")]);
    let other = world.assign("other", &[config_map("b", "x")]);
    world.start();
    world.synced("shop", digest).await;
    world.synced("other", other).await;
    world.entomb("shop");
    world.until("shop", |r| r.removed).await;
    let acts = world.fake.acts();
    let as_whom = |words: &str| -> HashSet<String> {
        let about = acts.iter().filter(|(line, _)| line.contains(words));
        about
            .map(|(_, who)| who.clone().unwrap_or_default())
            .collect()
    };
    let shop = "system:serviceaccount:shop:deployer".to_owned();
    let all = "system:serviceaccount:sys:all".to_owned();
    assert_eq!(
        as_whom("PATCH /api/v1/namespaces/shop/configmaps/a"),
        HashSet::from([shop.clone()])
    );
    assert_eq!(
        as_whom("DELETE /api/v1/namespaces/shop/configmaps/a"),
        HashSet::from([shop.clone()])
    );
    assert_eq!(
        as_whom("PATCH /api/v1/namespaces/shop/configmaps/b"),
        HashSet::from([all.clone()])
    );
    assert!(
        as_whom("POST /api/v1/namespaces?").is_subset(&HashSet::from([shop, all, String::new()]))
    );
    assert_eq!(as_whom("GET "), HashSet::from([String::new()]));
    assert_eq!(as_whom("lockstep-system"), HashSet::from([String::new()]));
}

#[tokio::test(start_paused = true)]
async fn writes_keep_to_the_owners_rate() {
    let mut world = World::new();
    world.caps("applyRate: 2\n");
    let begin = tokio::time::Instant::now();
    // Not more than the reader of the Bundle can hand over at once: tokio's
    // clock stands still while it waits.
    let digest = world.assign("shop", &maps(8));
    world.start();
    world.synced("shop", digest).await;
    // Eight applies and the namespace.
    let took = begin.elapsed();
    assert!((4_000..4_600).contains(&took.as_millis()), "{took:?}");
}
