//! Join tokens, pins, and what is left on disk.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use lockstep_agent::identity::{
    EnrolError, Folder, JoinError, JoinToken, TokenSource, enrol, join,
};

use crate::agent::Agent;
use crate::fake::{Authority, FakeHub, Plan};
use crate::within;

async fn try_to_join(
    hub: &FakeHub,
    token: &str,
) -> (tempfile::TempDir, Result<String, EnrolError>) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let token = JoinToken::parse(token).unwrap();
    let joined = enrol(&hub.endpoint, &token, &folder, "0.0.0");
    let joined = within("the agent joins", joined).await;
    (dir, joined.map(|identity| identity.cluster.to_string()))
}

async fn refused_by(plan: Plan) -> String {
    let authority = Arc::new(Authority::new());
    let hub = FakeHub::with(authority, plan, Arc::default()).await;
    let (_dir, joined) = try_to_join(&hub, &hub.token()).await;
    let error = joined.unwrap_err();
    assert!(matches!(error, EnrolError::NotTheHub { .. }), "{error}");
    assert!(hub.state.lock().used.is_empty(), "the token was sent");
    error.to_string()
}

#[tokio::test]
async fn a_token_is_traded_for_an_identity_that_is_kept_private() {
    let hub = FakeHub::start().await;
    let (dir, joined) = try_to_join(&hub, &hub.token()).await;
    assert_eq!(joined.unwrap(), "eu-1");
    for (name, mode) in [("", 0o700), ("key.pem", 0o600), ("identity.json", 0o600)] {
        let path = dir.path().join("identity").join(name);
        let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
    let record = std::fs::read_to_string(dir.path().join("identity/identity.json")).unwrap();
    assert!(!record.contains("PRIVATE") && !record.contains("s3cret"));
}

#[tokio::test]
async fn a_hub_of_another_authority_never_sees_the_token() {
    let hub = FakeHub::start().await;
    let (_dir, joined) = try_to_join(&hub, &Authority::new().token("one")).await;
    let error = joined.unwrap_err();
    assert!(matches!(error, EnrolError::NotTheHub { .. }), "{error}");
    assert!(hub.state.lock().used.is_empty());
}

#[tokio::test]
async fn a_hub_that_does_not_show_the_pinned_authority_is_not_trusted() {
    let error = refused_by(Plan {
        shows_authority: false,
        ..Plan::default()
    })
    .await;
    assert!(error.contains("CA that the join token pins"), "{error}");
}

#[tokio::test]
async fn a_hub_under_another_name_is_not_trusted() {
    let error = refused_by(Plan {
        names: vec!["elsewhere.example".into()],
        ..Plan::default()
    })
    .await;
    assert!(error.contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_clock_that_is_off_by_an_hour_does_not_keep_an_agent_out() {
    for valid in [(3600, 7200), (-7200, -3600)] {
        let authority = Arc::new(Authority::new());
        let plan = Plan {
            valid,
            ..Plan::default()
        };
        let mut hub = FakeHub::with(authority, plan, Arc::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let _agent = Agent::start(&hub, dir.path()).await;
        hub.session().await.open().await;
    }
}

#[tokio::test]
async fn a_hub_certificate_that_ended_yesterday_is_not_trusted() {
    let error = refused_by(Plan {
        valid: (-200_000, -100_000),
        ..Plan::default()
    })
    .await;
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn a_used_token_is_refused_in_the_words_of_the_hub() {
    let hub = FakeHub::start().await;
    try_to_join(&hub, &hub.token()).await.1.unwrap();
    let (_dir, joined) = try_to_join(&hub, &hub.token()).await;
    let error = joined.unwrap_err().to_string();
    assert!(error.contains("it has been used"), "{error}");
    assert!(!error.contains("tried to join before"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn when_the_answer_was_lost_the_agent_says_so() {
    let hub = FakeHub::start().await;
    hub.state.lock().loses_answer = true;
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let token = TokenSource::Given(JoinToken::parse(&hub.token()).unwrap());
    let joined = join(&hub.endpoint, &token, &folder, "0.0.0");
    let error = within("the agent gives up", joined).await.err().unwrap();
    let error = error.to_string();
    assert!(error.contains("tried to join before"), "{error}");
    assert!(folder.load().unwrap().is_none());
}

#[tokio::test]
async fn an_agent_waits_for_a_hub_that_is_away() {
    let mut hub = FakeHub::start().await;
    hub.kill();
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let token = TokenSource::Given(JoinToken::parse(&hub.token()).unwrap());
    let endpoint = hub.endpoint.clone();
    let joined = tokio::spawn(async move {
        join(&endpoint, &token, &folder, "0.0.0")
            .await
            .map(|identity| identity.cluster.to_string())
    });
    let _hub = hub.restart().await;
    let joined = within("the agent joins", joined).await.unwrap();
    assert_eq!(joined.unwrap(), "eu-1");
}

#[tokio::test]
async fn without_a_token_the_agent_says_where_to_get_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let error = join("127.0.0.1:1", &TokenSource::None, &folder, "")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, JoinError::NoToken(_)));
    assert!(error.to_string().contains("lockstep token create"));
}

#[tokio::test]
async fn a_later_start_needs_no_token_and_does_not_spend_one() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    Agent::start(&hub, dir.path()).await.kill().await;
    for token in [None, Some(hub.authority.token("two"))] {
        let agent = Agent::with_token(&hub, dir.path(), token.as_deref()).await;
        hub.session().await.open().await;
        agent.kill().await;
    }
    assert_eq!(hub.state.lock().enrolled, 1);
}

#[tokio::test]
async fn a_refused_identity_joins_again_with_a_new_token() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    Agent::start(&hub, dir.path()).await.kill().await;
    let first = std::fs::read(dir.path().join("identity/identity.json")).unwrap();
    // The hub was set up anew, at the same address.
    hub.kill();
    let plan = Plan {
        port: hub.endpoint.rsplit_once(':').unwrap().1.parse().unwrap(),
        ..Plan::default()
    };
    let mut other = FakeHub::with(Arc::new(Authority::new()), plan, Arc::default()).await;
    let _agent = Agent::with_token(&other, dir.path(), Some(&other.authority.token("two"))).await;
    other.session().await.open().await;
    assert_eq!(other.state.lock().enrolled, 1);
    assert_ne!(
        std::fs::read(dir.path().join("identity/identity.json")).unwrap(),
        first
    );
}

#[tokio::test]
async fn an_identity_without_its_key_is_not_one() {
    let hub = FakeHub::start().await;
    let (dir, _) = try_to_join(&hub, &hub.token()).await;
    std::fs::remove_file(dir.path().join("identity/key.pem")).unwrap();
    let error = Folder::open(dir.path()).unwrap().load().err().unwrap();
    assert!(error.to_string().contains("the key"), "{error}");
}

#[tokio::test]
async fn a_damaged_identity_names_the_file() {
    let hub = FakeHub::start().await;
    let (dir, _) = try_to_join(&hub, &hub.token()).await;
    let path = dir.path().join("identity/identity.json");
    let whole = std::fs::read(&path).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    for length in [0, 1, whole.len() / 2] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = folder.load().err().unwrap().to_string();
        assert!(error.contains("identity.json"), "{error}");
    }
}
