//! Bundles: fetched, checked, kept.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use lockstep_agent::bundle::{BundleError, BundleFile, BundleSource as _};
use lockstep_proto::Digest;

use crate::agent::Agent;
use crate::fake::{FakeHub, Fault, Session};
use crate::within;

async fn world(dir: &Path) -> (FakeHub, Agent, Session) {
    let mut hub = FakeHub::start().await;
    let agent = Agent::start(&hub, dir).await;
    let mut session = hub.session().await;
    session.open().await;
    (hub, agent, session)
}

async fn fetch(
    agent: &Agent,
    digest: Digest,
    have: Option<Digest>,
) -> Result<BundleFile, BundleError> {
    within("the bundle comes", agent.bundles.bundle(digest, have)).await
}

/// Names and texts.
fn content(file: &BundleFile) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    file.read(&|_| true, &mut |entry, json| {
        let json: serde_json::Value = serde_json::from_slice(&json)?;
        let text = json["data"]["text"].as_str().unwrap().to_owned();
        found.insert(entry.key.name, text);
        Ok(())
    })
    .unwrap();
    found
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("bundles")).unwrap().count()
}

const V1: [(&str, &str); 3] = [("a", "1"), ("b", "1"), ("c", "1")];
const V2: [(&str, &str); 3] = [("a", "1"), ("b", "2"), ("d", "1")];

#[tokio::test]
async fn a_bundle_is_fetched_once_and_outlives_the_hub() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hub, agent, _session) = world(dir.path()).await;
    let digest = hub.add_bundle(&V1);
    let file = fetch(&agent, digest, None).await.unwrap();
    assert_eq!(content(&file)["c"], "1");
    assert_eq!(file.index().unwrap().len(), 3);
    let mut some = Vec::new();
    file.read(&|entry| entry.key.name == "b", &mut |entry, _| {
        some.push(entry.key.name);
        Ok(())
    })
    .unwrap();
    assert_eq!(some, ["b"]);
    hub.kill();
    fetch(&agent, digest, None).await.unwrap();
    agent.kill().await;
    let agent = Agent::with_token(&hub, dir.path(), None).await;
    fetch(&agent, digest, None).await.unwrap();
    assert_eq!(hub.state.lock().fetched.len(), 1);
}

#[tokio::test]
async fn only_what_changed_crosses_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, _session) = world(dir.path()).await;
    let (one, two) = (hub.add_bundle(&V1), hub.add_bundle(&V2));
    fetch(&agent, one, None).await.unwrap();
    let file = fetch(&agent, two, Some(one)).await.unwrap();
    assert_eq!(hub.state.lock().fetched[1].have_digest, one.to_string());
    let expected = V2.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(content(&file), BTreeMap::from(expected));
    // What is not on disk is not claimed to be.
    let three = hub.add_bundle(&[("z", "1")]);
    let nowhere = Digest::of(b"nowhere");
    fetch(&agent, three, Some(nowhere)).await.unwrap();
    assert_eq!(hub.state.lock().fetched[2].have_digest, "");
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_is_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, _session) = world(dir.path()).await;
    let digest = hub.add_bundle(&V1);
    for fault in [
        Fault::Truncated,
        Fault::Corrupt,
        Fault::Short,
        Fault::Noise,
        Fault::Bomb,
        Fault::Hollow,
    ] {
        hub.state.lock().fault = Some(fault);
        let error = fetch(&agent, digest, None).await.unwrap_err();
        assert!(matches!(error, BundleError::Damaged { .. }), "{error}");
        assert_eq!(files(dir.path()), 0, "{error}");
    }
    fetch(&agent, digest, None).await.unwrap();
}

#[tokio::test]
async fn a_delta_that_does_not_add_up_is_fetched_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, _session) = world(dir.path()).await;
    let (one, two) = (hub.add_bundle(&V1), hub.add_bundle(&V2));
    fetch(&agent, one, None).await.unwrap();
    hub.state.lock().fault = Some(Fault::Hollow);
    let file = fetch(&agent, two, Some(one)).await.unwrap();
    assert_eq!(content(&file)["d"], "1");
    assert_eq!(hub.state.lock().fetched[2].have_digest, "");
}

#[tokio::test]
async fn a_fetch_that_broke_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, _session) = world(dir.path()).await;
    let digest = hub.add_bundle(&V1);
    hub.state.lock().fault = Some(Fault::Broken);
    fetch(&agent, digest, None).await.unwrap();
    assert_eq!(files(dir.path()), 1);
}

#[tokio::test]
async fn a_fetch_waits_for_a_hub_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let (mut hub, agent, session) = world(dir.path()).await;
    let digest = hub.add_bundle(&V1);
    hub.kill();
    drop(session);
    let bundles = agent.bundles.clone();
    let fetched = tokio::spawn(async move { bundles.bundle(digest, None).await });
    let mut hub = hub.restart().await;
    let mut session = hub.session().await;
    session.open().await;
    within("the bundle comes", fetched).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_assigned_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, _session) = world(dir.path()).await;
    let digest = hub.add_bundle(&V1);
    hub.state.lock().fault = Some(Fault::NotAssigned);
    let error = fetch(&agent, digest, None).await.unwrap_err();
    assert!(matches!(error, BundleError::NotAssigned { .. }), "{error}");
}

#[tokio::test]
async fn what_the_disk_damaged_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, session) = world(dir.path()).await;
    let digest = hub.add_bundle(&V1);
    let file = fetch(&agent, digest, None).await.unwrap();
    agent.kill().await;
    drop(session);
    let whole = std::fs::read(file.path()).unwrap();
    let mut hub = hub;
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(file.path(), &whole[..length]).unwrap();
        let agent = Agent::with_token(&hub, dir.path(), None).await;
        let mut session = hub.session().await;
        session.open().await;
        let file = fetch(&agent, digest, None).await.unwrap();
        assert_eq!(content(&file).len(), 3, "cut to {length}");
        agent.kill().await;
    }
}

#[tokio::test]
async fn what_nothing_needs_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, _session) = world(dir.path()).await;
    let (one, two) = (hub.add_bundle(&V1), hub.add_bundle(&V2));
    fetch(&agent, one, None).await.unwrap();
    fetch(&agent, two, None).await.unwrap();
    agent.bundles.retain(&HashSet::from([two]));
    assert_eq!(files(dir.path()), 1);
    fetch(&agent, two, None).await.unwrap();
    assert_eq!(hub.state.lock().fetched.len(), 2);
    fetch(&agent, one, None).await.unwrap();
    assert_eq!(hub.state.lock().fetched.len(), 3);
}

#[tokio::test]
async fn an_abandoned_fetch_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, agent, _session) = world(dir.path()).await;
    let objects: Vec<_> = (0..500)
        .map(|n| (format!("o{n:04}"), format!("{n:x}")))
        .collect();
    let objects: Vec<_> = objects
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    let digest = hub.add_bundle(&objects);
    for _ in 0..20 {
        let fetching = agent.bundles.bundle(digest, None);
        let wait = std::time::Duration::from_millis(rand::random_range(0..15));
        let _ = tokio::time::timeout(wait, fetching).await;
    }
    fetch(&agent, digest, None).await.unwrap();
    within("drafts go", async {
        while files(dir.path()) != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
