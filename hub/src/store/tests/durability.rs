//! What was acknowledged is there after a crash, and nothing is half there.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

fn check_integrity(path: &Path) {
    let conn = Connection::open(path).unwrap();
    let result: String = conn
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .unwrap();
    assert_eq!(result, "ok");
}

/// Not a test of its own: the part of the process that is killed below.
#[tokio::test]
async fn writes_until_killed() {
    let Ok(path) = std::env::var("LOCKSTEP_TEST_STORE") else {
        return;
    };
    let store = Store::open(path).unwrap();
    for number in 0.. {
        let writes = (0..4).map(|part| {
            let name = format!("g{number}-{part}");
            let row = resource(v1::kind::Name::ClusterGroup, &name);
            let store = store.clone();
            async move {
                store.write(move |tx| tx.put_resource(&row)).await.unwrap();
                println!("acknowledged {name}");
            }
        });
        futures::future::join_all(writes).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lockstep.db");
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "store::tests::durability::writes_until_killed",
                "--exact",
                "--nocapture",
            ])
            .env("LOCKSTEP_TEST_STORE", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged: Vec<String> = lines
            .map(|line| line.unwrap())
            .filter_map(|line| Some(line.split_once("acknowledged ")?.1.to_owned()))
            .take(30 * round)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(acknowledged.len(), 30 * round);
        let store = Store::open(&path).unwrap();
        let kept = store.resources().await.unwrap();
        for name in acknowledged {
            assert!(kept.iter().any(|row| row.name == name), "{name} was lost");
        }
        drop(store);
        check_integrity(&path);
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    put(&store, v1::kind::Name::ClusterGroup, "before").await;
    // As if the disk ended a few pages from here.
    store
        .write(|tx| {
            let pages: i64 = tx.0.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            tx.0.query_row(
                &format!("PRAGMA max_page_count = {}", pages + 2),
                [],
                |_| Ok(()),
            )?;
            Ok(())
        })
        .await
        .unwrap();
    let big = ResourceRow {
        body: vec![7; 1 << 20],
        ..resource(v1::kind::Name::ClusterGroup, "big")
    };
    let small = resource(v1::kind::Name::ClusterGroup, "small");
    let (big, small) = tokio::join!(
        store.write(move |tx| tx.put_resource(&big)),
        store.write(move |tx| tx.put_resource(&small)),
    );
    let error = big.unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(error.to_string().contains("Free some space"));

    let names = |rows: Vec<ResourceRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    let kept = names(store.resources().await.unwrap());
    assert!(kept.contains(&"before".to_owned()) && !kept.contains(&"big".to_owned()));
    // Whatever was said of the other is what became of it.
    assert_eq!(small.is_ok(), kept.contains(&"small".to_owned()));

    // Room again, and all goes on without a restart.
    store
        .write(|tx| {
            Ok(tx
                .0
                .query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(()))?)
        })
        .await
        .unwrap();
    put(&store, v1::kind::Name::ClusterGroup, "after").await;
    drop(store);
    check_integrity(&folder.path().join("lockstep.db"));
}
