//! What becomes of objects that others change, and what people are told of it.

use std::time::Duration;

use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::object_event::Type;
use lockstep_proto::v1::sync::Status as Sync;
use lockstep_proto::v1::{ApplyOptions, IgnoreRule, ObjectEvent, drift};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::fake::Fake;
use super::world::{World, config_map, path};

fn options(policy: drift::Policy) -> ApplyOptions {
    ApplyOptions {
        drift: policy.into(),
        ..World::options()
    }
}

fn ignoring(rule: IgnoreRule) -> ApplyOptions {
    ApplyOptions {
        ignore: vec![rule],
        ..World::options()
    }
}

fn pointer(pointer: &str) -> IgnoreRule {
    IgnoreRule {
        json_pointers: vec![pointer.to_owned()],
        ..IgnoreRule::default()
    }
}

fn key(fake: &Fake, name: &str) -> Value {
    fake.get(&path(name)).unwrap_or_default()["data"]["key"].clone()
}

/// What the history says, in short.
fn brief(told: &[ObjectEvent]) -> Vec<String> {
    let say = |event: &ObjectEvent| {
        let kind = match event.r#type() {
            Type::Drifted => "drifted",
            Type::Corrected => "corrected",
            other => panic!("{other:?}"),
        };
        assert_eq!(event.assignment, "shop");
        assert!(!event.revision.is_empty());
        let (_, name) = event.object.rsplit_once('/').unwrap();
        let fields = event.fields.join(",");
        let words = [kind, name, &fields, &event.manager, &event.message];
        let words = words.iter().filter(|word| !word.is_empty());
        words.copied().collect::<Vec<_>>().join(" ")
    };
    told.iter().map(say).collect()
}

async fn a_while() {
    sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn each_correction_is_told_with_its_field_and_who_changed_it() {
    let mut world = World::new();
    let digest = world.assign("shop", &[config_map("a", "one"), config_map("b", "one")]);
    world.start();
    world.synced("shop", digest).await;
    world.fake.edit(&path("a"), "data.key", json!("by hand"));
    world
        .eventually("put back", |fake| key(fake, "a") == "one")
        .await;
    a_while().await;
    assert_eq!(
        brief(&world.told().await),
        [
            "drifted a .data.key kubectl-edit",
            "corrected a .data.key kubectl-edit"
        ]
    );
    world.fake.delete(&path("b"));
    world
        .eventually("made again", |fake| key(fake, "b") == "one")
        .await;
    a_while().await;
    assert_eq!(
        brief(&world.told().await),
        ["drifted b deleted by somebody", "corrected b made again"]
    );
    world.fake.edit(&path("a"), "data.theirs", json!("x"));
    a_while().await;
    assert!(world.told().await.is_empty(), "nothing of ours");
}

#[tokio::test(start_paused = true)]
async fn a_correction_that_is_refused_is_told_once_however_often_it_is_tried() {
    let mut world = World::new();
    let digest = world.assign("shop", &[config_map("a", "one"), config_map("b", "one")]);
    world.start();
    world.synced("shop", digest).await;
    world.fake.fault(|method, _| {
        let refusal = super::fake::status(403, "Forbidden", "you may not");
        (*method == http::Method::PATCH).then_some((403, refusal))
    });
    world.fake.edit(&path("a"), "data.key", json!("by hand"));
    world.fake.delete(&path("b"));
    sleep(Duration::from_secs(600)).await;
    let mut told = brief(&world.told().await);
    told.sort();
    assert_eq!(
        told,
        ["drifted a kubectl-edit", "drifted b deleted by somebody"]
    );
    world.until("shop", |r| r.sync() == Sync::Failed).await;
    world.fake.no_fault();
    world.synced("shop", digest).await;
    let mut told = brief(&world.told().await);
    told.sort();
    assert_eq!(told, ["corrected a kubectl-edit", "corrected b made again"]);
}

#[tokio::test(start_paused = true)]
async fn reported_drift_is_shown_told_once_and_left_until_git_changes_the_object() {
    let mut world = World::new();
    let objects = [config_map("a", "one"), config_map("b", "one")];
    let digest = world.assign_with("shop", &objects, options(drift::Policy::Report));
    world.start();
    world.synced("shop", digest).await;
    world.fake.edit(&path("a"), "data.key", json!("by hand"));
    world.fake.delete(&path("b"));
    let report = world.until("shop", |r| r.drifted == 2).await;
    assert_eq!(
        (report.sync(), report.health()),
        (Sync::OutOfSync, Health::Missing)
    );
    let words: Vec<_> = report.problems.iter().map(|p| &*p.message).collect();
    assert!(
        words.contains(&"kubectl-edit changed .data.key; it is left so (drift: Report)"),
        "{words:?}"
    );
    assert!(
        words.contains(&"somebody deleted it; it is left so (drift: Report)"),
        "{words:?}"
    );
    a_while().await;
    let told = brief(&world.told().await);
    assert_eq!(told.len(), 2, "{told:?}");
    world.fake.log();

    // Others may go on: nothing is put back, and it is not told again.
    for round in 0..5 {
        world
            .fake
            .edit(&path("a"), "data.key", json!(format!("by hand {round}")));
        a_while().await;
    }
    assert_eq!(key(&world.fake, "a"), "by hand 4");
    world.start();
    world.until("shop", |r| r.drifted == 2).await;
    a_while().await;
    assert_eq!(
        brief(&world.told().await),
        Vec::<String>::new(),
        "nor after a restart"
    );

    // A new revision that changes another object leaves them as well.
    let objects = [
        config_map("a", "one"),
        config_map("b", "one"),
        config_map("c", "one"),
    ];
    world.assign_with("shop", &objects, options(drift::Policy::Report));
    let report = world
        .until("shop", |r| r.objects == 3 && r.drifted == 2)
        .await;
    assert_eq!(report.applied_digest, report.target_digest);
    assert_eq!(key(&world.fake, "a"), "by hand 4");

    // What Git changes is applied all the same.
    let objects = [
        config_map("a", "two"),
        config_map("b", "two"),
        config_map("c", "one"),
    ];
    let digest = world.assign_with("shop", &objects, options(drift::Policy::Report));
    world.synced("shop", digest).await;
    assert_eq!(
        (key(&world.fake, "a"), key(&world.fake, "b")),
        (json!("two"), json!("two"))
    );
    assert_eq!(brief(&world.told().await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_puts_back_himself_is_in_sync_again() {
    let mut world = World::new();
    let digest = world.assign_with(
        "shop",
        &[config_map("a", "one")],
        options(drift::Policy::Report),
    );
    world.start();
    world.synced("shop", digest).await;
    world.fake.edit(&path("a"), "data.key", json!("by hand"));
    world.until("shop", |r| r.drifted == 1).await;
    world.fake.edit(&path("a"), "data.key", json!("one"));
    world.synced("shop", digest).await;
    assert_eq!(
        brief(&world.told().await),
        [
            "drifted a .data.key kubectl-edit",
            "corrected a .data.key kubectl-edit put back by somebody else"
        ]
    );
    // And the field is ours again: the next change is seen, too.
    world.fake.edit(&path("a"), "data.key", json!("again"));
    world.until("shop", |r| r.drifted == 1).await;
    // When drift is to be corrected from now on, so is this.
    let digest = world.assign("shop", &[config_map("a", "one")]);
    world.synced("shop", digest).await;
    assert_eq!(key(&world.fake, "a"), "one");
}

#[tokio::test(start_paused = true)]
async fn ignored_drift_is_neither_asked_about_nor_shown_nor_put_back() {
    let mut world = World::new();
    let annotated = |name: &str, value: &str| {
        let mut map = config_map(name, value);
        map["metadata"]["annotations"] = json!({"lockstep.dev/drift": "Ignore"});
        map
    };
    let objects = [
        annotated("a", "one"),
        annotated("b", "one"),
        config_map("c", "one"),
    ];
    let digest = world.assign("shop", &objects);
    world.start();
    world.synced("shop", digest).await;
    world.fake.log();
    world.fake.edit(&path("a"), "data.key", json!("by hand"));
    world.fake.delete(&path("b"));
    a_while().await;
    assert_eq!(world.fake.log(), Vec::<String>::new());
    let report = world.synced("shop", digest).await;
    assert_eq!(
        (report.drifted, report.health(), report.problems.len()),
        (0, Health::Healthy, 0)
    );
    // The object's own word goes before the Assignment's.
    world.fake.edit(&path("c"), "data.key", json!("by hand"));
    world
        .eventually("put back", |fake| key(fake, "c") == "one")
        .await;
    let objects = [
        annotated("a", "two"),
        annotated("b", "two"),
        config_map("c", "one"),
    ];
    let digest = world.assign("shop", &objects);
    world.synced("shop", digest).await;
    assert_eq!(
        (key(&world.fake, "a"), key(&world.fake, "b")),
        (json!("two"), json!("two"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_ignored_field_is_no_drift_and_survives_new_revisions() {
    let mut world = World::new();
    let map = |key: &str, other: &str| {
        let mut map = config_map("a", key);
        map["data"]["other"] = json!(other);
        map
    };
    let digest = world.assign_with("shop", &[map("1", "x")], ignoring(pointer("/data/key")));
    world.start();
    world.synced("shop", digest).await;
    assert_eq!(
        key(&world.fake, "a"),
        "1",
        "where there is nothing, Git's value is used"
    );
    world.fake.edit(&path("a"), "data.key", json!("7"));
    a_while().await;
    let report = world.synced("shop", digest).await;
    assert_eq!((key(&world.fake, "a"), report.drifted), (json!("7"), 0));
    world.fake.log();
    a_while().await;
    assert!(world.fake.log().is_empty());

    let digest = world.assign_with("shop", &[map("2", "y")], ignoring(pointer("/data/key")));
    world.synced("shop", digest).await;
    let object = world.fake.get(&path("a")).unwrap();
    assert_eq!(object["data"], json!({"key": "7", "other": "y"}));
    // What is not ignored is corrected, and leaves the ignored field alone.
    world.fake.edit(&path("a"), "data.other", json!("by hand"));
    world
        .eventually("put back", |fake| {
            fake.get(&path("a")).unwrap()["data"]["other"] == "y"
        })
        .await;
    assert_eq!(key(&world.fake, "a"), "7");
    a_while().await;
    let told = brief(&world.told().await);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("drifted a .data.other"), "{told:?}");

    // Without the rule, Git's word counts again, for what was left as well.
    let digest = world.assign("shop", &[map("2", "y")]);
    world.synced("shop", digest).await;
    world
        .eventually("as in Git", |fake| key(fake, "a") == "2")
        .await;
}

#[tokio::test(start_paused = true)]
async fn only_objects_that_a_rule_speaks_of_are_read_before_they_are_applied() {
    let mut world = World::new();
    let rule = IgnoreRule {
        name: "a".into(),
        field_managers: vec!["kubectl-edit".into()],
        ..IgnoreRule::default()
    };
    let objects = |value: &str| ["a", "b", "c"].map(|name| config_map(name, value));
    let digest = world.assign_with("shop", &objects("one"), ignoring(rule.clone()));
    world.start();
    world.synced("shop", digest).await;
    for name in ["a", "b"] {
        world.fake.edit(&path(name), "data.key", json!("by hand"));
    }
    a_while().await;
    assert_eq!(key(&world.fake, "a"), "by hand");
    assert_eq!(key(&world.fake, "b"), "one");
    world.fake.log();
    let digest = world.assign_with("shop", &objects("two"), ignoring(rule));
    world.synced("shop", digest).await;
    assert_eq!(key(&world.fake, "a"), "by hand");
    assert_eq!(key(&world.fake, "b"), "two");
    let log = world.fake.log();
    let reads: Vec<_> = log
        .iter()
        .filter(|line| line.starts_with("GET /api/v1/namespaces/shop/"))
        .collect();
    assert_eq!(reads.len(), 1, "{log:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_fight_never_spins_and_ends_with_peace() {
    let mut world = World::new();
    let digest = world.assign("shop", &[config_map("a", "one"), config_map("b", "one")]);
    world.start();
    world.synced("shop", digest).await;
    world.fake.log();
    // For hours, somebody changes it back the moment that it is put right.
    let begin = Instant::now();
    let mut hours = Vec::new();
    for hour in 1..=3 {
        let mut rounds = 0;
        while begin.elapsed() < Duration::from_secs(3_600 * hour) {
            if key(&world.fake, "a") == "one" {
                world
                    .fake
                    .edit(&path("a"), "data.key", json!(format!("mine {rounds}")));
                rounds += 1;
            }
            sleep(Duration::from_millis(20)).await;
        }
        hours.push(rounds);
    }
    let log = world.fake.log();
    assert!(
        hours[0] >= 4 && hours[0] <= 25,
        "corrections by the hour: {hours:?}"
    );
    assert!(
        hours[1] <= 16 && hours[2] <= 16,
        "corrections by the hour: {hours:?}"
    );
    assert!(log.len() < 300, "{} requests in three hours", log.len());
    let report = world.until("shop", |r| r.drifted == 1).await;
    assert_eq!(report.sync(), Sync::OutOfSync);
    let words = &report.problems[0].message;
    assert!(
        words.contains("kubectl-edit changed .data.key again, after"),
        "{words}"
    );

    // Peace comes from the other side, and is seen at once.
    let before = Instant::now();
    world.fake.edit(&path("a"), "data.key", json!("one"));
    world.synced("shop", digest).await;
    assert!(
        before.elapsed() < Duration::from_secs(120),
        "{:?}",
        before.elapsed()
    );
    let told = brief(&world.told().await);
    let (drifted, corrected): (Vec<_>, Vec<_>) =
        told.iter().partition(|t| t.starts_with("drifted"));
    assert_eq!(drifted.len(), corrected.len());
    assert!(
        told.len() <= 2 * hours.iter().sum::<usize>(),
        "{} events",
        told.len()
    );
    assert_eq!(
        told.last().unwrap(),
        "corrected a .data.key kubectl-edit put back by somebody else"
    );
    // Long after it, one change is put back at once.
    sleep(Duration::from_secs(3_600)).await;
    world.fake.edit(&path("a"), "data.key", json!("once"));
    let before = Instant::now();
    world
        .eventually("put back", |fake| key(fake, "a") == "one")
        .await;
    assert!(before.elapsed() < Duration::from_secs(1));
}
