//! Random ways to random targets, walked step by step with failures, laggards,
//! restarts and pre-emption: the order is never broken, nothing runs twice for
//! one target, and every way ends.

use std::collections::{BTreeMap, HashMap};

use lockstep_proto::Digest;
use lockstep_proto::traits::{HookDelete, Traits};
use lockstep_proto::v1::ApplyOptions;
use lockstep_proto::v1::health::Status as Health;
use proptest::prelude::*;

use super::*;
use crate::apply::Target;
use crate::health::{Judgement, Subject, judge};
use crate::inventory::{News, Run};

/// One object of a target.
#[derive(Debug, Clone)]
struct Object {
    name: u8,
    kind: u8,
    wave: i16,
    hook: u8,
    content: u8,
    /// Attempts that are refused before one is taken.
    refusals: u8,
    /// Rests that it takes to become ready.
    slowness: u8,
}

const KINDS: &[(&str, &str)] = &[
    ("", "ConfigMap"),
    ("apps", "Deployment"),
    ("", "Namespace"),
    ("rbac.authorization.k8s.io", "Role"),
    ("batch", "Job"),
];

fn object() -> impl Strategy<Value = Object> {
    let parts = (
        0..6_u8,
        0..5_u8,
        -1..2_i16,
        0..6_u8,
        0..3_u8,
        0..3_u8,
        0..3_u8,
    );
    parts.prop_map(
        |(name, kind, wave, hook, content, refusals, slowness)| Object {
            name,
            kind,
            wave,
            hook,
            content,
            refusals,
            slowness,
        },
    )
}

impl Object {
    fn traits(&self) -> Traits {
        let delete = HookDelete {
            before_creation: self.content != 1,
            succeeded: self.content == 1,
            failed: false,
        };
        let hook = match self.hook {
            0 => Some(Hook::PreSync),
            1 => Some(Hook::PostSync),
            2 => Some(Hook::SyncFail),
            _ => None,
        };
        Traits {
            wave: self.wave,
            hook: hook.map(|hook| (hook, delete)),
            ..Traits::default()
        }
    }
}

struct Walk {
    inventory: Inventory,
    goal: Goal,
    objects: BTreeMap<ObjectId, Object>,
    now: Instant,
    version: u64,
    refused: HashMap<ObjectId, u8>,
    rested: HashMap<ObjectId, u8>,
    /// Hooks that were begun for the present target.
    begun: Vec<ObjectId>,
}

impl Walk {
    fn new() -> Self {
        let inventory = Inventory::new("shop");
        Self {
            inventory,
            goal: Goal::Remove,
            objects: BTreeMap::new(),
            now: Instant::now(),
            version: 10,
            refused: HashMap::new(),
            rested: HashMap::new(),
            begun: Vec::new(),
        }
    }

    fn aim(&mut self, objects: &[Object]) {
        self.inventory.want_nothing();
        self.objects.clear();
        self.begun.clear();
        self.refused.clear();
        self.rested.clear();
        for object in objects {
            let (group, kind) = KINDS[usize::from(object.kind)];
            let name = format!("o{}", object.name);
            let namespace = if kind == "Namespace" { "" } else { "shop" };
            let id = self.inventory.id(group, kind, namespace, &name);
            self.objects.insert(id, object.clone());
        }
        let digest = Digest::of(format!("{:?}", self.objects).as_bytes());
        for (id, object) in &self.objects {
            let content = format!("{:?}{}", object.traits(), object.content);
            let traits = object.traits();
            let traits = (traits != Traits::default()).then(|| Box::new(traits));
            let wanted = Digest::of(content.as_bytes());
            self.inventory.want(id, "v1", wanted, traits);
        }
        self.inventory.aimed = true;
        let options = ApplyOptions {
            prune: true,
            prune_approved: true,
            prune_kinds: vec!["Namespace".into()],
            namespace: "shop".into(),
            ..ApplyOptions::default()
        };
        let item = lockstep_proto::v1::DesiredItem {
            bundle_digest: digest.to_string(),
            options: Some(options),
            ..lockstep_proto::v1::DesiredItem::default()
        };
        self.goal = Goal::Keep(Target::read(&item).unwrap());
    }

    fn target(&self) -> &Target {
        self.goal.target().unwrap()
    }

    /// What was sent must have found everything before it ready.
    fn check_order(&self, place: Place, sent: &ObjectId) {
        if !self.inventory.get(sent).unwrap().is_outdated() {
            return;
        }
        for (id, item) in self.inventory.iter().filter(|(_, i)| i.wanted.is_some()) {
            let traits = item.traits();
            if let Some((hook, _)) = traits.hook {
                let succeeded = item.run.as_ref().is_some_and(|run| {
                    run.target == self.target().digest && run.end == Some(End::Succeeded)
                });
                let first = hook != Hook::PreSync || succeeded || id.namespace.is_empty();
                let container = sent.is("", "Namespace");
                assert!(first || container, "{sent} was sent before hook {id}");
                continue;
            }
            let kinds = KindMap::default();
            let around = Surroundings::new(&self.inventory, &kinds);
            let earlier = around.place(id, traits.wave).gate() < place.gate();
            if earlier {
                assert!(!item.is_outdated(), "{sent} was sent before {id}");
                assert!(
                    !item.fresh || item.is_ready(),
                    "{sent} did not wait for {id}"
                );
            }
        }
    }

    fn answer(&mut self, id: &ObjectId) {
        self.version += 1;
        let watched = matches!(&*id.kind.kind, "Deployment" | "Job" | "Namespace");
        let item = self.inventory.get_mut(id).unwrap();
        item.answered(self.version, 7, false, watched);
        let wanted = item.wanted.unwrap();
        self.inventory.confirm(id, wanted, 7);
        self.rested.insert(id.clone(), 0);
    }

    fn is_refused(&mut self, id: &ObjectId) -> bool {
        let refusals = self.objects[id].refusals;
        let refused = self.refused.entry(id.clone()).or_default();
        *refused += 1;
        *refused <= refusals
    }

    /// Time passes: laggards come, waits end.
    fn rest(&mut self, until: Option<Instant>) -> bool {
        let mut news = false;
        let lagging: Vec<ObjectId> = self
            .inventory
            .iter()
            .filter(|(id, item)| {
                item.presence == Presence::Present
                    && !item.is_ready()
                    && self.objects.contains_key(id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in lagging {
            let rested = self.rested.entry(id.clone()).or_default();
            *rested += 1;
            news = true;
            if *rested > self.objects[&id].slowness {
                self.version += 1;
                let job: Subject = serde_json::from_value(serde_json::json!({
                    "status": {"conditions": [{"type": "Complete", "status": "True"}]}}))
                .unwrap();
                let judgement = match &*id.kind.kind {
                    "Job" => judge("batch", "Job", &job),
                    _ => Judgement::healthy(),
                };
                let version = self.version;
                let item = self.inventory.get_mut(&id).unwrap();
                item.hear(News::There {
                    version,
                    owned: 7,
                    going: false,
                    judgement,
                });
            }
        }
        if news {
            return true;
        }
        match until {
            Some(until) => {
                self.now = self.now.max(until);
                true
            }
            None => false,
        }
    }

    /// One step; false where nothing is left to do.
    fn step(&mut self) -> bool {
        let kinds = KindMap::default();
        let step = next(
            &self.goal,
            &self.inventory,
            &kinds,
            Pace::default(),
            self.now,
        );
        match step {
            Step::Store { begin } => {
                if begin {
                    let digest = self.target().digest;
                    if !self.inventory.has_reached(self.target()) {
                        self.inventory.begin(digest);
                    }
                    self.inventory.intend();
                }
                self.inventory.stored();
            }
            Step::Send(place, ids) => {
                for id in ids {
                    assert!(
                        self.inventory.get(&id).unwrap().stored,
                        "{id} is not stored"
                    );
                    self.check_order(place, &id);
                    if self.is_refused(&id) {
                        let then = self.now + Duration::from_secs(1);
                        self.inventory.get_mut(&id).unwrap().failed("no", then);
                    } else {
                        self.answer(&id);
                    }
                }
            }
            Step::Run(ids) => {
                for id in ids {
                    let item = self.inventory.get(&id).unwrap();
                    assert!(item.stored, "{id} is not stored");
                    if item.hook().unwrap().0 == Hook::PostSync {
                        assert!(self.inventory.has_reached(self.target()), "{id} came early");
                    }
                    if self.is_refused(&id) {
                        let then = self.now + Duration::from_secs(1);
                        self.inventory.get_mut(&id).unwrap().failed("no", then);
                        continue;
                    }
                    assert!(!self.begun.contains(&id), "{id} ran twice");
                    self.begun.push(id.clone());
                    self.answer(&id);
                    let mut run = Run::begun(self.target().digest);
                    run.at = self.now;
                    self.inventory.ran(&id, run);
                }
            }
            Step::Conclude(ended) => {
                for (id, end) in ended {
                    assert_eq!(end, End::Succeeded, "{id}");
                    self.inventory.concluded(&id, end);
                }
                self.inventory.stored();
            }
            Step::Clear(ids) => {
                for id in ids {
                    let item = self.inventory.get_mut(&id).unwrap();
                    let version = item.version;
                    item.hear(News::Gone { version });
                }
            }
            Step::Delete(ids) | Step::Release(ids) => {
                for id in ids {
                    self.inventory.forget(&id);
                }
            }
            Step::Settle => {
                let (digest, namespace) = {
                    let target = self.target();
                    (target.digest, target.namespace.clone())
                };
                self.inventory.settle(digest, "r", &namespace);
                self.inventory.stored();
            }
            Step::Rest(until) => return self.rest(until),
            step => panic!("{step:?} is asked for by nobody"),
        }
        true
    }

    fn check_end(&self) {
        assert!(self.inventory.has_reached(self.target()));
        assert_eq!(self.inventory.len(), self.objects.len());
        for (id, item) in self.inventory.iter() {
            assert!(!item.is_outdated(), "{id} is not applied");
            let Some((hook, _)) = item.hook() else {
                assert_eq!(item.health, Health::Healthy, "{id}");
                continue;
            };
            let ran = item.run.as_ref().is_some_and(|run| {
                run.target == self.target().digest && run.end == Some(End::Succeeded)
            });
            assert!(ran || hook == Hook::SyncFail, "{id} did not run");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_way_keeps_the_order_and_ends(
        targets in prop::collection::vec((prop::collection::vec(object(), 1..8), 0..60_usize), 1..4)
    ) {
        let mut walk = Walk::new();
        let last = targets.len() - 1;
        for (i, (objects, patience)) in targets.iter().enumerate() {
            walk.aim(objects);
            // All but the last may be pre-empted anywhere.
            let most = if i == last { 2_000 } else { *patience };
            let mut left = most;
            while left > 0 && walk.step() {
                left -= 1;
            }
            if i == last {
                prop_assert!(left > 0, "it never ends: {:?}", walk.inventory);
            }
        }
        walk.check_end();
    }
}
