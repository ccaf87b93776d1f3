//! Status becomes true when what is asked of it changes, not with the next
//! event.

use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::{ApplyOptions, HealthRule};

use super::world::{World, config_map};

fn options(rules: &[(&str, &str, &str)]) -> ApplyOptions {
    let rule = |(group, kind, healthy): &(&str, &str, &str)| HealthRule {
        group: (*group).into(),
        kind: (*kind).into(),
        healthy: (*healthy).into(),
        ..HealthRule::default()
    };
    ApplyOptions {
        health: rules.iter().map(rule).collect(),
        ..World::options()
    }
}

#[tokio::test(start_paused = true)]
async fn new_rules_judge_what_is_there_without_an_event() {
    let mut world = World::new();
    let objects = [config_map("a", "one"), config_map("b", "two")];
    let digest = world.assign_with("shop", &objects, options(&[]));
    world.start();
    let report = world.synced("shop", digest).await;
    assert_eq!(report.health(), Health::Healthy);
    world.fake.log();

    let strict = options(&[("", "ConfigMap", "object.data.key == 'one'")]);
    world.assign_with("shop", &objects, strict.clone());
    let report = world
        .until("shop", |r| {
            r.health() == Health::Progressing && r.problems.len() == 1
        })
        .await;
    let problem = &report.problems[0];
    assert_eq!(problem.object, "v1 ConfigMap shop/b");
    assert!(
        problem
            .message
            .contains("the assignment's rule for ConfigMap"),
        "{problem:?}"
    );
    let sent = world.fake.log();
    assert!(
        !sent
            .iter()
            .any(|line| line.starts_with("PATCH") && line.contains("force=true")),
        "nothing was to be applied: {sent:#?}"
    );

    // Events are judged by them too.
    let fixed = [config_map("a", "one"), config_map("b", "one")];
    world.assign_with("shop", &fixed, strict.clone());
    world.until("shop", |r| r.health() == Health::Healthy).await;
    world.assign_with("shop", &objects, strict);
    world.until("shop", |r| r.problems.len() == 1).await;

    // Another assignment's rules are its own.
    let other = [config_map("c", "three")];
    let digest = world.assign("other", &other);
    let report = world.synced("other", digest).await;
    assert_eq!(report.health(), Health::Healthy);

    // A restart does not forget them, and taking them away ends them.
    world.start();
    world
        .until("shop", |r| {
            r.health() == Health::Progressing && r.problems.len() == 1
        })
        .await;
    world.assign_with("shop", &objects, options(&[]));
    world
        .until("shop", |r| {
            r.health() == Health::Healthy && r.problems.is_empty()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_makes_no_sense_is_unknown_and_stops_nothing() {
    let mut world = World::new();
    let rules = [("", "ConfigMap", "object.data.key > 1")];
    let digest = world.assign_with("shop", &[config_map("a", "x")], options(&rules));
    world.start();
    let report = world.synced("shop", digest).await;
    let report = match report.health() {
        Health::Unknown => report,
        _ => world.until("shop", |r| r.health() == Health::Unknown).await,
    };
    assert!(
        report.problems[0]
            .message
            .starts_with("spec.sync.health of ConfigMap: healthy: "),
        "{report:?}"
    );
}
