//! The history is kept with the rows that it speaks of, and no longer than it is useful.

use lockstep_proto::desired::options_digest;
use lockstep_proto::v1::history_entry::Cause;
use lockstep_proto::v1::{health, sync};

use super::*;
use crate::store::{Because, Control, Held, HistoryAt, Said};

fn cluster() -> ClusterName {
    ClusterName::new("c").unwrap()
}

async fn change(store: &Store, change: DesiredChange) {
    store
        .write(move |tx| tx.change_desired(&[change]))
        .await
        .unwrap();
}

/// Tells "c" to run the Bundle of this letter, at this time.
async fn told(store: &Store, bundle: &str, at: i64) {
    let because = Because {
        cause: Cause::Commit,
        by: "Ada".into(),
        commit: None,
        at,
    };
    let set = DesiredChange {
        because: Some(Arc::new(because)),
        ..set("c", "a", bundle)
    };
    change(store, set).await;
}

async fn said(store: &Store, bundle: &str, sync: sync::Status, message: &str) {
    let digest = Digest::of(bundle.as_bytes()).to_string();
    let report = v1::Report {
        assignment: "a".into(),
        target_digest: digest.clone(),
        applied_digest: digest,
        sync: sync.into(),
        health: health::Status::Healthy.into(),
        message: message.into(),
        target_options: options_digest(&v1::ApplyOptions::default()),
        ..v1::Report::default()
    };
    let stored = store.write(move |tx| tx.put_report(&cluster(), &report));
    stored.await.unwrap();
}

async fn entries(store: &Store) -> Vec<v1::HistoryEntry> {
    let page = store.history("a".into(), None, None, 1000).await.unwrap();
    assert_eq!(page.next, None);
    page.items
}

fn words(entry: &v1::HistoryEntry) -> String {
    let millis = |at: Option<pbjson_types::Timestamp>| at.map(|at| at.seconds);
    format!(
        "{} {} {} {:?} {:?}",
        entry.cause().as_str_name(),
        entry.revision,
        entry.sync().as_str_name(),
        entry.message,
        millis(entry.ended_at)
    )
}

async fn begun(folder: &tempfile::TempDir) -> Store {
    let store = open(folder);
    put(&store, v1::kind::Name::Assignment, "a").await;
    put(&store, v1::kind::Name::Cluster, "c").await;
    store
}

#[tokio::test]
async fn an_entry_says_how_it_went_and_how_it_had_gone_when_the_next_one_came() {
    let folder = tempfile::tempdir().unwrap();
    let store = begun(&folder).await;
    told(&store, "x", 1000).await;
    said(&store, "x", sync::Status::Synced, "").await;
    told(&store, "y", 2000).await;
    // Late news of what was before is no news of what is now.
    said(&store, "x", sync::Status::Failed, "late").await;
    said(&store, "y", sync::Status::Failed, "no such kind").await;
    let all = entries(&store).await;
    let words: Vec<_> = all.iter().map(words).collect();
    assert_eq!(
        words,
        [
            "Commit y Failed \"no such kind\" None",
            "Commit x Synced \"\" Some(2)"
        ]
    );
    assert!(all[0].synced_at.is_none() && all[1].synced_at.is_some());
    // It comes back to what it said before: the agent has nothing new to say.
    said(&store, "y", sync::Status::Synced, "").await;
    told(&store, "x", 3000).await;
    said(&store, "x", sync::Status::Synced, "").await;
    told(&store, "y", 4000).await;
    told(&store, "x", 5000).await;
    assert_eq!(entries(&store).await[0].sync(), sync::Status::Synced);
}

#[tokio::test]
async fn a_row_that_changes_without_a_reason_goes_on_with_its_entry() {
    let folder = tempfile::tempdir().unwrap();
    let store = begun(&folder).await;
    told(&store, "x", 1000).await;
    let mut paused = set("c", "a", "x");
    if let Change::Set { options, .. } = &mut paused.change {
        *options = Arc::new(v1::ApplyOptions {
            paused: true,
            ..v1::ApplyOptions::default()
        });
    }
    change(&store, paused).await;
    // With other options than those that are wanted now.
    said(&store, "x", sync::Status::Synced, "").await;
    let all = entries(&store).await;
    assert_eq!((all.len(), all[0].sync()), (1, sync::Status::Unknown));
}

#[tokio::test]
async fn a_departure_ends_when_the_agent_says_that_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = begun(&folder).await;
    told(&store, "x", 1000).await;
    let leave = Because {
        cause: Cause::Leave,
        by: "eve".into(),
        commit: None,
        at: 2000,
    };
    store
        .write(move |tx| tx.bury_assignment("a", leave))
        .await
        .unwrap();
    let all = entries(&store).await;
    assert_eq!((all[0].cause(), all[0].by.as_str()), (Cause::Leave, "eve"));
    assert_eq!(all[0].sync(), sync::Status::Applying);
    let forget = DesiredChange {
        change: Change::Forget { version: 99 },
        ..set("c", "a", "x")
    };
    change(&store, forget).await;
    let all = entries(&store).await;
    assert_eq!(all[0].sync(), sync::Status::Synced);
    assert!(all[0].ended_at.is_some());
}

#[tokio::test]
async fn the_history_is_bounded_and_the_last_bundles_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = begun(&folder).await;
    let mut bundles = Vec::new();
    for number in 0..60 {
        let digest = save(&store, &[&format!("object {number}")]).await;
        bundles.push(digest);
        let change = DesiredChange {
            change: Change::Set {
                digest,
                revision: format!("{number}").into(),
                options: Arc::default(),
            },
            because: Some(Arc::new(Because {
                cause: Cause::Commit,
                by: String::new(),
                commit: None,
                at: 1000 * number,
            })),
            ..set("c", "a", "x")
        };
        super::history::change(&store, change).await;
    }
    let all = entries(&store).await;
    assert_eq!(all.len(), 50);
    assert_eq!(
        (all[0].revision.as_str(), all[49].revision.as_str()),
        ("59", "10")
    );
    // Held by people, however old.
    let held = |at: usize| Held {
        revision: "r".into(),
        tree: String::new(),
        digest: bundles[at],
        objects: 1,
        commit: None,
        namespace: String::new(),
    };
    let control = Control {
        version: 7,
        released: Some(held(3)),
        pinned: Some((held(5), Said::default())),
        ..Control::default()
    };
    let written = control.clone();
    store
        .write(move |tx| tx.put_control("a", &written))
        .await
        .unwrap();
    let later = SystemTime::now() + Duration::from_hours(2);
    store.collect(later, Retention::default()).await.unwrap();
    let mut kept = Vec::new();
    for (number, digest) in bundles.iter().enumerate() {
        if store.bundle_exists(*digest).await.unwrap() {
            kept.push(number);
        }
    }
    assert_eq!(kept, [3, 5, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59]);

    // What was said is there after a restart.
    drop(store);
    let store = open(&folder);
    let read = store.read(|tx| {
        let mut all = Vec::new();
        tx.each_control(|name, control| all.push((name, control)))?;
        Ok(all)
    });
    assert_eq!(read.await.unwrap(), [("a".to_owned(), control)]);
    let past = store.past_revisions("a".into()).await.unwrap();
    assert_eq!((past.len(), past[0].revision.as_str()), (50, "10"));

    // With the assignment goes what nothing else names.
    store
        .write(|tx| tx.delete_resource(v1::kind::Name::Assignment, "a"))
        .await
        .unwrap();
    store.collect(later, Retention::default()).await.unwrap();
    assert!(!store.bundle_exists(bundles[3]).await.unwrap());
    assert!(!store.bundle_exists(bundles[50]).await.unwrap());
    // Its history stays for those who ask what became of it, for a while.
    assert_eq!(store.collect_history(59_000).await.unwrap(), 0);
    assert_eq!(entries(&store).await.len(), 50);
    assert_eq!(store.collect_history(59_001).await.unwrap(), 50);
    assert_eq!(entries(&store).await, []);
}

fn event(id: u64, assignment: &str) -> v1::ObjectEvent {
    v1::ObjectEvent {
        id,
        assignment: assignment.into(),
        object: "v1 ConfigMap shop/a".into(),
        ..v1::ObjectEvent::default()
    }
}

#[tokio::test]
async fn events_are_kept_once_and_the_newest_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = begun(&folder).await;
    told(&store, "x", 1).await;
    let put = async |events: Vec<(u64, &'static str)>| {
        let events: Vec<_> = events
            .into_iter()
            .map(|(id, assignment)| (cluster(), event(id, assignment), i64::try_from(id).unwrap()))
            .collect();
        let put = store.write(move |tx| tx.put_object_events(&events));
        put.await.unwrap();
    };
    put(vec![(10, "a"), (11, "a"), (10, "a")]).await;
    put(vec![(11, "a"), (12, "never heard of")]).await;
    let all = entries(&store).await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].event.as_ref().unwrap().id, 11);
    assert_eq!(all[0].cause(), Cause::Object);
    put((20..320).map(|id| (id, "a")).collect()).await;
    let all = entries(&store).await;
    assert_eq!(all.len(), 201);
    assert_eq!(all[199].event.as_ref().unwrap().id, 120);
}

#[tokio::test]
async fn pages_hold_every_entry_once_in_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = begun(&folder).await;
    put(&store, v1::kind::Name::Cluster, "d").await;
    for (number, bundle) in ["x", "y", "z"].iter().enumerate() {
        told(&store, bundle, 1000 * i64::try_from(number / 2).unwrap()).await;
    }
    let events = (1..8)
        .map(|id| {
            (
                cluster(),
                event(id, "a"),
                1000 * i64::try_from(id % 3).unwrap(),
            )
        })
        .collect::<Vec<_>>();
    let stored = store.write(move |tx| tx.put_object_events(&events));
    stored.await.unwrap();
    let whole = entries(&store).await;
    assert_eq!(whole.len(), 10);
    assert!(whole.is_sorted_by_key(|entry| std::cmp::Reverse(entry.at.unwrap().seconds)));
    for size in 1..=11 {
        let mut paged = Vec::new();
        let mut after: Option<HistoryAt> = None;
        loop {
            let page = store.history("a".into(), Some("c".into()), after, size);
            let page = page.await.unwrap();
            paged.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paged, whole, "{size} at a time");
    }
    let other = store.history("a".into(), Some("d".into()), None, 10).await;
    assert_eq!(other.unwrap().items, []);
}
