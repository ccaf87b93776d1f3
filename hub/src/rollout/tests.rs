//! The driver at work on a real fleet and store, with a Git that tests hold.

mod dependencies;
mod orders;
pub mod world;

use world::{assignment, labelled, manifest, world};

#[tokio::test]
async fn a_commit_reaches_every_cluster_by_one_render() {
    let world = world().await;
    world.settled().await;
    let before = world.rows("shop")[0].digest;
    let revision = world.git.commit("deploy", &manifest("two"));
    world.pushed("shop");
    world
        .until("at the new revision", |world| world.revision() == revision)
        .await;
    world.settled().await;
    let rows = world.rows("shop");
    assert!(
        rows.iter()
            .all(|row| row.digest != before && *row.revision == *revision)
    );
    assert_eq!(world.git.reads(), 2);
}

#[tokio::test]
async fn a_commit_beside_the_path_renders_nothing_and_touches_no_cluster() {
    let world = world().await;
    world.settled().await;
    let (version, rows) = (world.version("eu-1"), world.rows("shop"));
    let revision = world.git.commit("docs", "elsewhere");
    world.pushed("shop");
    world
        .until("at the new revision", |world| world.revision() == revision)
        .await;
    let state = world.fleet.assignment_state("shop").unwrap();
    assert_eq!(state.commit.unwrap().subject, "commit 2");
    assert_eq!((world.version("eu-1"), world.rows("shop")), (version, rows));
    assert_eq!(world.git.reads(), 1);
}

#[tokio::test]
async fn what_does_not_render_changes_no_cluster_and_says_why() {
    let world = world().await;
    world.settled().await;
    let (revision, rows) = (world.revision(), world.rows("shop"));
    let twice = format!("{}---\n{}", manifest("x"), manifest("x"));
    for (story, content, words) in [
        ("broken", "kind: [", "all.yaml"),
        ("empty", "", ""),
        ("the same object twice", &twice, "all.yaml"),
    ] {
        world.git.commit("deploy", content);
        let before = world.message();
        world.pushed("shop");
        world
            .until(story, |world| {
                !world.message().is_empty() && world.message() != before
            })
            .await;
        assert!(world.message().contains(words), "{}", world.message());
        assert!(
            world.message().contains(&revision[..7]),
            "{}",
            world.message()
        );
        assert_eq!(
            (world.revision(), world.rows("shop")),
            (revision.clone(), rows.clone())
        );
    }
    world.git.commit("deploy", &manifest("fixed"));
    world.pushed("shop");
    world
        .until("well again", |world| world.message().is_empty())
        .await;
    world.settled().await;
}

#[tokio::test]
async fn a_failure_is_tried_again_without_anybody_asking() {
    let world = world().await;
    world.settled().await;
    world.git.down(true);
    world.pushed("shop");
    world
        .until("failing", |world| {
            world.message().contains("repository \"shop\"")
        })
        .await;
    assert_eq!(world.told("shop"), "eu-1 set, eu-2 set");
    world.git.down(false);
    world
        .until("well again", |world| world.message().is_empty())
        .await;
}

#[tokio::test]
async fn a_cluster_that_leaves_is_told_to_remove_and_one_that_returns_gets_it_back() {
    let world = world().await;
    world.settled().await;
    world.apply(vec![labelled("eu-2", "test")]).await;
    world
        .until("gone", |world| {
            world.told("shop") == "eu-1 set, eu-2 tombstone"
        })
        .await;
    world.apply(vec![labelled("eu-2", "prod")]).await;
    world
        .until("back", |world| world.told("shop") == "eu-1 set, eu-2 set")
        .await;
    // Also while Git is away: both are a person's decision.
    world.git.down(true);
    world.apply(vec![labelled("eu-2", "test")]).await;
    world
        .until("gone", |world| {
            world.told("shop") == "eu-1 set, eu-2 tombstone"
        })
        .await;
    world.apply(vec![labelled("eu-2", "prod")]).await;
    world
        .until("back", |world| world.told("shop") == "eu-1 set, eu-2 set")
        .await;
    assert_eq!(world.git.reads(), 1);
}

#[tokio::test]
async fn a_spec_that_cannot_be_released_leaves_what_runs() {
    let world = world().await;
    world.settled().await;
    let rows = world.rows("shop");
    world
        .apply(vec![
            assignment("shop", "nowhere"),
            labelled("eu-3", "prod"),
        ])
        .await;
    world
        .until("refused", |world| !world.message().is_empty())
        .await;
    assert_eq!(
        world.rows("shop"),
        rows,
        "nobody gets the old path under the new spec"
    );
}

#[tokio::test]
async fn one_tree_is_rendered_once_for_all_assignments_and_restarts() {
    let world = world().await;
    world.settled().await;
    world.git.commit("copy", &manifest("one"));
    world.apply(vec![assignment("copy", "copy")]).await;
    world
        .until("released", |world| world.rows("copy").len() == 2)
        .await;
    assert_eq!(world.rows("copy")[0].digest, world.rows("shop")[0].digest);

    let again = world.restart().await;
    again.apply(vec![assignment("third", "deploy")]).await;
    again
        .until("released", |world| world.rows("third").len() == 2)
        .await;
    assert_eq!(again.git.reads(), 1);
}

#[tokio::test]
async fn assignments_of_one_tree_that_come_together_render_it_once() {
    let world = world().await;
    world.settled().await;
    let gate = world.git.hold();
    let names: Vec<String> = (0..8).map(|i| format!("copy-{i}")).collect();
    for name in &names {
        world.git.commit(name, &manifest("the same"));
    }
    let copies = names.iter().map(|name| assignment(name, name)).collect();
    world.apply(copies).await;
    while world.git.reads() < 2 {
        world.git.0.reading.notified().await;
    }
    world.git.release(&gate);
    for name in &names {
        world
            .until("released", |world| world.rows(name).len() == 2)
            .await;
    }
    assert_eq!(world.git.reads(), 2);
}

#[tokio::test]
async fn a_newer_commit_overtakes_a_render() {
    let world = world().await;
    world.settled().await;
    let before = world.rows("shop");
    let gate = world.git.hold();
    world.git.commit("deploy", &manifest("slow"));
    world.pushed("shop");
    while world.git.reads() < 2 {
        world.git.0.reading.notified().await;
    }
    let newest = world.git.commit("deploy", &manifest("newest"));
    world.pushed("shop");
    assert_eq!(
        world.rows("shop"),
        before,
        "nothing is released while it renders"
    );
    world.git.release(&gate);
    world
        .until("at the newest", |world| world.revision() == newest)
        .await;
    world.settled().await;
    // One version more than before: the slow one was never told to anybody.
    assert_eq!(world.version("eu-1"), before[0].version + 1);
}

#[tokio::test]
async fn one_that_takes_long_holds_up_no_other_and_never_runs_twice() {
    let world = world().await;
    world.settled().await;
    let gate = world.git.hold();
    world.git.commit("deploy", &manifest("slow"));
    for _ in 0..5 {
        world.pushed("shop");
    }
    while world.git.reads() < 2 {
        world.git.0.reading.notified().await;
    }
    *world.git.0.gate.lock() = None;
    world.git.commit("other", &manifest("quick"));
    world.apply(vec![assignment("other", "other")]).await;
    world
        .until("released", |world| world.rows("other").len() == 2)
        .await;
    for _ in 0..5 {
        world.pushed("shop");
    }
    gate.notify_one();
    world.settled().await;
    assert_eq!(world.git.reads(), 3);
}

#[tokio::test]
async fn a_missing_assignment_takes_nothing_away() {
    let world = world().await;
    world.settled().await;
    world.pushed("never-heard-of");
    world.git.commit("deploy", &manifest("two"));
    world.pushed("shop");
    world.settled().await;
    assert_eq!(world.told("shop"), "eu-1 set, eu-2 set");
}
