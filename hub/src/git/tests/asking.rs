//! What people ask for beside what is followed.

use std::time::Duration;

use lockstep_fixtures::{GitServer, GitServerOptions};

use super::world::{World, at_url, branch, short, spec};
use crate::git::{GitError, Limits};

#[tokio::test(flavor = "multi_thread")]
async fn any_commit_branch_or_tag_is_fetched_when_it_is_asked_for() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("a/x", "1")]).await.unwrap();
    let second = repo.commit("Two", &[("a/x", "2")]).await.unwrap();
    repo.tag("v1").await.unwrap();
    let third = repo.commit("Three", &[("a/x", "3")]).await.unwrap();
    let world = World::new(Limits::default()).await;
    world.follow("shop", &branch("main"));
    world.apply("shop", spec(&repo));
    world.at("shop", &third).await;
    for (text, revision) in [
        (first.as_str(), &first),
        // Held now, so that fewer digits are enough.
        (&first[..7], &first),
        ("v1", &second),
        ("main", &third),
        (&third[..10], &third),
    ] {
        let resolved = world.git.resolve_any("shop", text, "a").await.unwrap();
        assert_eq!(resolved.revision.as_str(), revision, "{text}");
        let tree = world.git.read_tree("shop", &resolved.tree, |_| true).await;
        assert_eq!(tree.unwrap().files.len(), 1);
    }
    for (text, words) in [
        ("0".repeat(40).as_str(), "does not exist"),
        (
            "nothing",
            "\"nothing\" is neither a branch, a tag nor a commit",
        ),
        ("0000000", "give all 40 digits"),
        ("../../etc", "is neither a branch, a tag nor a commit"),
    ] {
        let error = world.git.resolve_any("shop", text, "a").await.unwrap_err();
        assert!(matches!(error, GitError::NoSuchRef { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // None of it is what the repository is followed by.
    let status = world.look("shop").await;
    assert_eq!((status.head.len(), status.message.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_only_history_holds_is_found_at_a_server_that_gives_no_other() {
    let options = GitServerOptions {
        old_protocol: true,
        ..GitServerOptions::default()
    };
    let server = GitServer::start_with(options).await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("x", "1")]).await.unwrap();
    let second = repo.commit("Two", &[("x", "2")]).await.unwrap();
    let world = World::new(Limits::default()).await;
    world.follow("shop", &branch("main"));
    world.apply("shop", spec(&repo));
    world.at("shop", &second).await;
    let resolved = world.git.resolve_any("shop", &first, "").await.unwrap();
    assert_eq!(resolved.revision.as_str(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_somebody_waits_for_sees_what_was_pushed_before_it() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("x", "1")]).await.unwrap();
    let world = World::new(Limits::default()).await;
    let main = branch("main");
    world.follow("shop", &main);
    world.apply("shop", spec(&repo));
    world.at("shop", &first).await;
    for content in ["2", "3", "4"] {
        let pushed = repo.commit("Next", &[("x", content)]).await.unwrap();
        world.git.look_now("shop").await.unwrap();
        let resolved = world.resolve("shop", &main, "").await.unwrap();
        assert_eq!(resolved.revision.as_str(), pushed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_is_away_is_said_to_be() {
    let world = World::new(short()).await;
    world.follow("shop", &branch("main"));
    world.apply("shop", at_url("http://127.0.0.1:1/shop.git"));
    let waiting = tokio::time::timeout(Duration::from_secs(20), world.git.look_now("shop"));
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, GitError::Unreachable { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("cannot look at repository \"shop\" now"),
        "{error}"
    );
}
