//! The mirror on the hub's disk: crashes, damage, and not growing for ever.

use std::fs;
use std::path::{Path, PathBuf};

use lockstep_fixtures::GitServer;

use super::world::{World, branch, short, spec};
use crate::git::Limits;

/// What may happen to the folder of mirrors.
type Damage = fn(&Path);

fn packs(dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join("shop/objects/pack");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "pack"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_disk_while_the_remote_is_away() {
    let mut server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("a", "1")]).await.unwrap();
    let mut world = World::new(short()).await;
    let main = branch("main");
    world.follow("shop", &main);
    world.apply("shop", spec(&repo));
    world.at("shop", &first).await;
    world.marked().await;
    server.vanish().await;
    world.restart(|_| {}).await;
    // Assignments are told even though the remote says nothing.
    assert!(world.marked().await.contains("branch main"));
    assert_eq!(world.files("shop", &main, "").await.unwrap(), ["a=1"]);
    let status = world.says("shop", "cannot reach").await;
    assert_eq!(status.head[0].revision, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_or_a_bad_disk_leaves_is_fetched_again() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo
        .commit("One", &[("d/a", "1"), ("d/b", "2")])
        .await
        .unwrap();
    let mut world = World::new(short()).await;
    let main = branch("main");
    world.follow("shop", &main);
    world.apply("shop", spec(&repo));
    world.at("shop", &first).await;
    let damages: [(&str, Damage); 7] = [
        ("a fetch cut off", |dir| {
            fs::write(dir.join("shop/objects/pack/pack_git2_abc"), "half").unwrap();
            fs::write(dir.join("shop/objects/pack/pack-00.pack"), "half").unwrap();
        }),
        ("a pack cut off", |dir| {
            let pack = packs(dir).remove(0);
            let content = fs::read(&pack).unwrap();
            fs::remove_file(&pack).unwrap();
            fs::write(&pack, &content[..content.len() / 2]).unwrap();
        }),
        ("a pack gone", |dir| {
            fs::remove_file(packs(dir).remove(0)).unwrap();
        }),
        ("a list cut off", |dir| {
            let list = dir.join("shop/heads");
            let text = fs::read_to_string(&list).unwrap();
            fs::write(&list, &text[..text.len() - 30]).unwrap();
        }),
        ("a list of rubbish", |dir| {
            fs::write(dir.join("shop/heads"), [0xff, 0xfe]).unwrap();
        }),
        ("no configuration", |dir| {
            fs::remove_file(dir.join("shop/HEAD")).unwrap();
            fs::remove_dir_all(dir.join("shop/objects")).unwrap();
        }),
        ("no mirror", |dir| {
            fs::remove_dir_all(dir.join("shop")).unwrap();
        }),
    ];
    for (what, damage) in damages {
        world.restart(damage).await;
        world.look("shop").await;
        world.at("shop", &first).await;
        assert_eq!(
            world.files("shop", &main, "d").await.unwrap(),
            ["a=1", "b=2"],
            "{what}"
        );
        assert!(
            !world
                .dir
                .path()
                .join("shop/objects/pack/pack_git2_abc")
                .exists()
                || what != "a fetch cut off"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_read_finds_is_mended() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let first = repo.commit("One", &[("a", "1")]).await.unwrap();
    let world = World::new(Limits::default()).await;
    let main = branch("main");
    world.follow("shop", &main);
    world.apply("shop", spec(&repo));
    world.at("shop", &first).await;
    world.marked().await;
    for pack in packs(world.dir.path()) {
        let mut content = fs::read(&pack).unwrap();
        content[12..].fill(0);
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, content).unwrap();
    }
    let error = world
        .files("shop", &main, "")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is damaged and is being fetched again"),
        "{error}"
    );
    while world.files("shop", &main, "").await != Ok(vec!["a=1".to_owned()]) {
        world.marked().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_fetches_do_not_pile_up() {
    let server = GitServer::start().await.unwrap();
    let repo = server.repository("shop").await.unwrap();
    let world = World::new(Limits::default()).await;
    let main = branch("main");
    world.follow("shop", &main);
    let mut last = repo.commit("0", &[("a", "0"), ("d/b", "x")]).await.unwrap();
    world.apply("shop", spec(&repo));
    world.at("shop", &last).await;
    let mut most = 0;
    for i in 1..=54 {
        let (text, subject) = (i.to_string(), i.to_string());
        last = repo.commit(&subject, &[("a", &text)]).await.unwrap();
        world.wake("shop");
        world.at("shop", &last).await;
        most = most.max(packs(world.dir.path()).len());
    }
    assert!(most > 40, "{most}");
    assert!(
        packs(world.dir.path()).len() < 10,
        "{}",
        packs(world.dir.path()).len()
    );
    assert_eq!(
        world.files("shop", &main, "").await.unwrap(),
        ["a=54", "d/b=x"]
    );
}
