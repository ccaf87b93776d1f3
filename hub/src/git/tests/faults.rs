//! What goes wrong at a remote: it is said, it ends, and nothing else notices.

use std::fs;
use std::time::Duration;

use lockstep_fixtures::{Fault, GitServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::world::{PASSWORD, World, at_url, branch, commit, short, spec};
use crate::git::Limits;
use lockstep_proto::v1;

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_in_trouble_says_so_changes_nothing_and_disturbs_nobody() {
    let server = GitServer::start().await.unwrap();
    let (bad, good) = (
        server.repository("bad").await.unwrap(),
        server.repository("good").await.unwrap(),
    );
    let first = bad.commit("One", &[("a", "1")]).await.unwrap();
    let mut other = good.commit("One", &[("a", "1")]).await.unwrap();
    let world = World::new(short()).await;
    let main = branch("main");
    for (name, repo) in [("bad", &bad), ("good", &good)] {
        world.follow(name, &main);
        world.apply(name, spec(repo));
    }
    world.at("bad", &first).await;
    world.at("good", &other).await;
    let mut latest = first;
    for (fault, part) in [
        (
            Fault::Status(500),
            "answered 500: the server has a problem of its own",
        ),
        (Fault::Status(403), "answered 403: access is refused"),
        (
            Fault::Status(404),
            "answered 404: there is no such repository",
        ),
        (Fault::Status(429), "answered 429: it is asked too often"),
        (Fault::Hang, "did not answer for"),
        (
            Fault::Html,
            "does not answer as a Git server at this address (it sent text/html)",
        ),
        (Fault::Truncate(100), "broke off its answer"),
    ] {
        let before = latest;
        let content = format!("{fault:?}");
        latest = bad.commit("More", &[("a", &content)]).await.unwrap();
        server.fault("bad", Some(fault));
        world.wake("bad");
        let status = world.says("bad", part).await;
        assert_eq!(status.head[0].revision, before, "{fault:?}");
        assert!(
            status.message.contains("; the next attempt is in "),
            "{}",
            status.message
        );
        assert_eq!(
            world
                .resolve("bad", &main, "")
                .await
                .unwrap()
                .revision
                .as_str(),
            before
        );
        other = good.commit("More", &[("a", &content)]).await.unwrap();
        world.wake("good");
        world.at("good", &other).await;
        server.fault("bad", None);
        // Nobody asks: it comes back by itself.
        world.at("bad", &latest).await;
        assert_eq!(
            world.files("bad", &main, "").await.unwrap(),
            [format!("a={content}")]
        );
    }
    assert!(!other.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_vanishes_comes_back() {
    let mut server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("a", "1")]).await.unwrap();
    let world = World::new(short()).await;
    world.follow("shop", &branch("main"));
    world.apply("shop", spec(&repo));
    world.at("shop", &first).await;
    server.vanish().await;
    world.wake("shop");
    world.says("shop", "the connection was refused").await;
    server.listen().await.unwrap();
    world.at("shop", &first).await;
    world.apply("lost", at_url("https://no-such-host.invalid/shop.git"));
    world
        .says(
            "lost",
            "cannot reach no-such-host.invalid: its name is not known",
        )
        .await;
    let tls = spec(&repo).url.replace("http://", "https://");
    world.apply("tls", at_url(&tls));
    world
        .says("tls", "it does not speak TLS on this port")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_is_bounded_in_bytes_and_in_time() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let noise: String = (0..40_000u32)
        .map(|i| format!("{:08x}", i.wrapping_mul(2_654_435_761)))
        .collect();
    repo.commit("Big", &[("noise", &noise)]).await.unwrap();
    let limits = Limits {
        fetch_bytes: 50_000,
        ..short()
    };
    let world = World::new(limits).await;
    world.follow("shop", &branch("main"));
    world.apply("shop", spec(&repo));
    world
        .says(
            "shop",
            "the fetch brought more than 50000 bytes and was given up",
        )
        .await;

    let limits = Limits {
        fetch_time: Duration::from_secs(2),
        ..Limits::default()
    };
    let world = World::new(limits).await;
    world.follow("shop", &branch("main"));
    server.fault("shop", Some(Fault::Slow(4000)));
    world.apply("shop", spec(&repo));
    world
        .says("shop", "the server took longer than 2s and was given up")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_commit_moves_no_head() {
    for kind in ["blob", "tree", "commit"] {
        let server = GitServer::start().await.unwrap();
        let repo = server.repository("shop").await.unwrap();
        let first = repo.commit("One", &[("d/a", "1")]).await.unwrap();
        let world = World::new(short()).await;
        let main = branch("main");
        world.follow("shop", &main);
        world.apply("shop", spec(&repo));
        world.at("shop", &first).await;
        let second = repo.commit("Two", &[("d/a", "2")]).await.unwrap();
        let what = match kind {
            "blob" => "HEAD:d/a",
            "tree" => "HEAD:d",
            _ => "HEAD",
        };
        let id = repo.git(&["rev-parse", what]).await.unwrap();
        let object = repo.bare().join("objects").join(&id[..2]).join(&id[2..]);
        let content = fs::read(&object).unwrap();
        fs::remove_file(&object).unwrap();
        world.wake("shop");
        let status = world
            .until("shop", |status| !status.message.is_empty())
            .await;
        assert_eq!(
            world.files("shop", &main, "d").await.unwrap(),
            ["a=1"],
            "{kind}: {}",
            status.message
        );
        fs::write(&object, content).unwrap();
        world.at("shop", &second).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_branch_does_not_hold_up_another_one() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let nowhere = "1".repeat(40);
    repo.commit("One", &[("a", "1")]).await.unwrap();
    repo.switch("broken").await.unwrap();
    repo.commit("Broken", &[("a", "broken")]).await.unwrap();
    let id = repo.git(&["rev-parse", "HEAD:a"]).await.unwrap();
    fs::remove_file(repo.bare().join("objects").join(&id[..2]).join(&id[2..])).unwrap();
    repo.switch("main").await.unwrap();
    let second = repo.commit("Two", &[("a", "2")]).await.unwrap();
    let world = World::new(short()).await;
    for r in [branch("broken"), branch("main"), commit(&nowhere)] {
        world.follow("shop", &r);
    }
    world.apply("shop", spec(&repo));
    let status = world.says("shop", "branch broken: ").await;
    assert!(
        status
            .message
            .contains(&format!("commit {nowhere} does not exist")),
        "{}",
        status.message
    );
    let main = world.resolve("shop", &branch("main"), "").await.unwrap();
    assert_eq!(main.revision.as_str(), second);
}

/// Answers every request with the same head and notes what it was sent.
async fn answering(head: String) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            let _ = sender.send(String::from_utf8_lossy(&buffer[..read]).into_owned());
            let _ = stream.write_all(head.as_bytes()).await;
        }
    });
    (address, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_a_few_times_and_without_the_password() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("a", "1")]).await.unwrap();
    let redirect = |to: &str| {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    let world = World::new(short()).await;
    world.follow("shop", &branch("main"));
    let (moved, _) = answering(redirect(&format!(
        "{}/info/refs?service=git-upload-pack",
        repo.url()
    )))
    .await;
    world.apply("shop", at_url(&format!("http://{moved}/old.git")));
    world.at("shop", &first).await;

    let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (thief, mut stolen) = answering(refused.into()).await;
    let (own, mut asked) = answering(redirect(&format!(
        "http://{thief}/x/info/refs?service=git-upload-pack"
    )))
    .await;
    let login = v1::RepositorySpec {
        credential: "shop-git".into(),
        ..at_url(&format!("http://{own}/x"))
    };
    world.apply("thief", login);
    let status = world
        .says("thief", "credentials go only to the host in spec.url")
        .await;
    assert!(!status.message.contains(PASSWORD));
    assert!(
        asked
            .recv()
            .await
            .unwrap()
            .to_lowercase()
            .contains("authorization: basic")
    );
    assert!(
        !stolen
            .recv()
            .await
            .unwrap()
            .to_lowercase()
            .contains("authorization")
    );

    let (around, _) = answering(redirect("/again/info/refs?service=git-upload-pack")).await;
    world.apply("around", at_url(&format!("http://{around}/x")));
    world.says("around", "redirects more than 3 times").await;
    let (page, _) = answering(redirect("ftp://example.com/")).await;
    world.apply("page", at_url(&format!("http://{page}/x")));
    world
        .says("page", "redirects to what is not a web address")
        .await;
}
