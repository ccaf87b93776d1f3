//! Folders as renderers get them: links, hidden names, bounds.

use lockstep_fixtures::{GitRepository, GitServer};

use super::world::{World, branch, spec};
use crate::git::{Limits, TreeLimits};

/// A repository that `fill` wrote, followed.
async fn filled(limits: TreeLimits, fill: impl FnOnce(&GitRepository)) -> (GitServer, World) {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    fill(&repo);
    let head = repo.commit_all("One").await.unwrap();
    let limits = Limits {
        tree: limits,
        ..Limits::default()
    };
    let world = World::new(limits).await;
    world.follow("shop", &branch("main"));
    world.apply("shop", spec(&repo));
    world.at("shop", &head).await;
    (server, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_within_the_folder() {
    let (_server, world) = filled(TreeLimits::default(), |repo| {
        repo.write("deploy/base/a.yaml", b"a").unwrap();
        repo.write("deploy/.hidden/b.yaml", b"b").unwrap();
        repo.write("deploy/.hidden.yaml", b"b").unwrap();
        repo.symlink("deploy/file.yaml", "base/a.yaml").unwrap();
        repo.symlink("deploy/sub/up.yaml", "../base/./a.yaml")
            .unwrap();
        repo.symlink("deploy/folder", "./base/").unwrap();
        repo.symlink("deploy/chain.yaml", "folder/a.yaml").unwrap();
        repo.symlink("deploy/to-hidden.yaml", ".hidden/b.yaml")
            .unwrap();
        repo.symlink("deploy/.out", "../../../etc/passwd").unwrap();
    })
    .await;
    let files = world
        .files("shop", &branch("main"), "deploy")
        .await
        .unwrap();
    assert_eq!(
        files,
        [
            "base/a.yaml=a",
            "chain.yaml=a",
            "file.yaml=a",
            "folder/a.yaml=a",
            "sub/up.yaml=a",
            "to-hidden.yaml=b"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_lead_astray_are_named() {
    for (target, want) in [
        (
            "../../secret.yaml",
            "d/l.yaml: a symbolic link to \"../../secret.yaml\", outside of the assignment's folder",
        ),
        (
            "/etc/passwd",
            "d/l.yaml: a symbolic link to \"/etc/passwd\", outside",
        ),
        (
            "../../deploy/d/a.yaml",
            "outside of the assignment's folder",
        ),
        ("d2/../../x", "which does not exist"),
        ("../d/../../x", "outside of"),
        (
            "nothing.yaml",
            "d/l.yaml: a symbolic link to \"nothing.yaml\", which does not exist",
        ),
        ("a.yaml/b", "which does not exist"),
        ("l.yaml", "leads back to itself"),
        (".", "leads back to itself"),
        ("..", "a symbolic link to its own folder"),
    ] {
        let (_server, world) = filled(TreeLimits::default(), |repo| {
            repo.write("secret.yaml", b"secret").unwrap();
            repo.write("deploy/d/a.yaml", b"a").unwrap();
            repo.symlink("deploy/d/l.yaml", target).unwrap();
        })
        .await;
        let error = world
            .files("shop", &branch("main"), "deploy")
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(want), "{target}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_bounded() {
    let limits = TreeLimits {
        entries: 10,
        depth: 3,
        file: 1000,
        total: 2500,
    };
    let (_server, world) = filled(limits, |repo| {
        for i in 0..12 {
            repo.write(&format!("many/{i}"), b"x").unwrap();
        }
        repo.write("deep/1/2/3/4/5", b"x").unwrap();
        repo.write("big/ok", &[b'x'; 1000]).unwrap();
        repo.write("bigger/x", &[b'x'; 1001]).unwrap();
        for i in 0..3 {
            repo.write(&format!("total/{i}"), &[b'x'; 900]).unwrap();
        }
    })
    .await;
    let main = branch("main");
    for (path, want) in [
        ("many", "more than 10 files"),
        ("deep", "1/2/3/4: more than 3 folders deep"),
        ("bigger", "x: 1001 bytes; a file may have 1000"),
        (
            "total",
            "2: the files of the folder have more than 2500 bytes",
        ),
    ] {
        let error = world
            .files("shop", &main, path)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(want), "{error}");
    }
    assert_eq!(world.files("shop", &main, "big").await.unwrap().len(), 1);
    // What no renderer wants is not looked into.
    let tree = world.resolve("shop", &main, "bigger").await.unwrap().tree;
    let none = world.git.read_tree("shop", &tree, |_| false).await.unwrap();
    assert!(none.files.is_empty());
    let gone = world
        .git
        .read_tree("shop", &"1".repeat(40), |_| true)
        .await
        .unwrap_err();
    assert!(gone.to_string().contains("has been overtaken"), "{gone}");
}
