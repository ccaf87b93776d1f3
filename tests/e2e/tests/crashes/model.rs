//! What is wanted, and what has to be so in the end.

use lockstep_proto::v1::{ApplyOptions, drift};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

pub const ASSIGNMENTS: [&str; 3] = ["one", "two", "three"];

/// One object that an Assignment may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub namespace: &'static str,
    pub name: &'static str,
    pub folder: &'static str,
    /// The slot without which it cannot be.
    pub needs: Option<usize>,
}

const fn slot(
    api_version: &'static str,
    kind: &'static str,
    namespace: &'static str,
    name: &'static str,
    folder: &'static str,
    needs: Option<usize>,
) -> Slot {
    Slot {
        api_version,
        kind,
        namespace,
        name,
        folder,
        needs,
    }
}

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const NAMESPACE: usize = 9;
const DEFINITION: usize = 11;

pub const SLOTS: [Slot; 14] = [
    slot("v1", "ConfigMap", "shop", "m0", MAPS, None),
    slot("v1", "ConfigMap", "shop", "m1", MAPS, None),
    slot("v1", "ConfigMap", "shop", "m2", MAPS, None),
    slot("v1", "ConfigMap", "shop", "m3", MAPS, None),
    slot("v1", "ConfigMap", "shop", "m4", MAPS, None),
    slot(
        "v1",
        "Secret",
        "shop",
        "s0",
        "/api/v1/namespaces/shop/secrets",
        None,
    ),
    slot(
        "v1",
        "ServiceAccount",
        "shop",
        "robot",
        "/api/v1/namespaces/shop/serviceaccounts",
        None,
    ),
    slot(
        "apps/v1",
        "Deployment",
        "shop",
        "web",
        "/apis/apps/v1/namespaces/shop/deployments",
        None,
    ),
    slot(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "",
        "shop-reader",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        None,
    ),
    slot("v1", "Namespace", "", "extra", "/api/v1/namespaces", None),
    slot(
        "v1",
        "ConfigMap",
        "extra",
        "inside",
        "/api/v1/namespaces/extra/configmaps",
        Some(NAMESPACE),
    ),
    slot(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        "widgets.example.com",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        None,
    ),
    slot(
        "example.com/v1",
        "Widget",
        "shop",
        "w0",
        "/apis/example.com/v1/namespaces/shop/widgets",
        Some(DEFINITION),
    ),
    slot(
        "v1",
        "Service",
        "shop",
        "web",
        "/api/v1/namespaces/shop/services",
        None,
    ),
];

impl Slot {
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }

    /// A person can change or delete it without taking others down.
    pub fn is_plain(&self) -> bool {
        matches!(
            self.kind,
            "ConfigMap" | "Secret" | "ServiceAccount" | "ClusterRole"
        )
    }

    pub fn is_precious(&self) -> bool {
        matches!(self.kind, "Namespace" | "CustomResourceDefinition")
    }
}

/// How one slot is wanted.
#[derive(Debug, Clone)]
pub struct Want {
    /// The Assignment that has it.
    pub owner: Option<usize>,
    pub content: u32,
    pub wave: i16,
    pub drift: Option<drift::Policy>,
    pub keep: bool,
}

/// What somebody did to an object, and nobody put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    Edited,
    Deleted,
}

/// How one slot is in the cluster, when all is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Absent,
    /// Of this Assignment.
    Ours(usize),
    /// There, and nobody's.
    Left,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Model {
    pub wants: Vec<Want>,
    pub options: Vec<ApplyOptions>,
    pub states: Vec<State>,
    pub hands: Vec<Option<Hand>>,
    /// Assignments that the hub has ever spoken of.
    pub known: [bool; 3],
}

impl Model {
    pub fn new(rng: &mut StdRng) -> Self {
        let wants = SLOTS.iter().map(|slot| Want {
            owner: None,
            content: 0,
            wave: if rng.random_bool(0.3) {
                rng.random_range(-1..=1)
            } else {
                0
            },
            drift: match rng.random_range(0..8) {
                0 if slot.is_plain() => Some(drift::Policy::Report),
                1 if slot.is_plain() => Some(drift::Policy::Ignore),
                _ => None,
            },
            keep: rng.random_bool(0.1),
        });
        let mut model = Self {
            wants: wants.collect(),
            options: ASSIGNMENTS.iter().map(|_| options(rng)).collect(),
            states: vec![State::Absent; SLOTS.len()],
            hands: vec![None; SLOTS.len()],
            known: [false; 3],
        };
        model.revise(rng, 0.6);
        model
    }

    /// What is done about drift of a slot.
    pub fn policy(&self, slot: usize) -> drift::Policy {
        let want = &self.wants[slot];
        let default = want
            .owner
            .map_or(drift::Policy::Correct, |owner| self.options[owner].drift());
        want.drift.unwrap_or(default)
    }

    /// A new commit, and what follows of it.
    pub fn revise(&mut self, rng: &mut StdRng, share: f64) {
        let before = self.clone();
        match rng.random_range(0..8) {
            // One Assignment goes.
            0 => {
                let gone = rng.random_range(0..ASSIGNMENTS.len());
                for want in &mut self.wants {
                    want.owner = want.owner.filter(|owner| *owner != gone);
                }
            }
            // One is taken another way.
            1 => {
                let which = rng.random_range(0..ASSIGNMENTS.len());
                self.options[which] = options(rng);
            }
            _ => {}
        }
        for (slot, want) in self.wants.iter_mut().enumerate() {
            if SLOTS[slot].needs.is_some() || !rng.random_bool(share) {
                continue;
            }
            match rng.random_range(0..10) {
                0..3 => want.owner = None,
                3..6 => want.owner = Some(rng.random_range(0..ASSIGNMENTS.len())),
                _ => {}
            }
            want.content += u32::from(rng.random_bool(0.5));
        }
        for (slot, at) in SLOTS.iter().enumerate() {
            let Some(needed) = at.needs else { continue };
            let owner = self.wants[needed].owner;
            let want = &mut self.wants[slot];
            want.owner = owner.filter(|_| rng.random_bool(0.8));
            want.content += u32::from(rng.random_bool(0.3));
        }
        self.follow(&before);
    }

    /// Every Assignment goes.
    pub fn end(&mut self) {
        let before = self.clone();
        for want in &mut self.wants {
            want.owner = None;
        }
        self.follow(&before);
    }

    /// What the cluster comes to after what was wanted `before`.
    fn follow(&mut self, before: &Self) {
        for slot in 0..SLOTS.len() {
            let (was, want) = (&before.wants[slot], &self.wants[slot]);
            if was.owner != want.owner || was.content != want.content {
                self.hands[slot] = None;
            }
            if self.policy(slot) == drift::Policy::Correct {
                self.hands[slot] = None;
            }
            self.states[slot] = match (self.wants[slot].owner, was.owner) {
                (Some(owner), _) => State::Ours(owner),
                (None, Some(_)) if before.hands[slot] == Some(Hand::Deleted) => State::Absent,
                (None, Some(owner)) => self.dropped(before, slot, owner),
                (None, None) => self.states[slot],
            };
        }
        // Something that stays keeps what it lives by, if both go at once.
        for (slot, at) in SLOTS.iter().enumerate() {
            let Some(needed) = at.needs else { continue };
            let goes = |slot: usize| self.wants[slot].owner.is_none();
            let owner = before.wants[slot].owner;
            let together = owner.is_some() && goes(slot) && goes(needed);
            if together
                && before.wants[needed].owner == owner
                && owner.is_some_and(|owner| self.dropped(before, slot, owner) == State::Left)
            {
                self.states[needed] = State::Left;
            }
        }
        // What lives in or by something goes with it.
        for (slot, at) in SLOTS.iter().enumerate() {
            if at
                .needs
                .is_some_and(|needed| self.states[needed] == State::Absent)
            {
                self.states[slot] = State::Absent;
            }
        }
    }

    /// What becomes of an object that its Assignment no longer lists.
    fn dropped(&self, before: &Self, slot: usize, owner: usize) -> State {
        // A tombstone goes by what was said before it.
        let has = self.wants.iter().any(|want| want.owner == Some(owner));
        let options = if has {
            &self.options[owner]
        } else {
            &before.options[owner]
        };
        let prunes = !has || options.prune;
        let precious = SLOTS[slot].is_precious()
            && !options
                .prune_kinds
                .iter()
                .any(|kind| kind == SLOTS[slot].kind);
        if prunes && !precious && !self.wants[slot].keep {
            State::Absent
        } else {
            State::Left
        }
    }

    /// The objects of an Assignment, as Git has them.
    pub fn objects(&self, owner: usize) -> Vec<Value> {
        let mine = self
            .wants
            .iter()
            .enumerate()
            .filter(|(_, want)| want.owner == Some(owner));
        mine.map(|(slot, want)| object(&SLOTS[slot], want))
            .collect()
    }

    /// Slots that stand before and after, and so at every moment between.
    pub fn stands(&self, before: &Self) -> Vec<usize> {
        let wanted = |model: &Self, slot: usize| {
            matches!(model.states[slot], State::Ours(_)) && model.hands[slot] != Some(Hand::Deleted)
        };
        (0..SLOTS.len())
            .filter(|slot| wanted(before, *slot) && wanted(self, *slot))
            .collect()
    }
}

fn options(rng: &mut StdRng) -> ApplyOptions {
    let mut prune_kinds = Vec::new();
    for kind in ["Namespace", "CustomResourceDefinition"] {
        if rng.random_bool(0.7) {
            prune_kinds.push(kind.to_owned());
        }
    }
    let policy = match rng.random_range(0..10) {
        0 => drift::Policy::Report,
        1 => drift::Policy::Ignore,
        _ => drift::Policy::Correct,
    };
    ApplyOptions {
        namespace: "shop".into(),
        create_namespace: true,
        prune: rng.random_bool(0.9),
        max_prune: "100%".into(),
        drift: policy.into(),
        prune_kinds,
        ..ApplyOptions::default()
    }
}

fn object(slot: &Slot, want: &Want) -> Value {
    let value = want.content.to_string();
    let mut object = json!({"apiVersion": slot.api_version, "kind": slot.kind,
        "metadata": {"name": slot.name, "annotations": {"content": value}}});
    let metadata = &mut object["metadata"];
    if !slot.namespace.is_empty() {
        metadata["namespace"] = slot.namespace.into();
    }
    let notes = &mut metadata["annotations"];
    if want.wave != 0 {
        notes["lockstep.dev/wave"] = want.wave.to_string().into();
    }
    if let Some(policy) = want.drift {
        notes["lockstep.dev/drift"] = policy.as_str_name().into();
    }
    if want.keep {
        notes["lockstep.dev/prune"] = "Disabled".into();
    }
    let labels = json!({"app": "web"});
    match slot.kind {
        "ConfigMap" => object["data"] = json!({"key": value}),
        "Secret" => object["stringData"] = json!({"key": value}),
        "Deployment" => {
            object["spec"] = json!({"replicas": 1, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "web", "image": format!("web:{value}")}]}}});
        }
        "Service" => object["spec"] = json!({"selector": labels, "ports": [{"port": 80}]}),
        "ClusterRole" => {
            object["rules"] = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
        }
        "CustomResourceDefinition" => {
            object["spec"] = json!({"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                    {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
        }
        "Widget" => object["spec"] = json!({"size": want.content}),
        _ => {}
    }
    object
}
