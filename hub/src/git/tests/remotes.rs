//! What goes well: refs of all kinds, over all ways to a repository.

use lockstep_fixtures::{GitAccess, GitServer, GitServerOptions};
use lockstep_proto::v1;

use super::world::{PASSWORD, World, at_url, branch, commit, short, spec, tag};
use crate::git::{GitError, Limits};

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_followed_and_fetched_only_when_it_moves() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo
        .commit("One\n\nbody", &[("deploy/a.yaml", "1"), ("b.txt", "2")])
        .await
        .unwrap();
    let world = World::new(Limits::default()).await;
    let main = branch("main");
    world.follow("shop", &main);
    world.apply("shop", spec(&repo));
    let status = world.at("shop", &first).await;
    assert_eq!(status.head[0].r#ref, "branch main");
    assert!(status.last_fetched.is_some());
    assert!(world.marked().await.contains("branch main"));

    let resolved = world.resolve("shop", &main, "deploy/").await.unwrap();
    assert_eq!(resolved.revision.as_str(), first);
    assert_eq!(resolved.commit.subject, "One");
    assert!(!resolved.commit.author.is_empty());
    assert_eq!(
        world.files("shop", &main, "./deploy").await.unwrap(),
        ["a.yaml=1"]
    );
    assert_eq!(
        world.files("shop", &main, ".").await.unwrap(),
        ["b.txt=2", "deploy/a.yaml=1"]
    );
    assert_eq!(world.files("shop", &main, "").await.unwrap().len(), 2);
    for (path, hint) in [
        ("nowhere", ""),
        ("b.txt", "it is a file"),
        ("deploy/../deploy", ""),
    ] {
        let error = world
            .resolve("shop", &main, path)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("{path:?} at {}", &first[..7])) && error.contains(hint),
            "{error}"
        );
    }

    // One look at an unchanged remote is one listing; a fetch is one request more.
    let before = server.counts("shop");
    world.look("shop").await;
    let after = server.counts("shop");
    assert_eq!(
        (
            after.refs - before.refs,
            after.upload_packs - before.upload_packs
        ),
        (0, 1)
    );
    let second = repo.commit("Two", &[("deploy/a.yaml", "3")]).await.unwrap();
    world.wake("shop");
    world.at("shop", &second).await;
    let last = server.counts("shop");
    assert_eq!(
        (
            last.refs - after.refs,
            last.upload_packs - after.upload_packs
        ),
        (0, 2)
    );
    assert_eq!(
        world.files("shop", &main, "deploy").await.unwrap(),
        ["a.yaml=3"]
    );
    assert!(world.marked().await.contains("branch main"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_commits_resolve_and_what_is_missing_is_said() {
    for old_protocol in [false, true] {
        let options = GitServerOptions {
            old_protocol,
            ..GitServerOptions::default()
        };
        let server = GitServer::start_with(options).await.unwrap();
        let repo = server.repository("shop").await.unwrap();
        let first = repo.commit("One", &[("a", "1")]).await.unwrap();
        repo.tag("v1").await.unwrap();
        repo.git(&["tag", "-a", "-m", "note", "v1-annotated"])
            .await
            .unwrap();
        repo.git(&["push", "origin", "--tags"]).await.unwrap();
        let second = repo.commit("Two", &[("a", "2")]).await.unwrap();
        let third = repo.commit("Three", &[("a", "3")]).await.unwrap();
        let world = World::new(Limits::default()).await;
        let nowhere = "1".repeat(40);
        for r in [
            tag("v1"),
            tag("v1-annotated"),
            commit(&second),
            branch("main"),
            branch("gone"),
            tag("gone"),
            commit(&nowhere),
            commit("1234567"),
            branch("no such\nname"),
        ] {
            world.follow("shop", &r);
        }
        world.apply("shop", spec(&repo));
        let status = world.says("shop", "does not exist").await;
        for (r, want) in [
            (tag("v1"), &first),
            (tag("v1-annotated"), &first),
            (commit(&second), &second),
            (branch("main"), &third),
        ] {
            let got = world.resolve("shop", &r, "").await.unwrap();
            assert_eq!(got.revision.as_str(), want, "old protocol: {old_protocol}");
        }
        assert_eq!(
            world.files("shop", &commit(&second), "").await.unwrap(),
            ["a=2"]
        );
        assert_eq!(status.head.len(), 4);
        for (r, want) in [
            (
                branch("gone"),
                "branch \"gone\" does not exist in repository \"shop\"",
            ),
            (tag("gone"), "tag \"gone\" does not exist in"),
            (commit(&nowhere), "does not exist in repository"),
            (
                commit("1234567"),
                "\"1234567\" is not a commit: give all 40",
            ),
            (branch("no such\nname"), "does not exist"),
        ] {
            let error = world.resolve("shop", &r, "").await.unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        let empty = world.resolve("shop", &v1::GitRef::default(), "").await;
        assert_eq!(empty, Err(GitError::EmptyRef));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_push_is_followed_and_a_branch_that_goes_is_missed() {
    for old_protocol in [false, true] {
        let options = GitServerOptions {
            old_protocol,
            ..GitServerOptions::default()
        };
        let server = GitServer::start_with(options).await.unwrap();
        let repo = server.repository("shop").await.unwrap();
        let first = repo.commit("One", &[("a", "1")]).await.unwrap();
        let second = repo.commit("Two", &[("a", "2")]).await.unwrap();
        let world = World::new(Limits::default()).await;
        let main = branch("main");
        world.follow("shop", &main);
        world.apply("shop", spec(&repo));
        world.at("shop", &second).await;
        // Back, and on from there: the server forgets what we have.
        repo.reset(&first).await.unwrap();
        let other = repo.commit("Other", &[("b", "3")]).await.unwrap();
        repo.git(&[
            "-C",
            repo.bare().to_str().unwrap(),
            "gc",
            "--prune=now",
            "--quiet",
        ])
        .await
        .unwrap();
        world.wake("shop");
        world.at("shop", &other).await;
        assert_eq!(
            world.files("shop", &main, "").await.unwrap(),
            ["a=1", "b=3"]
        );
        // Back to what was there before, with nothing to fetch.
        repo.reset(&first).await.unwrap();
        world.wake("shop");
        world.at("shop", &first).await;
        assert_eq!(world.files("shop", &main, "").await.unwrap(), ["a=1"]);

        repo.switch("next").await.unwrap();
        repo.commit("Next", &[("a", "9")]).await.unwrap();
        world.marked().await;
        repo.delete_ref("refs/heads/main").await.unwrap();
        world.wake("shop");
        let status = world.says("shop", "branch \"main\" does not exist").await;
        assert!(status.head.is_empty());
        assert!(world.marked().await.contains("branch main"));
        let error = world.resolve("shop", &main, "").await.unwrap_err();
        assert!(matches!(error, GitError::NoSuchRef { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_takes_a_private_authority_and_a_password() {
    let access = GitAccess {
        username: "me".into(),
        password: PASSWORD.into(),
    };
    let options = GitServerOptions {
        tls: true,
        access: Some(access),
        ..GitServerOptions::default()
    };
    let server = GitServer::start_with(options).await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("a", "1")]).await.unwrap();
    let world = World::new(short()).await;
    world.follow("shop", &branch("main"));
    world.apply("shop", spec(&repo));
    world
        .says(
            "shop",
            "signed by an unknown authority; put that authority's certificate into spec.caBundle",
        )
        .await;
    let trusted = v1::RepositorySpec {
        ca_bundle: server.ca().unwrap().into(),
        ..spec(&repo)
    };
    world.apply("shop", trusted.clone());
    world
        .says(
            "shop",
            "answered 401: it wants a login; name a credential in spec.credential",
        )
        .await;
    let login = v1::RepositorySpec {
        credential: "missing".into(),
        ..trusted.clone()
    };
    world.apply("shop", login);
    world
        .says("shop", "credential \"missing\" does not exist")
        .await;
    let login = v1::RepositorySpec {
        credential: "shop-git".into(),
        ..trusted.clone()
    };
    world.apply("shop", login.clone());
    world.at("shop", &first).await;
    world.apply(
        "shop",
        v1::RepositorySpec {
            ca_bundle: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            ..login
        },
    );
    world.says("shop", "spec.caBundle: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_and_never_shown() {
    let access = GitAccess {
        username: "me".into(),
        password: "other".into(),
    };
    let options = GitServerOptions {
        access: Some(access),
        ..GitServerOptions::default()
    };
    let server = GitServer::start_with(options).await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let world = World::new(short()).await;
    world.apply(
        "shop",
        v1::RepositorySpec {
            credential: "shop-git".into(),
            ..spec(&repo)
        },
    );
    let status = world
        .says("shop", "answered 401: check credential \"shop-git\"")
        .await;
    assert!(!status.message.contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_on_the_disk_is_a_remote_too() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo
        .commit("One", &[("a", "1"), ("d/b", "x")])
        .await
        .unwrap();
    repo.git(&["tag", "-a", "-m", "note", "v1"]).await.unwrap();
    repo.git(&["push", "origin", "--tags"]).await.unwrap();
    let second = repo.commit("Two", &[("a", "2")]).await.unwrap();
    let world = World::new(Limits::default()).await;
    for r in [branch("main"), tag("v1"), commit(&first)] {
        world.follow("shop", &r);
    }
    world.apply("shop", at_url(&format!("file://{}", repo.bare().display())));
    world
        .until("shop", |status| {
            status.head.len() == 3 && status.message.is_empty()
        })
        .await;
    for (r, want) in [
        (branch("main"), &second),
        (tag("v1"), &first),
        (commit(&first), &first),
    ] {
        assert_eq!(
            world
                .resolve("shop", &r, "")
                .await
                .unwrap()
                .revision
                .as_str(),
            want
        );
    }
    assert_eq!(
        world.files("shop", &tag("v1"), "").await.unwrap(),
        ["a=1", "d/b=x"]
    );
    world.follow("shop", &commit(&"2".repeat(40)));
    world.wake("shop");
    world.says("shop", "does not exist").await;
    world.apply("other", at_url("file:///no/such/folder"));
    world
        .says(
            "other",
            "cannot reach /no/such/folder: there is no such folder",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_come_go_and_change_their_address() {
    let server = GitServer::start().await.unwrap();
    let one = server.repository("one").await.unwrap();
    let two = server.repository("two").await.unwrap();
    let first = one.commit("One", &[("a", "1")]).await.unwrap();
    let second = two.commit("Two", &[("a", "2")]).await.unwrap();
    let world = World::new(Limits::default()).await;
    let main = branch("main");
    world.follow("shop", &main);
    world.apply("shop", spec(&one));
    world.at("shop", &first).await;
    world.apply("shop", spec(&two));
    world.at("shop", &second).await;
    assert_eq!(world.files("shop", &main, "").await.unwrap(), ["a=2"]);
    // A mirror of another remote is never shown as this one's.
    world.apply("shop", at_url(&server.url("none")));
    let status = world.says("shop", "answered 404").await;
    assert!(status.head.is_empty());
    let error = world.resolve("shop", &main, "").await.unwrap_err();
    assert!(matches!(error, GitError::NotFetched { .. }), "{error}");
    world.delete("shop");
    world.apply("shop", spec(&one));
    world.at("shop", &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_that_nobody_followed_before_is_fetched_when_it_is_asked_for() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("a", "1")]).await.unwrap();
    let world = World::new(Limits::default()).await;
    world.apply("shop", spec(&repo));
    world
        .until("shop", |status| status.last_fetched.is_some())
        .await;
    let main = branch("main");
    world.follow("shop", &main);
    let error = world.resolve("shop", &main, "").await.unwrap_err();
    assert!(matches!(error, GitError::NotFetched { .. }), "{error}");
    assert!(world.marked().await.contains("branch main"));
    assert_eq!(
        world
            .resolve("shop", &main, "")
            .await
            .unwrap()
            .revision
            .as_str(),
        first
    );
    world.unfollow("shop");
    world.look("shop").await;
    assert!(world.look("shop").await.head.is_empty());
}
