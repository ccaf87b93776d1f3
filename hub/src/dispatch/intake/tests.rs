use std::collections::BTreeSet;

use futures::poll;
use tokio::task::JoinHandle;

use super::*;

/// A store that commits when it is let, and fails when it is told to.
#[derive(Clone, Default)]
struct Disk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    stored: Mutex<Vec<Vec<(String, String, u64)>>>,
    fails: Mutex<usize>,
    mute: Mutex<BTreeSet<u64>>,
    gate: Mutex<Option<Arc<Notify>>>,
    begun: Notify,
}

impl Ledger for Disk {
    fn speaks(&self, link: &Link) -> bool {
        !self.0.mute.lock().contains(&link.epoch)
    }

    async fn store(
        &self,
        reports: Vec<(ClusterName, v1::Report)>,
        events: Vec<(ClusterName, v1::ObjectEvent)>,
    ) -> Result<(), StoreError> {
        self.0.begun.notify_one();
        let gate = self.0.gate.lock().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        let mut fails = self.0.fails.lock();
        if *fails > 0 {
            *fails -= 1;
            return Err(StoreError::Full);
        }
        let mut batch: Vec<_> = reports
            .into_iter()
            .map(|(cluster, report)| (cluster.to_string(), report.assignment, report.seq))
            .collect();
        batch.sort();
        batch.extend(
            events
                .into_iter()
                .map(|(cluster, event)| (cluster.to_string(), event.object, event.id)),
        );
        self.0.stored.lock().push(batch);
        Ok(())
    }
}

fn link(cluster: &str, epoch: u64) -> Arc<Link> {
    Arc::new(Link::new(
        ClusterName::new(cluster).unwrap(),
        "id",
        epoch,
        0,
    ))
}

fn report(assignment: &str, seq: u64) -> v1::Report {
    v1::Report {
        assignment: assignment.into(),
        seq,
        ..v1::Report::default()
    }
}

fn row(cluster: &str, assignment: &str, seq: u64) -> (String, String, u64) {
    (cluster.into(), assignment.into(), seq)
}

fn started(disk: &Disk) -> (Intake, CancellationToken, JoinHandle<()>) {
    let (intake, cancel) = (Intake::default(), CancellationToken::new());
    let task = tokio::spawn(intake.clone().run(disk.clone(), cancel.clone()));
    (intake, cancel, task)
}

#[tokio::test]
async fn an_acknowledgement_follows_the_commit() {
    let disk = Disk::default();
    let gate = Arc::new(Notify::new());
    *disk.0.gate.lock() = Some(Arc::clone(&gate));
    let (intake, ..) = started(&disk);
    let eu = link("eu-1", 1);
    intake.take(&eu, report("shop", 1));
    disk.0.begun.notified().await;
    assert_eq!(eu.stored(), 0, "not committed yet");
    gate.notify_one();
    eu.changed().await;
    assert_eq!(eu.stored(), 1);
}

#[tokio::test]
async fn what_gathers_during_a_commit_is_one_batch_of_the_latest() {
    let disk = Disk::default();
    let gate = Arc::new(Notify::new());
    *disk.0.gate.lock() = Some(Arc::clone(&gate));
    let (intake, ..) = started(&disk);
    let (eu, us) = (link("eu-1", 1), link("us-1", 2));
    intake.take(&eu, report("shop", 1));
    disk.0.begun.notified().await;
    for seq in 2..50 {
        intake.take(&eu, report("shop", seq));
    }
    intake.take(&eu, report("base", 50));
    intake.take(&us, report("shop", 1));
    intake.pass(&eu, 51);
    gate.notify_one();
    disk.0.begun.notified().await;
    gate.notify_one();
    us.changed().await;
    assert_eq!(
        eu.stored(),
        51,
        "acknowledged up to the last, also of what was dropped"
    );
    let stored = disk.0.stored.lock();
    assert_eq!(stored[0], [row("eu-1", "shop", 1)]);
    assert_eq!(
        stored[1],
        [
            row("eu-1", "base", 50),
            row("eu-1", "shop", 49),
            row("us-1", "shop", 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failing_disk_acknowledges_nothing_and_loses_nothing() {
    let disk = Disk::default();
    *disk.0.fails.lock() = 3;
    let (intake, ..) = started(&disk);
    let eu = link("eu-1", 1);
    intake.take(&eu, report("shop", 1));
    disk.0.begun.notified().await;
    intake.take(&eu, report("shop", 3));
    intake.take(&eu, report("base", 2));
    assert_eq!(eu.stored(), 0);
    while eu.stored() < 3 {
        eu.changed().await;
    }
    let stored = disk.0.stored.lock();
    assert_eq!(*stored, [[row("eu-1", "base", 2), row("eu-1", "shop", 3)]]);
}

#[tokio::test]
async fn a_replaced_session_neither_overwrites_nor_is_stored() {
    let disk = Disk::default();
    let gate = Arc::new(Notify::new());
    *disk.0.gate.lock() = Some(Arc::clone(&gate));
    let (intake, ..) = started(&disk);
    let (other, old, new) = (link("us-1", 1), link("eu-1", 2), link("eu-1", 3));
    intake.take(&other, report("shop", 1));
    disk.0.begun.notified().await;
    disk.0.mute.lock().insert(old.epoch);
    intake.take(&old, report("base", 8));
    intake.take(&new, report("shop", 1));
    intake.take(&old, report("shop", 9));
    gate.notify_one();
    disk.0.begun.notified().await;
    gate.notify_one();
    new.changed().await;
    assert_eq!(disk.0.stored.lock()[1], [row("eu-1", "shop", 1)]);
}

#[tokio::test]
async fn a_new_session_waits_for_what_the_old_one_said() {
    let disk = Disk::default();
    let gate = Arc::new(Notify::new());
    *disk.0.gate.lock() = Some(Arc::clone(&gate));
    let (intake, ..) = started(&disk);
    let mut idle = Box::pin(intake.settled());
    assert!(poll!(&mut idle).is_ready(), "nothing is being stored");
    intake.take(&link("eu-1", 1), report("shop", 1));
    disk.0.begun.notified().await;
    let mut settled = Box::pin(intake.settled());
    assert!(poll!(&mut settled).is_pending());
    gate.notify_one();
    settled.await;
    assert_eq!(disk.0.stored.lock().len(), 1);
}

#[tokio::test]
async fn sessions_wait_while_too_much_waits_for_the_disk() {
    let disk = Disk::default();
    let gate = Arc::new(Notify::new());
    *disk.0.gate.lock() = Some(Arc::clone(&gate));
    let (intake, ..) = started(&disk);
    let eu = link("eu-1", 1);
    intake.take(&eu, report("shop", 1));
    disk.0.begun.notified().await;
    let mut seq = 2;
    while !intake.full() {
        let long = v1::Report {
            message: "x".repeat(4000),
            ..report(&format!("a{seq}"), seq)
        };
        intake.take(&eu, long);
        seq += 1;
    }
    assert!(seq > 1000, "there is room for a good many");
    let mut room = Box::pin(intake.room());
    assert!(poll!(&mut room).is_pending());
    gate.notify_one();
    room.await;
}

#[tokio::test]
async fn what_is_waiting_at_the_end_is_stored() {
    let disk = Disk::default();
    let (intake, cancel, task) = started(&disk);
    cancel.cancel();
    intake.take(&link("eu-1", 1), report("shop", 1));
    task.await.unwrap();
    assert_eq!(*disk.0.stored.lock(), [[row("eu-1", "shop", 1)]]);
}
