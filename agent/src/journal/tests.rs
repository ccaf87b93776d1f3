use super::*;
use lockstep_proto::v1::object_event::Type;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

fn event(object: &str) -> ObjectEvent {
    ObjectEvent {
        assignment: "shop".into(),
        object: object.into(),
        r#type: Type::Drifted.into(),
        ..ObjectEvent::default()
    }
}

fn micros(micros: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(micros).unwrap()
}

fn taken(journal: &Journal) -> Vec<ObjectEvent> {
    std::iter::from_fn(|| journal.take()).collect()
}

fn names(events: &[ObjectEvent]) -> Vec<&str> {
    events.iter().map(|event| &*event.object).collect()
}

#[test]
fn ids_grow_whatever_the_clock_does() {
    let journal = Journal::default();
    for now in [1_000, 1_000, 5_000_000, 2_000] {
        journal.record_at(event("a"), micros(now));
    }
    let ids: Vec<_> = taken(&journal).iter().map(|event| event.id).collect();
    assert_eq!(ids, [1_000, 1_001, 5_000_000, 5_000_001]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_in_the_next_session_and_only_then() {
    let journal = Journal::default();
    for name in ["a", "b", "c"] {
        journal.record_at(event(name), micros(1));
    }
    let sent = taken(&journal);
    assert_eq!(names(&sent), ["a", "b", "c"]);
    journal.acked(sent[0].id);
    assert!(taken(&journal).is_empty());
    journal.opened();
    assert_eq!(names(&taken(&journal)), ["b", "c"]);
    journal.acked(sent[2].id);
    journal.opened();
    assert!(taken(&journal).is_empty());
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_loses_nothing() {
    let journal = Journal::default();
    journal.record_at(event("a"), micros(1));
    journal.acked(u64::MAX);
    assert_eq!(names(&taken(&journal)), ["a"]);
}

#[test]
fn no_more_is_under_way_than_reports_can_wait_for() {
    let journal = Journal::default();
    for _ in 0..WINDOW + 5 {
        journal.record_at(event("a"), micros(1));
    }
    let sent = taken(&journal);
    assert_eq!(sent.len(), WINDOW);
    journal.acked(sent[2].id);
    assert_eq!(taken(&journal).len(), 3);
}

#[test]
fn the_oldest_make_room_and_the_hub_is_told_how_many_were_lost() {
    let journal = Journal::default();
    for i in 0..ROOM + 3 {
        journal.record_at(event(&i.to_string()), micros(1));
    }
    let sent = taken(&journal);
    assert_eq!(sent[0].object, "3");
    assert!(
        sent[0].message.starts_with("3 earlier events"),
        "{:?}",
        sent[0].message
    );
    assert_eq!(sent[1].message, "");
    // Said again until it is known to have arrived.
    journal.opened();
    let sent = taken(&journal);
    assert!(sent[0].message.starts_with("3 earlier events"));
    journal.acked(sent[0].id);
    journal.opened();
    assert_eq!(taken(&journal)[0].message, "");
}

#[tokio::test]
async fn a_restart_finds_what_waited_and_goes_on_counting() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    // A clock that runs a day ahead, and is put right before the restart.
    let ahead = jiff::Timestamp::now() + jiff::Span::new().hours(24);
    journal.record_at(event("a"), ahead);
    journal.record_at(event("b"), ahead);
    let sent = taken(&journal);
    journal.acked(sent[0].id);
    journal.write().await.unwrap();

    let journal = Journal::open(dir.path()).unwrap();
    journal.record(event("c"));
    let again = taken(&journal);
    assert_eq!(names(&again), ["b", "c"]);
    assert_eq!(again[0], sent[1]);
    assert_eq!(again[1].id, sent[1].id + 1);
}

#[tokio::test]
async fn all_of_it_is_on_disk_when_the_agent_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    journal.record(event("a"));
    let cancel = CancellationToken::new();
    cancel.cancel();
    journal.keep(cancel).await;
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(names(&taken(&journal)), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_the_disk_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let cancel = CancellationToken::new();
    let keeping = tokio::spawn(journal.clone().keep(cancel.clone()));
    journal.record(event("a"));
    while file::read(&dir.path().join("journal.pb"))
        .unwrap()
        .events
        .is_empty()
    {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    cancel.cancel();
    keeping.await.unwrap();
}

#[test]
fn a_damaged_journal_is_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("journal.pb"), b"\x1a\xff nonsense").unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert!(taken(&journal).is_empty());
    journal.record(event("a"));
    assert_eq!(taken(&journal).len(), 1);
}

proptest! {
    #[test]
    fn an_event_fits_a_message_whatever_it_says(
        object in ".{0,3000}",
        message in ".{0,3000}",
        manager in ".{0,600}",
        fields in proptest::collection::vec(".{0,400}", 0..60),
    ) {
        let count = fields.len();
        let journal = Journal::default();
        journal.shared.state.lock().lost = u64::MAX;
        journal.record(ObjectEvent {
            message, manager, fields, more_fields: 7, ..event(&object)
        });
        let event = journal.take().unwrap();
        prop_assert_eq!(event.fields.len() + event.more_fields as usize, count + 7);
        let message = AgentMessage { message: Some(agent_message::Message::Event(event)) };
        prop_assert!(message.encoded_len() <= MESSAGE_BYTES, "{}", message.encoded_len());
    }
}
