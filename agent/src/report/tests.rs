use super::*;
use lockstep_proto::v1::Problem;
use proptest::prelude::*;

fn report(assignment: &str, message: &str) -> Report {
    Report {
        assignment: assignment.into(),
        message: message.into(),
        ..Report::default()
    }
}

fn held(report: &Report) -> HeldReport {
    HeldReport {
        assignment: report.assignment.clone(),
        digest: report_digest(report),
    }
}

/// An outbox with a clock that the test holds.
struct Timed {
    outbox: Outbox,
    now: Instant,
}

impl Timed {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(),
            now: Instant::now(),
        }
    }

    fn put(&self, assignment: &str, message: &str) {
        self.outbox.put(report(assignment, message));
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    fn take(&self) -> Option<Report> {
        self.outbox.take(self.now).ok()
    }
}

#[test]
fn the_first_report_leaves_at_once_and_the_next_ones_are_coalesced() {
    let mut outbox = Timed::new();
    outbox.put("a", "1");
    assert_eq!(outbox.take().unwrap().message, "1");
    for text in ["2", "3", "4"] {
        outbox.put("a", text);
        outbox.advance(Duration::from_millis(20));
        assert!(outbox.take().is_none());
    }
    outbox.advance(COALESCE - Duration::from_millis(60));
    let next = outbox.take().unwrap();
    assert_eq!((next.message.as_str(), next.seq), ("4", 2));
}

#[test]
fn one_assignment_does_not_hold_up_another() {
    let outbox = Timed::new();
    outbox.put("a", "1");
    outbox.take().unwrap();
    outbox.put("a", "2");
    outbox.put("b", "1");
    assert_eq!(outbox.take().unwrap().assignment, "b");
    assert!(outbox.take().is_none());
}

#[test]
fn the_same_content_is_not_sent_again() {
    let mut outbox = Timed::new();
    outbox.put("a", "1");
    outbox.outbox.acked(outbox.take().unwrap().seq);
    outbox.outbox.put(Report {
        observed_at: Some(pbjson_types::Timestamp::default()),
        ..report("a", "1")
    });
    outbox.advance(COALESCE);
    assert!(outbox.take().is_none());
    // There and back again while nobody looked.
    outbox.put("a", "2");
    outbox.put("a", "1");
    assert!(outbox.take().is_none());
}

#[test]
fn what_was_not_acked_is_sent_in_the_next_session_unless_it_is_held() {
    let outbox = Timed::new();
    for assignment in ["a", "b", "c"] {
        outbox.put(assignment, "1");
    }
    for _ in 0..3 {
        outbox.take().unwrap();
    }
    outbox.outbox.acked(1);
    outbox
        .outbox
        .opened(&[held(&report("a", "1")), held(&report("b", "1"))]);
    let next = outbox.take().unwrap();
    assert_eq!((next.assignment.as_str(), next.seq), ("c", 1));
    assert!(outbox.take().is_none());
}

#[test]
fn an_ack_of_an_older_report_does_not_cover_a_newer_one() {
    let mut outbox = Timed::new();
    outbox.put("a", "1");
    let first = outbox.take().unwrap();
    outbox.put("a", "2");
    outbox.advance(COALESCE);
    outbox.take().unwrap();
    outbox.outbox.acked(first.seq);
    outbox.outbox.opened(&[held(&first)]);
    assert_eq!(outbox.take().unwrap().message, "2");
}

#[test]
fn a_removed_assignment_is_not_spoken_of() {
    let outbox = Timed::new();
    outbox.put("a", "1");
    outbox.outbox.remove("a");
    assert!(outbox.take().is_none());
}

#[tokio::test]
async fn a_put_wakes_whoever_waits() {
    let outbox = Outbox::new();
    let waiting = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.next().await }
    });
    tokio::task::yield_now().await;
    outbox.put(report("a", "1"));
    assert_eq!(waiting.await.unwrap().assignment, "a");
}

#[test]
fn problems_that_do_not_fit_are_counted() {
    let problem = |n| Problem {
        object: format!("v1 ConfigMap shop/{n}"),
        message: "x".repeat(2000),
        ..Problem::default()
    };
    let cut = fit(Report {
        problems: (0..100).map(problem).collect(),
        more_problems: 7,
        ..report("a", &"é".repeat(5000))
    });
    assert_eq!(cut.problems.len() + cut.more_problems as usize, 107);
    assert!(!cut.problems.is_empty());
    assert!(cut.problems[0].object.ends_with("/0"));
    assert!(cut.message.ends_with('…') && cut.message.len() <= TEXT_BYTES);
}

proptest! {
    #[test]
    fn every_report_fits_a_message_and_is_cut_the_same_way_twice(
        message in ".{0,2000}",
        problems in proptest::collection::vec((".{0,700}", ".{0,700}"), 0..30),
    ) {
        let problems = problems
            .into_iter()
            .map(|(object, message)| Problem { object, message, ..Problem::default() });
        let mut cut = fit(Report {
            target_digest: "x".repeat(71),
            applied_digest: "x".repeat(71),
            target_revision: "x".repeat(64),
            applied_revision: "x".repeat(64),
            problems: problems.collect(),
            ..report(&"a".repeat(63), &message)
        });
        prop_assert_eq!(&cut, &fit(cut.clone()));
        cut.seq = u64::MAX;
        let message = AgentMessage { message: Some(agent_message::Message::Report(cut)) };
        prop_assert!(message.encoded_len() <= MESSAGE_BYTES);
    }
}
