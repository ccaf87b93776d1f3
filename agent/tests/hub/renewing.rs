//! Certificates end; identities do not.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lockstep_agent::identity::{Folder, due};
use tonic::Status;

use crate::agent::Agent;
use crate::fake::{Authority, FakeHub, Plan};

async fn hub_that_gives(gives: (i64, i64)) -> FakeHub {
    let plan = Plan {
        gives,
        ..Plan::default()
    };
    FakeHub::with(Arc::new(Authority::new()), plan, Arc::default()).await
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends_and_used_from_then_on() {
    let mut hub = hub_that_gives((-1, 4)).await;
    let dir = tempfile::tempdir().unwrap();
    let _agent = Agent::start(&hub, dir.path()).await;
    let mut first = hub.session().await;
    first.open().await;
    let mut second = hub.session().await;
    second.open().await;
    assert_ne!(first.certificate, second.certificate);
    assert!(hub.state.lock().renewed >= 1);
    first.gone().await;
    let kept = Folder::open(dir.path()).unwrap().load().unwrap().unwrap();
    assert!(kept.not_after > SystemTime::now());
}

#[tokio::test]
async fn an_hour_of_wrong_clock_does_not_renew_in_a_loop() {
    // For this machine the certificate ended an hour ago, when it came.
    let hub = hub_that_gives((-90_000, -3_600)).await;
    let dir = tempfile::tempdir().unwrap();
    let _agent = Agent::start(&hub, dir.path()).await;
    let identity = Folder::open(dir.path()).unwrap().load().unwrap().unwrap();
    let now = SystemTime::now();
    let due = due(&identity, now, 1.0).duration_since(now).unwrap();
    assert!(due > Duration::from_secs(12 * 3600), "{due:?}");
}

#[tokio::test]
async fn a_hub_that_refuses_a_session_is_asked_for_a_new_certificate_first() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    hub.state.lock().refuses_sessions = Some(Status::unauthenticated("it has ended"));
    let _agent = Agent::start(&hub, dir.path()).await;
    while hub.state.lock().renewed == 0 {
        tokio::task::yield_now().await;
    }
    hub.state.lock().refuses_sessions = None;
    hub.session().await.open().await;
}
