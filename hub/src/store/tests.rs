//! The store as its callers and the disk meet it.

mod durability;
mod history;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lockstep_proto::bundle::{IndexEntry, ObjectKey, bundle_digest};
use lockstep_proto::{ClusterName, Digest, v1};
use parking_lot::Mutex;
use rusqlite::Connection;

use super::*;

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path().join("lockstep.db")).unwrap()
}

fn resource(kind: v1::kind::Name, name: &str) -> ResourceRow {
    ResourceRow {
        kind,
        name: name.to_owned(),
        uid: "u".to_owned(),
        generation: 1,
        created_at: 5,
        body: vec![1, 2, 3],
    }
}

async fn put(store: &Store, kind: v1::kind::Name, name: &str) {
    let row = resource(kind, name);
    store.write(move |tx| tx.put_resource(&row)).await.unwrap();
}

/// Bundle of objects with these texts.
async fn save(store: &Store, texts: &[&str]) -> Digest {
    let mut objects: Vec<(IndexEntry, Bytes)> = texts
        .iter()
        .map(|text| {
            let key = ObjectKey {
                api_version: "v1".to_owned(),
                kind: "ConfigMap".to_owned(),
                namespace: String::new(),
                name: (*text).to_owned(),
            };
            let sha256 = Digest::of(text.as_bytes());
            (
                IndexEntry { key, sha256 },
                Bytes::copy_from_slice(text.as_bytes()),
            )
        })
        .collect();
    objects.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    let digest = bundle_digest(objects.iter().map(|(entry, _)| entry));
    store.save_bundle(digest, objects).await.unwrap();
    digest
}

// ---------------------------------------------------------------- opening

#[test]
fn a_database_that_cannot_be_opened_is_named_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/folder/lockstep.db");
    let error = Store::open(&path).err().unwrap().to_string();
    assert!(error.contains("no/such/folder/lockstep.db"), "{error}");
    assert!(
        error.contains("Check that the data directory exists"),
        "{error}"
    );

    let path = folder.path().join("junk.db");
    std::fs::write(&path, "x".repeat(10_000)).unwrap();
    let error = Store::open(&path).err().unwrap().to_string();
    assert!(
        error.contains("junk.db") && error.contains("restore a backup"),
        "{error}"
    );
}

#[test]
fn a_database_of_a_newer_hub_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lockstep.db");
    drop(Store::open(&path).unwrap());
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }));
    let text = error.to_string();
    assert!(
        text.contains("lockstep.db") && text.contains("newer hub"),
        "{text}"
    );
    let version: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn opening_again_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    put(&store, v1::kind::Name::Cluster, "eu-1").await;
    store.put_setting("k", vec![1]).await.unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(
        store.resources().await.unwrap(),
        [resource(v1::kind::Name::Cluster, "eu-1")]
    );
    assert_eq!(store.setting("k").await.unwrap(), Some(vec![1]));
}

// ---------------------------------------------------------------- writing

#[tokio::test]
async fn a_job_that_fails_or_panics_spoils_none_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let good = |name: &'static str| {
        let row = resource(v1::kind::Name::ClusterGroup, name);
        store.write(move |tx| tx.put_resource(&row))
    };
    let failing = store.write(|tx| {
        tx.put_resource(&resource(v1::kind::Name::ClusterGroup, "half"))?;
        Err::<(), _>(StoreError::corrupt("test", "on purpose"))
    });
    let panicking = store.write(|tx| {
        tx.put_resource(&resource(v1::kind::Name::ClusterGroup, "half"))?;
        assert!(tx.0.is_autocommit(), "on purpose");
        Ok(())
    });
    let (a, failed, panicked, b) = tokio::join!(good("a"), failing, panicking, good("b"));
    assert!(a.is_ok() && b.is_ok());
    assert!(failed.is_err() && panicked.is_err());
    let names: Vec<_> = store
        .resources()
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn memory_follows_the_disk_in_order_also_when_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 0..60 {
        let seen = Arc::clone(&log);
        let work = move |_: &Tx<'_>| Ok::<_, StoreError>(number);
        let then = move |number: &i32| seen.lock().push(*number);
        let mut write = Box::pin(store.write_then(work, then));
        // Sent, and then sometimes forgotten.
        if futures::poll!(&mut write).is_pending() && number % 3 != 0 {
            waiting.push(write);
        }
    }
    futures::future::join_all(waiting).await;
    let (seen, other) = (Arc::clone(&log), Arc::clone(&log));
    let before = store
        .transact(
            move |_| Ok::<_, StoreError>(seen.lock().clone()),
            move |_| other.lock().clear(),
        )
        .await
        .unwrap();
    assert_eq!(before, (0..60).collect::<Vec<_>>());
    assert!(log.lock().is_empty(), "ran before it resolved");
}

#[tokio::test]
async fn readers_see_a_snapshot_and_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let refused = store
        .read(|tx| tx.put_resource(&resource(v1::kind::Name::ClusterGroup, "x")))
        .await;
    assert!(refused.is_err());
    assert!(store.resources().await.unwrap().is_empty());
}

// --------------------------------------------------------- desired states

fn set(cluster: &str, assignment: &str, bundle: &str) -> DesiredChange {
    DesiredChange {
        cluster: ClusterName::new(cluster).unwrap(),
        assignment: assignment.into(),
        change: Change::Set {
            digest: Digest::of(bundle.as_bytes()),
            revision: bundle.into(),
            options: Arc::default(),
        },
        because: None,
    }
}

#[tokio::test]
async fn a_version_grows_once_for_each_change_of_a_cluster_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for name in ["a", "b"] {
        put(&store, v1::kind::Name::Assignment, name).await;
    }
    put(&store, v1::kind::Name::Cluster, "c").await;
    let change = async |changes: Vec<DesiredChange>| {
        store
            .write(move |tx| tx.change_desired(&changes))
            .await
            .unwrap()
    };
    let touched = change(vec![
        set("c", "a", "x"),
        set("c", "b", "x"),
        set("gone", "a", "x"),
    ])
    .await;
    assert_eq!(
        (touched.len(), touched[0].version, touched[0].rows.len()),
        (1, 1, 2)
    );
    // The same content from a later commit is no change.
    let mut later = set("c", "a", "x");
    if let Change::Set { revision, .. } = &mut later.change {
        *revision = "later".into();
    }
    assert_eq!(change(vec![later]).await, []);
    assert_eq!(change(vec![set("c", "nobody", "x")]).await, []);

    let touched = change(vec![set("c", "a", "y")]).await;
    assert_eq!((touched[0].version, touched[0].rows[0].version), (2, 2));
    let cluster = ClusterName::new("c").unwrap();
    let (version, rows) = store.desired_for(&cluster).await.unwrap();
    assert_eq!(version, 2);
    assert_eq!(
        rows.iter().map(|row| row.version).collect::<Vec<_>>(),
        [2, 1]
    );

    let raised = cluster.clone();
    let version = store
        .write(move |tx| tx.raise_version(&raised, 9))
        .await
        .unwrap();
    assert_eq!(version, Some(9));
    let state = store.cluster_state(&cluster).await.unwrap().unwrap();
    assert_eq!((state.desired_version, state.forgotten_version), (9, 9));
}

// ---------------------------------------------------------------- bundles

#[tokio::test]
async fn a_bundle_reads_as_it_was_stored_and_objects_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = save(&store, &["a", "b"]).await;
    save(&store, &["b", "c"]).await;
    save(&store, &["b", "c"]).await;
    let sizes = store.sizes().await.unwrap();
    assert_eq!((sizes.bundles, sizes.objects), (2, 3));

    let index = store.bundle_index(first).await.unwrap().unwrap();
    assert_eq!(
        bundle_digest(index.iter().map(|object| &object.entry)),
        first
    );
    let digests: Vec<Digest> = index.iter().map(|object| object.entry.sha256).collect();
    let bodies = store.object_bodies(digests.clone(), 1 << 20).await.unwrap();
    assert_eq!(
        bodies,
        [
            (digests[0], Bytes::from("a")),
            (digests[1], Bytes::from("b"))
        ]
    );
    assert_eq!(store.object_bodies(digests, 1).await.unwrap().len(), 1);
    assert!(
        store
            .bundle_index(Digest::of(b"none"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        store
            .object_bodies(vec![Digest::of(b"none")], 9)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_large_object_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let text: String = (0..100_000).map(|n| format!("{n:09}")).collect();
    let digest = save(&store, &[&text]).await;
    let index = store.bundle_index(digest).await.unwrap().unwrap();
    assert_eq!(index[0].bytes, 900_000);
    let bodies = store
        .object_bodies(vec![index[0].entry.sha256], 1)
        .await
        .unwrap();
    assert_eq!(bodies[0].1, text);
}

#[tokio::test]
async fn only_what_nothing_names_is_collected() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    put(&store, v1::kind::Name::Assignment, "a").await;
    put(&store, v1::kind::Name::Cluster, "c").await;
    let wanted = save(&store, &["shared", "wanted"]).await;
    let resolved = save(&store, &["shared", "resolved"]).await;
    let rendered = save(&store, &["shared", "rendered"]).await;
    let garbage = save(&store, &["shared", "garbage"]).await;
    let change = DesiredChange {
        change: Change::Set {
            digest: wanted,
            revision: "r".into(),
            options: Arc::default(),
        },
        ..set("c", "a", "x")
    };
    store
        .write(move |tx| tx.change_desired(&[change]))
        .await
        .unwrap();
    let state = AssignmentState {
        digest: Some(resolved),
        ..AssignmentState::default()
    };
    store
        .write(move |tx| tx.put_assignment_state("a", &state))
        .await
        .unwrap();
    store.render_put("key".to_owned(), rendered).await.unwrap();

    let now = SystemTime::now();
    let keep = Retention::default();
    assert_eq!(
        store.collect(now, keep).await.unwrap(),
        Collected::default(),
        "too young"
    );
    let later = now + Duration::from_hours(2);
    let collected = store.collect(later, keep).await.unwrap();
    assert_eq!(
        collected,
        Collected {
            renders: 0,
            bundles: 1,
            objects: 1
        }
    );
    assert!(!store.bundle_exists(garbage).await.unwrap());
    let left = store.bundle_index(wanted).await.unwrap().unwrap();
    let left = left.iter().map(|object| object.entry.sha256).collect();
    assert_eq!(store.object_bodies(left, 999).await.unwrap().len(), 2);

    // A week without anybody asking, and the render goes with its Bundle.
    let later = now + Duration::from_hours(24 * 8);
    let collected = store.collect(later, keep).await.unwrap();
    assert_eq!(
        collected,
        Collected {
            renders: 1,
            bundles: 1,
            objects: 1
        }
    );
    assert_eq!(store.render_get("key".to_owned()).await.unwrap(), None);

    // What is saved again after it was collected is whole.
    let again = save(&store, &["garbage", "shared"]).await;
    assert_eq!(again, garbage);
    let index = store.bundle_index(again).await.unwrap().unwrap();
    let bodies = index.iter().map(|object| object.entry.sha256).collect();
    assert_eq!(store.object_bodies(bodies, 999).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_bundle_saved_while_garbage_is_sought_keeps_its_objects() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    save(&store, &["old", "shared"]).await;
    let before = millis(SystemTime::now() + Duration::from_hours(2));
    let found = store
        .read(move |tx| tx.garbage(before))
        .await
        .unwrap()
        .unwrap();
    let new = save(&store, &["new", "shared"]).await;
    let before = millis(SystemTime::now());
    let past = before - 1;
    // Only the older of the two is old enough now.
    store
        .write(move |tx| {
            tx.0.execute("UPDATE bundles SET created_at = 0 WHERE seq = 1", [])?;
            tx.sweep(&found, past)
        })
        .await
        .unwrap();
    let index = store.bundle_index(new).await.unwrap().unwrap();
    let bodies = index.iter().map(|object| object.entry.sha256).collect();
    assert_eq!(store.object_bodies(bodies, 999).await.unwrap().len(), 2);
    assert_eq!(store.sizes().await.unwrap().objects, 2);
}

#[test]
fn a_credential_prints_nothing_of_its_secret() {
    let row = CredentialRow {
        name: "git".into(),
        uid: "u".into(),
        kind: v1::credential_spec::Type::Basic,
        username: "bob".into(),
        sealed: vec![42; 8],
        created_at: 0,
    };
    assert!(!format!("{row:?}").contains("42"));
}

#[tokio::test]
async fn a_render_that_is_wanted_again_is_kept_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let digest = save(&store, &["a"]).await;
    store.render_put("key".to_owned(), digest).await.unwrap();
    store
        .write(|tx| {
            Ok(tx.0.execute_batch(
                "UPDATE renders SET used_at = 0; UPDATE bundles SET created_at = 0",
            )?)
        })
        .await
        .unwrap();
    assert_eq!(
        store.render_get("key".to_owned()).await.unwrap(),
        Some(digest)
    );
    let now = SystemTime::now();
    assert_eq!(
        store.collect(now, Retention::default()).await.unwrap(),
        Collected::default()
    );
    assert_eq!(store.render_get("other".to_owned()).await.unwrap(), None);
}
