use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;
use crate::dispatch::Answer;
use crate::metrics::Metrics;
use crate::rollout::world::{FakeGit, World, manifest, world};

/// Agents that answer what the test says, and remember what they were asked.
#[derive(Clone, Default)]
struct Agents(Arc<Inner>);

#[derive(Default)]
struct Inner {
    answers: Mutex<BTreeMap<String, Result<Vec<&'static str>, &'static str>>>,
    asked: Mutex<Vec<(String, Arc<Question>)>>,
    /// Clusters that never answer.
    mute: Mutex<BTreeSet<String>>,
    left: Mutex<usize>,
    came: Notify,
}

struct Leaves<'a>(&'a Inner);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        *self.0.left.lock() += 1;
    }
}

impl Ask for Agents {
    async fn plan(&self, cluster: &ClusterName, question: Arc<Question>, _: Duration) -> Answered {
        let name = cluster.to_string();
        self.0.asked.lock().push((name.clone(), question));
        self.0.came.notify_one();
        let _leaves = Leaves(&self.0);
        if self.0.mute.lock().contains(&name) {
            std::future::pending::<()>().await;
        }
        let answers = self.0.answers.lock();
        let said = answers.get(&name).cloned().unwrap_or(Ok(Vec::new()));
        said.map_err(str::to_owned).map(|diffs| {
            let objects = diffs.into_iter().map(|diff| v1::ObjectDiff {
                object: "v1 ConfigMap default/a".into(),
                diff: diff.into(),
                ..v1::ObjectDiff::default()
            });
            Answer::of(objects.collect())
        })
    }
}

fn diffs(world: &World, agents: &Agents) -> Diffs<FakeGit, Agents> {
    let content = Content::new(
        world.fleet.store().clone(),
        world.git.clone(),
        Metrics::new(),
    );
    Diffs::new(world.fleet.clone(), content, agents.clone())
}

fn request(r: &str, cluster: &str) -> v1::DiffRequest {
    v1::DiffRequest {
        assignment: "shop".into(),
        r#ref: r.into(),
        cluster: cluster.into(),
    }
}

/// How far it came, and the groups.
async fn all(
    stream: impl Stream<Item = v1::DiffResponse>,
) -> (v1::DiffProgress, Vec<v1::DiffGroup>) {
    let mut progress = v1::DiffProgress::default();
    let mut groups = Vec::new();
    let mut stream = std::pin::pin!(stream);
    while let Some(said) = stream.next().await {
        match said.response.unwrap() {
            Part::Progress(now) => {
                assert!(groups.is_empty(), "groups come when all have answered");
                progress = now;
            }
            Part::Group(group) => groups.push(group),
        }
    }
    (progress, groups)
}

#[tokio::test]
async fn every_cluster_is_asked_about_the_ref_and_those_that_answer_alike_are_one_group() {
    let world = world().await;
    world.settled().await;
    let rows = world.rows("shop");
    let agents = Agents::default();
    let newer = world.git.commit("deploy", &manifest("two"));
    agents
        .0
        .answers
        .lock()
        .insert("eu-1".into(), Ok(vec!["+a"]));
    agents
        .0
        .answers
        .lock()
        .insert("eu-2".into(), Ok(vec!["+a"]));
    let stream = diffs(&world, &agents).diff(request("", "")).await.unwrap();
    let (progress, groups) = all(stream).await;
    assert_eq!((progress.asked, progress.answered), (2, 2));
    assert_eq!(progress.revision, newer);
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].clusters, ["eu-1", "eu-2"]);
    assert_eq!(groups[0].objects[0].diff, "+a");
    let digest = {
        let asked = agents.0.asked.lock();
        assert_eq!(asked[0].1.revision, newer);
        assert_ne!(asked[0].1.digest, rows[0].digest);
        assert!(asked[0].1.options.prune);
        asked[0].1.digest
    };
    let stored = world.fleet.store().bundle_exists(digest);
    assert!(stored.await.unwrap());
    assert_eq!(world.rows("shop"), rows, "nobody is given anything");
}

#[tokio::test]
async fn an_earlier_commit_and_one_cluster_may_be_asked_about() {
    let world = world().await;
    world.settled().await;
    let first = world.revision();
    let rows = world.rows("shop");
    world.git.commit("deploy", &manifest("two"));
    let agents = Agents::default();
    let stream = diffs(&world, &agents)
        .diff(request(&first, "eu-2"))
        .await
        .unwrap();
    let (progress, groups) = all(stream).await;
    assert_eq!((progress.asked, &*progress.revision), (1, &*first));
    assert_eq!(groups[0].clusters, ["eu-2"]);
    assert_eq!(agents.0.asked.lock()[0].1.digest, rows[0].digest);
}

#[tokio::test]
async fn what_does_not_exist_or_does_not_render_is_said_before_anybody_is_asked() {
    let world = world().await;
    world.settled().await;
    let agents = Agents::default();
    let diffs = diffs(&world, &agents);
    let refused = async |request| diffs.diff(request).await.err().unwrap().to_string();
    assert!(refused(request("nowhere", "")).await.contains("nowhere"));
    assert!(
        refused(request("", "mars-1"))
            .await
            .contains("no Cluster named")
    );
    let mut other = request("", "");
    other.assignment = "other".into();
    assert!(refused(other).await.contains("no Assignment named"));
    world.git.commit("deploy", "kind: [");
    assert!(refused(request("", "")).await.contains("does not render"));
    assert!(agents.0.asked.lock().is_empty());
}

#[tokio::test]
async fn one_that_fails_or_is_offline_is_a_group_of_its_own() {
    let world = world().await;
    world.settled().await;
    let agents = Agents::default();
    agents.0.answers.lock().insert("eu-1".into(), Err(ABSENT));
    let stream = diffs(&world, &agents).diff(request("", "")).await.unwrap();
    let (_, groups) = all(stream).await;
    let said: Vec<_> = groups
        .iter()
        .map(|group| (&*group.clusters[0], &*group.error))
        .collect();
    assert_eq!(said, [("eu-2", ""), ("eu-1", "has never been online")]);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_all_questions_along() {
    let world = world().await;
    world.settled().await;
    let agents = Agents::default();
    agents.0.mute.lock().extend(["eu-1".into(), "eu-2".into()]);
    let diffs = diffs(&world, &agents);
    let mut stream = Box::pin(diffs.diff(request("", "")).await.unwrap());
    let first = stream.next().await.unwrap();
    assert!(matches!(first.response, Some(Part::Progress(_))));
    let second = stream.next().await.unwrap();
    assert!(matches!(second.response, Some(Part::Progress(p)) if p.answered == 0));
    assert_eq!(agents.0.asked.lock().len(), 2);
    drop(stream);
    assert_eq!(*agents.0.left.lock(), 2);
    assert_eq!(diffs.turns.available_permits(), DIFFS);
}

#[tokio::test]
async fn no_more_diffs_are_made_at_once_than_the_hub_can_bear() {
    let world = world().await;
    world.settled().await;
    let diffs = diffs(&world, &Agents::default());
    let mut held = Vec::new();
    for _ in 0..DIFFS {
        held.push(diffs.diff(request("", "")).await.unwrap());
    }
    let error = diffs.diff(request("", "")).await.err().unwrap();
    assert!(matches!(error, DiffError::Busy));
    drop(held);
    assert!(diffs.diff(request("", "")).await.is_ok());
}
