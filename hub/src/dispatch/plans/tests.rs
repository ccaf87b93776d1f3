use super::*;
use futures::FutureExt as _;
use v1::plan_part::Part;

fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

fn question(content: &[u8]) -> Arc<Question> {
    Arc::new(Question {
        assignment: "shop".into(),
        digest: Digest::of(content),
        revision: "f".repeat(40),
        options: v1::ApplyOptions::default(),
    })
}

fn header(id: u64, error: &str) -> v1::PlanHeader {
    v1::PlanHeader {
        id,
        error: error.into(),
    }
}

fn part(diff: &str) -> v1::PlanPart {
    v1::PlanPart {
        part: Some(Part::Object(v1::ObjectDiff {
            diff: diff.into(),
            ..v1::ObjectDiff::default()
        })),
    }
}

fn end(objects: usize) -> v1::PlanPart {
    let objects = objects.try_into().unwrap();
    v1::PlanPart {
        part: Some(Part::End(v1::PlanEnd { objects })),
    }
}

fn answered(asked: &mut Asked) -> Option<Answered> {
    asked.answer().now_or_never().flatten()
}

#[test]
fn a_plan_is_sent_once_in_each_session_of_its_cluster_and_answered_by_it_alone() {
    let plans = Plans::default();
    let (eu, us) = (cluster("eu-1"), cluster("us-1"));
    let mut asked = plans.ask(&eu, question(b"a"));
    let sent = plans.unsent(&eu, 7);
    assert_eq!(sent.len(), 1);
    assert!(plans.unsent(&eu, 7).is_empty());
    assert!(plans.unsent(&us, 8).is_empty());
    assert_eq!(
        plans.unsent(&eu, 9).len(),
        1,
        "the next session is asked again"
    );

    let id = sent[0].id;
    assert_eq!(
        plans.begin(&us, &header(id, "")).err(),
        Some(Unwanted::Nobody(id))
    );
    let mut incoming = plans.begin(&eu, &header(id, "")).unwrap();
    assert_eq!(
        plans.begin(&eu, &header(id, "")).err(),
        Some(Unwanted::Twice(id))
    );
    incoming.take(part("+a")).unwrap();
    assert!(answered(&mut asked).is_none());
    incoming.take(end(incoming.objects.len())).unwrap();
    let answer = answered(&mut asked).unwrap().unwrap();
    assert_eq!(answer.objects[0].diff, "+a");
}

#[test]
fn the_bundle_may_be_fetched_while_the_plan_stands_and_by_its_cluster_alone() {
    let plans = Plans::default();
    let (eu, us) = (cluster("eu-1"), cluster("us-1"));
    let asked = plans.ask(&eu, question(b"a"));
    assert!(plans.allows(&eu, Digest::of(b"a")));
    assert!(!plans.allows(&eu, Digest::of(b"b")));
    assert!(!plans.allows(&us, Digest::of(b"a")));
    drop(asked);
    assert!(!plans.allows(&eu, Digest::of(b"a")));
    assert!(plans.unsent(&eu, 1).is_empty());
}

#[test]
fn an_answer_that_breaks_off_may_come_again() {
    let plans = Plans::default();
    let eu = cluster("eu-1");
    let mut asked = plans.ask(&eu, question(b"a"));
    let id = plans.unsent(&eu, 1)[0].id;
    let mut first = plans.begin(&eu, &header(id, "")).unwrap();
    first.take(part("+lost")).unwrap();
    drop(first);
    let mut second = plans.begin(&eu, &header(id, "")).unwrap();
    second.take(part("+whole")).unwrap();
    second.take(end(1)).unwrap();
    let answer = answered(&mut asked).unwrap().unwrap();
    assert_eq!(answer.objects.len(), 1);
    assert_eq!(answer.objects[0].diff, "+whole");
}

#[test]
fn an_agent_says_why_there_is_no_plan_at_first_or_on_the_way() {
    let plans = Plans::default();
    let eu = cluster("eu-1");
    let mut asked = plans.ask(&eu, question(b"a"));
    let id = plans.unsent(&eu, 1)[0].id;
    let mut incoming = plans.begin(&eu, &header(id, "")).unwrap();
    incoming.take(part("+a")).unwrap();
    let why = v1::PlanPart {
        part: Some(Part::Header(header(id, "the API server\n is away"))),
    };
    incoming.take(why).unwrap();
    assert!(incoming.is_over());
    let error = answered(&mut asked).unwrap().unwrap_err();
    assert_eq!(error, "the API server  is away");
    drop(asked);

    let mut asked = plans.ask(&eu, question(b"a"));
    let id = plans.unsent(&eu, 1)[0].id;
    assert!(plans.begin(&eu, &header(id, "no")).unwrap().is_over());
    assert_eq!(answered(&mut asked).unwrap().unwrap_err(), "no");
}

/// Sends parts of 64 KiB until the hub takes no more.
fn flood(plans: &Plans, name: &str) -> (Asked, usize, Unwanted) {
    let eu = cluster(name);
    let asked = plans.ask(&eu, question(b"a"));
    let id = plans.unsent(&eu, 1)[0].id;
    let mut incoming = plans.begin(&eu, &header(id, "")).unwrap();
    let many = "x".repeat(64 << 10);
    for sent in 0.. {
        if let Err(error) = incoming.take(part(&many)) {
            return (asked, sent, error);
        }
    }
    unreachable!("it takes everything");
}

#[test]
fn an_answer_is_bounded_in_parts_and_in_all() {
    let plans = Plans::default();
    let (mut asked, sent, error) = flood(&plans, "eu-1");
    assert!(matches!(error, Unwanted::TooLarge(_)), "{error}");
    assert_eq!(sent, ANSWER_LIMIT / (64 << 10) - 1, "and framing");
    let error = answered(&mut asked).unwrap().unwrap_err();
    assert!(error.contains("more than"), "{error}");
    assert_eq!(plans.room.available_permits(), ROOM, "it is let go");

    let us = cluster("us-1");
    let _asked = plans.ask(&us, question(b"a"));
    let id = plans.unsent(&us, 1)[0].id;
    let mut incoming = plans.begin(&us, &header(id, "")).unwrap();
    let error = incoming.take(part(&"x".repeat(PART_LIMIT))).unwrap_err();
    assert!(matches!(error, Unwanted::TooLarge(_)), "{error}");

    let mut incoming = plans.ask_and_begin("af-1");
    for _ in 0..OBJECTS {
        incoming.1.take(part("")).unwrap();
    }
    assert!(incoming.1.take(part("")).is_err());
}

#[test]
fn all_answers_together_are_bounded_and_let_go_when_nobody_wants_them() {
    let plans = Plans::default();
    let many = "x".repeat((4 << 20) / 64 - 1024);
    let mut held = Vec::new();
    let mut refused = 0;
    for i in 0..40 {
        let (mut asked, mut incoming) = plans.ask_and_begin(&format!("c-{i}"));
        let all = (0..62).try_for_each(|_| incoming.take(part(&many)));
        match all {
            Ok(()) => {
                incoming.take(end(incoming.objects.len())).unwrap();
                held.push(answered(&mut asked).unwrap().unwrap());
            }
            Err(error) => {
                assert!(error.to_string().contains("--cluster"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && held.len() > 20, "{refused} of 40");
    drop(held);
    assert_eq!(plans.room.available_permits(), ROOM);
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_not_read_on() {
    let plans = Plans::default();
    let (asked, mut incoming) = plans.ask_and_begin("eu-1");
    assert!(incoming.unwanted().now_or_never().is_none());
    drop(asked);
    incoming.unwanted().await;
}

impl Plans {
    fn ask_and_begin(&self, name: &str) -> (Asked, Incoming) {
        let name = cluster(name);
        let asked = self.ask(&name, question(b"a"));
        let id = self.unsent(&name, 1)[0].id;
        let incoming = self.begin(&name, &header(id, "")).unwrap();
        (asked, incoming)
    }
}
