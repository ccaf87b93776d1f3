//! The service as a caller sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::BoxStream;
use lockstep_proto::v1::resource::Resource as Any;
use tonic::Code;

use super::*;
use crate::diff::DiffError;
use crate::git::{GitError, Resolved, SourceTree};
use crate::metrics::Metrics;
use crate::rollout::{Content, Release, Source};
use crate::status::fixture::{
    World, assignment, cluster, name as cluster_name, repository, shop, well,
};

struct NoSecrets;

impl Secrets for NoSecrets {
    fn create_join_token(
        &self,
        _: v1::CreateJoinTokenRequest,
    ) -> BoxFuture<'_, Result<v1::CreateJoinTokenResponse, Status>> {
        Box::pin(async { Err(Status::unimplemented("not in this test")) })
    }

    fn create_credential(
        &self,
        _: v1::CreateCredentialRequest,
    ) -> BoxFuture<'_, Result<v1::CreateCredentialResponse, Status>> {
        Box::pin(async { Err(Status::unimplemented("not in this test")) })
    }
}

/// Nothing is ever fetched.
#[derive(Clone)]
struct NoGit;

impl Source for NoGit {
    async fn resolve(
        &self,
        repository: &str,
        _: &v1::GitRef,
        _: &str,
    ) -> Result<Resolved, GitError> {
        let repository = repository.to_owned();
        Err(GitError::NotFetched { repository })
    }

    async fn resolve_any(
        &self,
        repository: &str,
        text: &str,
        _: &str,
    ) -> Result<Resolved, GitError> {
        Err(GitError::NoSuchRef {
            repository: repository.to_owned(),
            cause: format!("commit {text} does not exist"),
        })
    }

    async fn look_now(&self, repository: &str) -> Result<(), GitError> {
        Err(GitError::Unreachable {
            repository: repository.to_owned(),
            cause: "there is no Git in this test".to_owned(),
        })
    }

    async fn read_tree(&self, repository: &str, _: &str) -> Result<SourceTree, GitError> {
        let repository = repository.to_owned();
        Err(GitError::Gone { repository })
    }
}

struct NoDiffs;

impl Differ for NoDiffs {
    fn diff(
        &self,
        request: v1::DiffRequest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, v1::DiffResponse>, DiffError>> {
        Box::pin(async { Err(DiffError::NoAssignment(request.assignment)) })
    }
}

fn api(world: &World) -> Api {
    Api {
        fleet: world.fleet.clone(),
        secrets: Arc::new(NoSecrets),
        orders: Arc::new(Release::new(
            world.fleet.clone(),
            Content::new(world.fleet.store().clone(), NoGit, Metrics::new()),
        )),
        diffs: Arc::new(NoDiffs),
        watches: Arc::new(Semaphore::new(2)),
        cancel: CancellationToken::new(),
    }
}

fn ask<T>(message: T) -> Request<T> {
    Request::new(message)
}

fn list(kind: Kind) -> v1::ListRequest {
    v1::ListRequest {
        kind: kind.into(),
        ..v1::ListRequest::default()
    }
}

fn watch(kind: Kind) -> Request<v1::WatchRequest> {
    ask(v1::WatchRequest {
        kind: kind.into(),
        ..v1::WatchRequest::default()
    })
}

fn names(items: &[v1::Resource]) -> Vec<&str> {
    items.iter().map(v1::Resource::name).collect()
}

#[tokio::test]
async fn errors_carry_a_code_and_a_sentence() {
    let world = shop().await;
    let api = api(&world);
    let bad = v1::ApplyRequest {
        resources: vec![assignment("web", "web", &["prod"])],
        dry_run: false,
    };
    let delete = |kind: Kind, name: &str| {
        ask(v1::DeleteRequest {
            kind: kind.into(),
            name: name.into(),
        })
    };
    let get = |kind: i32, name: &str| {
        ask(v1::GetRequest {
            kind,
            name: name.into(),
        })
    };
    let select = |selector: &str| v1::ListRequest {
        label_selector: selector.into(),
        ..list(Kind::Cluster)
    };
    let named = |names: &[&str]| v1::ListRequest {
        names: names.iter().map(ToString::to_string).collect(),
        ..list(Kind::Cluster)
    };
    let token = v1::ListRequest {
        page_token: "?".into(),
        ..list(Kind::Cluster)
    };
    let label = v1::LabelClusterRequest {
        name: "nope".into(),
        ..Default::default()
    };
    let refresh = |assignment: &str, repository: &str| {
        ask(v1::RefreshRequest {
            assignment: assignment.into(),
            repository: repository.into(),
        })
    };
    let group = v1::StatusRequest {
        group: "nope".into(),
        ..Default::default()
    };
    let revoke = v1::RevokeJoinTokenRequest { id: "t".into() };
    for (status, code, text) in [
        (
            api.apply(ask(bad)).await.err(),
            Code::InvalidArgument,
            "Assignment web: spec.repository: no Repository named \"web\"",
        ),
        (
            api.delete(delete(Kind::ClusterGroup, "prod")).await.err(),
            Code::FailedPrecondition,
            "in use by Assignment shop",
        ),
        (
            api.delete(delete(Kind::Cluster, "nope")).await.err(),
            Code::NotFound,
            "there is no Cluster named \"nope\"",
        ),
        (
            api.delete(delete(Kind::Unspecified, "x")).await.err(),
            Code::InvalidArgument,
            "kind: is missing",
        ),
        (
            api.delete(delete(Kind::Cluster, "")).await.err(),
            Code::InvalidArgument,
            "name: is missing",
        ),
        (
            api.get(get(Kind::Assignment as i32, "x")).await.err(),
            Code::NotFound,
            "there is no Assignment named \"x\"",
        ),
        (
            api.get(get(77, "x")).await.err(),
            Code::InvalidArgument,
            "kind: 77",
        ),
        (
            api.list(ask(select("a in"))).await.err(),
            Code::InvalidArgument,
            "label_selector: \"a in\" is not a label selector",
        ),
        (
            api.list(ask(named(&["lab", "x"]))).await.err(),
            Code::NotFound,
            "no Cluster named \"x\"",
        ),
        (
            api.list(ask(token)).await.err(),
            Code::InvalidArgument,
            "page_token",
        ),
        (
            api.label_cluster(ask(label)).await.err(),
            Code::NotFound,
            "no Cluster named",
        ),
        (
            api.status(ask(group.clone())).await.err(),
            Code::NotFound,
            "no ClusterGroup named \"nope\"",
        ),
        (
            api.watch_status(ask(group)).await.err(),
            Code::NotFound,
            "no ClusterGroup",
        ),
        (
            api.watch(watch(Kind::Unspecified)).await.err(),
            Code::InvalidArgument,
            "kind: is missing",
        ),
        (
            api.refresh(refresh("", "")).await.err(),
            Code::InvalidArgument,
            "name an assignment or a repository",
        ),
        (
            api.refresh(refresh("x", "")).await.err(),
            Code::NotFound,
            "no Assignment named \"x\"",
        ),
        (
            api.refresh(refresh("", "x")).await.err(),
            Code::NotFound,
            "no Repository named \"x\"",
        ),
        (
            api.revoke_join_token(ask(revoke)).await.err(),
            Code::NotFound,
            "no JoinToken named \"t\"",
        ),
    ] {
        let status = status.unwrap_or_else(|| panic!("expected {text:?}"));
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?}");
    }
}

#[tokio::test]
async fn lists_are_paged_selected_and_complete() {
    let world = World::new().await;
    let all: Vec<String> = (0..25).map(|n| format!("c{n:02}")).collect();
    world
        .apply(
            all.iter()
                .enumerate()
                .map(|(n, name)| cluster(name, &[("odd", if n % 2 == 1 { "yes" } else { "no" })])),
        )
        .await;
    let api = api(&world);
    let mut request = v1::ListRequest {
        page_size: 4,
        label_selector: "odd=yes".into(),
        ..list(Kind::Cluster)
    };
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page = api.list(ask(request.clone())).await.unwrap().into_inner();
        seen.extend(page.items.iter().map(|item| item.name().to_owned()));
        pages += 1;
        // A page token stays good whatever goes in between.
        let gone = seen.last().unwrap().clone();
        world
            .fleet
            .delete(Kind::Cluster, &gone, "admin")
            .await
            .unwrap();
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let odd: Vec<&String> = all.iter().skip(1).step_by(2).collect();
    assert_eq!((seen.iter().collect::<Vec<_>>(), pages), (odd, 3));

    let request = v1::ListRequest {
        names: vec!["c02".into(), "c00".into()],
        ..list(Kind::Cluster)
    };
    let page = api.list(ask(request)).await.unwrap().into_inner();
    assert_eq!(names(&page.items), ["c00", "c02"]);
}

#[tokio::test]
async fn a_page_stays_below_what_a_client_takes() {
    let world = World::new().await;
    let big = "x".repeat(200 << 10);
    let noted = |n: usize| {
        let mut resource = repository(&format!("r{n:02}"));
        if let Some(Any::Repository(r)) = &mut resource.resource {
            let notes = &mut r.metadata.as_mut().unwrap().annotations;
            notes.insert("notes".into(), big.clone());
        }
        resource
    };
    for n in 0..30 {
        world.apply([noted(n)]).await;
    }
    let api = api(&world);
    let mut request = list(Kind::Repository);
    let mut seen = 0;
    loop {
        let page = api.list(ask(request.clone())).await.unwrap().into_inner();
        assert!(prost::Message::encoded_len(&page) < 4 << 20);
        seen += page.items.len();
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 30);
}

#[tokio::test]
async fn what_is_read_says_its_api_version_and_kind() {
    let world = shop().await;
    let api = api(&world);
    for kind in [
        Kind::Cluster,
        Kind::ClusterGroup,
        Kind::Repository,
        Kind::Assignment,
    ] {
        let page = api.list(ask(list(kind))).await.unwrap().into_inner();
        let item = page.items[0].resource.clone().unwrap();
        let text = match item {
            Any::Cluster(r) => serde_json::to_value(r),
            Any::ClusterGroup(r) => serde_json::to_value(r),
            Any::Repository(r) => serde_json::to_value(r),
            Any::Assignment(r) => serde_json::to_value(r),
            _ => unreachable!(),
        };
        let json = text.unwrap();
        assert_eq!(json["apiVersion"], "lockstep.dev/v1alpha1");
        assert_eq!(json["kind"], kind_word(kind));
        assert!(json["status"].is_object(), "{json}");
        assert!(json["metadata"]["createdAt"].is_string());
    }
}

#[tokio::test]
async fn a_watch_goes_on_until_the_hub_stops_and_then_says_so() {
    let world = shop().await;
    let api = api(&world);
    let mut events = api.watch(watch(Kind::Cluster)).await.unwrap().into_inner();
    for _ in 0..4 {
        events.next().await.unwrap().unwrap();
    }
    let set = BTreeMap::from([("env".to_owned(), "dev".to_owned())]);
    let label = v1::LabelClusterRequest {
        name: "eu-1".into(),
        set,
        remove: vec![],
    };
    api.label_cluster(ask(label)).await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert_eq!(event.r#type(), v1::watch_event::Type::Modified);
    assert_eq!(event.resource.unwrap().name(), "eu-1");

    api.cancel.cancel();
    let end = events.next().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn watches_are_bounded_and_given_back() {
    let world = shop().await;
    let api = api(&world);
    let first = api.watch(watch(Kind::Cluster)).await.unwrap();
    let _second = api
        .watch_status(ask(v1::StatusRequest::default()))
        .await
        .unwrap();
    let refused = api.watch(watch(Kind::Cluster)).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(first);
    assert!(api.watch(watch(Kind::Cluster)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_status_table_comes_again_when_it_changed_and_not_more_often_than_asked() {
    let world = shop().await;
    let api = api(&world);
    world.fleet.session_opened(&cluster_name("eu-1"), "v", "v");
    world.set("eu-1", "shop", "x").await;
    let request = v1::StatusRequest {
        min_interval_millis: 1000,
        ..Default::default()
    };
    let mut tables = api.watch_status(ask(request)).await.unwrap().into_inner();
    let table = tables.next().await.unwrap().unwrap();
    assert_eq!((table.rows.len(), table.summary.unwrap().synced), (3, 0));

    let begun = tokio::time::Instant::now();
    world.report("eu-1", well("shop", "x")).await;
    let table = tables.next().await.unwrap().unwrap();
    assert_eq!(table.summary.unwrap().synced, 1);
    let took = begun.elapsed();
    assert!((990..1500).contains(&took.as_millis()), "{took:?}");

    // A heartbeat alone is shown now and then, so that "seen" does not grow stale.
    world.pass(5);
    world.fleet.heartbeat(&cluster_name("eu-1"));
    let begun = tokio::time::Instant::now();
    let table = tables.next().await.unwrap().unwrap();
    assert_eq!(table.rows[0].last_seen.unwrap().seconds, 1_700_000_005);
    assert!(begun.elapsed() >= Duration::from_secs(9));
    let quiet = tokio::time::timeout(Duration::from_secs(300), tables.next()).await;
    assert!(quiet.is_err(), "nothing changed");
}

#[tokio::test]
async fn refreshing_wakes_the_repository_and_the_assignment() {
    let world = shop().await;
    let api = api(&world);
    world.fleet.dirty_repositories().take().await;
    world.fleet.dirty_assignments().take().await;
    let request = v1::RefreshRequest {
        assignment: "shop".into(),
        repository: String::new(),
    };
    api.refresh(ask(request)).await.unwrap();
    assert_eq!(
        world.fleet.dirty_repositories().take().await,
        ["shop".to_owned()].into()
    );
    assert_eq!(
        world.fleet.dirty_assignments().take().await,
        ["shop".to_owned()].into()
    );
}

#[tokio::test]
async fn a_name_of_a_megabyte_is_refused_in_a_message_that_fits_a_header() {
    let world = World::new().await;
    let api = api(&world);
    let long = "x".repeat(1 << 20);
    let apply = v1::ApplyRequest {
        resources: vec![
            assignment("web", &long, &[&long]),
            cluster(&long, &[(&long, &long)]),
        ],
        dry_run: false,
    };
    let get = v1::GetRequest {
        kind: Kind::Cluster.into(),
        name: long.clone(),
    };
    for status in [
        api.apply(ask(apply)).await.err().unwrap(),
        api.get(ask(get)).await.err().unwrap(),
        api.list(ask(v1::ListRequest {
            label_selector: long,
            ..list(Kind::Cluster)
        }))
        .await
        .err()
        .unwrap(),
    ] {
        assert!(status.message().len() < 8 << 10);
    }
}
