//! Goes through a Bundle and the Inventory, and asks the cluster.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use lockstep_proto::bundle::{IndexEntry, ObjectKey};
use lockstep_proto::traits::Traits;
use lockstep_proto::v1::object_diff::Action;
use lockstep_proto::v1::{DesiredItem, ObjectDiff, Plan};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::coming::Coming;
use super::gone::{Going, aimed, going};
use super::show::{diff, redact};
use super::{Ground, Out};
use crate::apply::Target;
use crate::apply::aim::identify;
use crate::apply::backoff::moment;
use crate::apply::body::{as_found, body};
use crate::apply::ownership::{Verdict, verdict};
use crate::apply::refusal::{cannot_change, explain, immutable, narrowed};
use crate::bundle::{BundleFile, Listed};
use crate::cluster::{ApiError, Cluster, KindMap, Marks};
use crate::fields::Ignored;
use crate::inventory::{Inventory, ObjectId};

/// Requests of one plan in flight.
const PARALLEL: usize = 8;
/// Tries at one request, where the server may soon answer otherwise.
const TRIES: u32 = 4;
/// Objects of an answer; the hub takes no more.
const OBJECTS: usize = 10_000;

/// Says in `out` what applying what `plan` names would change.
///
/// # Errors
/// In words, where there is no plan.
pub async fn make(ground: &Arc<Ground>, plan: &Plan, out: &mut Out) -> Result<(), String> {
    let mut target = Target::read(&DesiredItem {
        assignment: plan.assignment.clone(),
        bundle_digest: plan.bundle_digest.clone(),
        revision: plan.revision.clone(),
        options: plan.options.clone(),
    })
    .map_err(|error| error.to_string())?;
    target.policy.prune_cap = ground.caps.prune_share();
    let _held = ground.hold(target.digest);
    let settled = ground.registry.get(&plan.assignment).and_then(|shared| {
        let inventory = shared.inventory.lock();
        inventory.settled.as_ref().map(|settled| settled.digest)
    });
    let fetched = ground.bundles.bundle(target.digest, settled).await;
    let file = fetched.map_err(|error| error.to_string())?;
    let listed = blocking({
        let file = file.clone();
        move || file.index().map_err(|error| error.to_string())
    })
    .await?;
    let mut coming = Coming::read(&file).await?;
    if target.create_namespace && ground.caps.refuses_namespace(&target.namespace).is_none() {
        coming.namespaces.insert(target.namespace.clone());
    }
    let kinds = kinds(&ground.cluster, &listed).await?;
    let mut look = Look {
        cluster: ground.cluster.acting(ground.caps.actor(&plan.assignment)),
        kinds,
        ground,
        plan,
        target: &target,
        settled: settled == Some(target.digest),
        coming,
        wanted: HashMap::with_capacity(listed.len()),
        ids: Vec::with_capacity(listed.len()),
    };
    look.name(listed);
    look.say(&file, out).await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

/// What the cluster serves, asked anew where the Bundle names something else.
async fn kinds(cluster: &Cluster, listed: &[Listed]) -> Result<Arc<KindMap>, String> {
    let known = cluster.kinds();
    let serves = |listed: &Listed| {
        let key = &listed.entry.key;
        known.exact(&key.api_version, &key.kind).is_some()
    };
    if listed.iter().all(serves) {
        return Ok(known);
    }
    let asked = cluster.discover(Instant::now()).await;
    asked.map_err(|error| error.to_string())
}

struct Look<'a> {
    cluster: Cluster,
    kinds: Arc<KindMap>,
    ground: &'a Ground,
    plan: &'a Plan,
    target: &'a Target,
    /// The Bundle is what was completely applied last.
    settled: bool,
    coming: Coming,
    /// By what the Bundle calls it: which object that is, and what is wrong
    /// with it before anybody is asked.
    wanted: HashMap<ObjectKey, Named>,
    /// All objects that are meant, and in which version.
    ids: Vec<(ObjectId, String)>,
}

enum Named {
    Object(ObjectId),
    /// It would not be applied, for this reason.
    Refused(ObjectId, String),
    /// The cluster does not serve its kind: no dry run can be made.
    Not(Action, String),
    /// It is not applied with the others, and nothing can be said of it.
    Hook(ObjectId, &'static str),
}

impl Look<'_> {
    /// Finds out which objects are meant, and whose they are.
    fn name(&mut self, listed: Vec<Listed>) {
        // For its words alone.
        let mut words = Inventory::new(&self.plan.assignment);
        let mut seen = HashSet::new();
        for Listed { entry, traits } in listed {
            let named = match identify(&mut words, &entry, &self.target.namespace, &self.kinds) {
                Err(why) => self.unserved(&entry, why),
                Ok(id) if !seen.insert(id.clone()) => Named::Refused(
                    id,
                    "the bundle lists it twice: once with this namespace and once without".into(),
                ),
                Ok(id) => {
                    let version = entry.key.api_version.clone();
                    self.ids.push((id.clone(), version));
                    match traits.map(|traits| traits.and_then(|traits| traits.hook)) {
                        Err(why) => Named::Refused(id, why.into()),
                        Ok(Some((hook, _))) => Named::Hook(id, hook.word()),
                        Ok(None) => Named::Object(id),
                    }
                }
            };
            self.wanted.insert(entry.key, named);
        }
        let ids: Vec<_> = self.ids.iter().map(|(id, _)| id.clone()).collect();
        let held = self
            .ground
            .registry
            .held_by_others(&self.plan.assignment, &ids);
        for named in self.wanted.values_mut() {
            let Named::Object(id) = named else { continue };
            if let Some(owner) = held.get(id) {
                *named = Named::Refused(id.clone(), format!("assignment {owner} owns it"));
            } else if let Some(why) = self.ground.caps.refuses(&self.plan.assignment, id) {
                *named = Named::Refused(id.clone(), why);
            }
        }
    }

    fn unserved(&self, entry: &IndexEntry, why: String) -> Named {
        let kind = (entry.key.group().to_owned(), entry.key.kind.clone());
        if self.coming.kinds.contains(&kind) {
            let note = "its CustomResourceDefinition comes with the same revision";
            Named::Not(Action::Create, note.to_owned())
        } else {
            Named::Not(Action::Fail, why)
        }
    }

    async fn say(&self, file: &BundleFile, out: &mut Out) -> Result<(), String> {
        let mut said = 0;
        // In the order of the Bundle, whichever answer comes first: clusters
        // that are alike must say the same.
        let changes = objects(file).map(|read| self.one(read)).buffered(PARALLEL);
        let going = self.going();
        let removals = futures::stream::iter(going).map(|going| self.removal(going));
        let mut all = std::pin::pin!(changes.chain(removals.buffered(PARALLEL)));
        while let Some(answered) = all.next().await {
            let Some(object) = answered? else { continue };
            said += 1;
            if said > OBJECTS || !out.object(object).await {
                return Err(format!(
                    "more would change than fits an answer: more than {} objects",
                    said - 1
                ));
            }
        }
        Ok(())
    }

    async fn one(
        &self,
        read: Result<(IndexEntry, Bytes), String>,
    ) -> Result<Option<ObjectDiff>, String> {
        let (entry, json) = read?;
        let Some(named) = self.wanted.get(&entry.key) else {
            return Ok(None);
        };
        match named {
            Named::Not(Action::Create, note) => {
                let object = entry.key.to_string();
                let diff = self.intended(&object, &json).await?;
                Ok(Some(said(object, Action::Create, diff, note.clone())))
            }
            Named::Refused(id, why) => {
                let object = id.say(&entry.key.api_version);
                Ok(Some(said(object, Action::Fail, None, why.clone())))
            }
            Named::Not(action, why) => Ok(Some(said(
                entry.key.to_string(),
                *action,
                None,
                why.clone(),
            ))),
            Named::Hook(..) if self.settled => Ok(None),
            Named::Hook(id, hook) => {
                let object = id.say(&entry.key.api_version);
                let diff = self.intended(&object, &json).await?;
                let note = format!("{hook} hook: it runs with this revision");
                Ok(Some(said(object, Action::Create, diff, note)))
            }
            Named::Object(id) => self.dry_run(id, &entry, json).await,
        }
    }

    /// What the Bundle says of an object that there can be no dry run of.
    async fn intended(&self, object: &str, json: &[u8]) -> Result<Option<String>, String> {
        let after = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        self.shown(object, None, Some(after)).await
    }

    async fn dry_run(
        &self,
        id: &ObjectId,
        entry: &IndexEntry,
        json: Bytes,
    ) -> Result<Option<ObjectDiff>, String> {
        let object = id.say(&entry.key.api_version);
        let fail = |why: &str| {
            let why = redact(why, &json);
            Ok(Some(said(object.clone(), Action::Fail, None, why)))
        };
        let key = &entry.key;
        let Some(resource) = self.kinds.exact(&key.api_version, &key.kind) else {
            return fail("the cluster no longer serves its kind");
        };
        let namespace = resource.namespaced.then_some(&*id.namespace);
        let body = match body(&json, namespace, &self.plan.assignment) {
            Ok(body) => body,
            Err(why) => return fail(&why),
        };
        let path = resource.object(&id.namespace, &id.name);
        let before = match again(|| self.cluster.get(&path)).await {
            Ok(before) => before,
            Err(error) if error.is_about_the_server() => return Err(error.to_string()),
            Err(error) => return fail(&format!("cannot be read: {error}")),
        };
        let note = match self.claim(id, before.as_ref()) {
            Ok(note) => note,
            Err(why) => return fail(&why),
        };
        let sent = match as_found(&body, self.ignored(id).as_ref(), before.as_ref(), None) {
            Ok((sent, _)) => sent,
            Err(why) => return fail(&why),
        };
        let after = match again(|| self.cluster.dry_run(&path, sent.clone())).await {
            Ok(after) => after,
            Err(error) if error.is_about_the_server() => return Err(error.to_string()),
            Err(error)
                if before.is_none()
                    && error.is_namespace_missing(&id.namespace)
                    && self.coming.namespaces.contains(&*id.namespace) =>
            {
                let diff = self.intended(&object, &body).await?;
                let note = format!("namespace {} is made with it", id.namespace);
                return Ok(Some(said(object, Action::Create, diff, note)));
            }
            Err(error) => {
                return match self.replaced(&error, &body, before.as_ref()) {
                    Some(Ok(note)) => Ok(Some(said(object, Action::Change, None, note))),
                    Some(Err(why)) => fail(&why),
                    None => fail(&explain(&error, id, self.cluster.account())),
                };
            }
        };
        let action = match before {
            Some(_) => Action::Change,
            None => Action::Create,
        };
        let diff = self.shown(&object, before, Some(after)).await?;
        Ok(diff.map(|diff| said(object, action, Some(diff), note)))
    }

    fn ignored(&self, id: &ObjectId) -> Option<Ignored<'_>> {
        let rules = &self.target.policy.ignore;
        let ObjectId {
            kind,
            namespace,
            name,
        } = id;
        Ignored::of(rules, &kind.group, &kind.kind, namespace, name)
    }

    /// Whether what stands there may be ours, and what there is to say of that.
    fn claim(&self, id: &ObjectId, live: Option<&Value>) -> Result<String, String> {
        let (registry, assignment) = (&self.ground.registry, &self.plan.assignment);
        let shared = registry.get(assignment);
        let ours = shared.is_some_and(|shared| {
            let inventory = shared.inventory.lock();
            inventory.get(id).is_some_and(|item| item.ours)
        });
        let Some(live) = live.filter(|_| !ours) else {
            return Ok(String::new());
        };
        let marks = serde_json::from_value(live["metadata"].clone());
        let marks: Marks = marks.map_err(|error| error.to_string())?;
        let known = |name: &str| registry.get(name).is_some();
        match verdict(self.target.policy.adopt, assignment, id, &marks, known) {
            Verdict::Ours => Ok(String::new()),
            Verdict::Adopt(Some(owner)) => Ok(format!("it would be taken over from {owner}")),
            Verdict::Adopt(None) => Ok("it is there already, and would be taken over".to_owned()),
            Verdict::Refuse(why) => Err(why),
        }
    }

    /// Where fields cannot change: whether the object would be made anew, as
    /// it may ask for, or why not.
    fn replaced(
        &self,
        error: &ApiError,
        body: &[u8],
        live: Option<&Value>,
    ) -> Option<Result<String, String>> {
        let (fields, live) = immutable(error).zip(live)?;
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let fields = narrowed(error, &fields, &wanted, live);
        let label = live.pointer("/metadata/labels/lockstep.dev~1assignment");
        let ours = label.and_then(Value::as_str) == Some(&self.plan.assignment);
        let asks = Traits::of_json(body).unwrap_or_default().replace;
        Some(if asks && ours {
            let fields = fields.join(", ");
            Ok(format!(
                "it would be deleted and made anew, for {fields} cannot be changed"
            ))
        } else {
            Err(cannot_change(&fields))
        })
    }

    /// What the Inventory lists and the Bundle does not.
    fn going(&self) -> Vec<Going> {
        let Some(shared) = self.ground.registry.get(&self.plan.assignment) else {
            return Vec::new();
        };
        let wanted = self.ids.iter().map(|(id, version)| (id, &**version));
        let aimed = aimed(&shared.inventory.lock(), wanted);
        let mut going = going(self.target, &aimed, &self.kinds);
        // What the cluster does not serve so is wanted all the same.
        let unclear = self
            .wanted
            .iter()
            .filter(|(_, n)| matches!(n, Named::Not(..)));
        let unclear: HashSet<_> = unclear
            .map(|(key, _)| (key.group(), &*key.kind, &*key.name))
            .collect();
        going.retain(|Going { id, .. }| {
            !unclear.contains(&(&*id.kind.group, &*id.kind.kind, &*id.name))
        });
        going
    }

    async fn removal(&self, going: Going) -> Result<Option<ObjectDiff>, String> {
        let Going {
            id,
            api_version,
            deleted,
            note,
        } = going;
        let object = id.say(&api_version);
        let found = self
            .kinds
            .exact(&api_version, &id.kind.kind)
            .or_else(|| self.kinds.preferred(&id.kind.group, &id.kind.kind));
        // Served no more, it cannot be there either.
        let Some(resource) = found else {
            return Ok(None);
        };
        if let Some(why) = self.ground.caps.refuses(&self.plan.assignment, &id) {
            return Ok(Some(said(object, Action::Fail, None, why)));
        }
        let path = resource.object(&id.namespace, &id.name);
        let live = match again(|| self.cluster.get(&path)).await {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(None),
            Err(error) if error.is_about_the_server() => return Err(error.to_string()),
            Err(error) => {
                let why = format!("cannot be read: {error}");
                return Ok(Some(said(object, Action::Fail, None, why)));
            }
        };
        let label = live.pointer("/metadata/labels/lockstep.dev~1assignment");
        if label.and_then(Value::as_str) != Some(&self.plan.assignment) {
            // Not ours any more: it is left alone.
            return Ok(None);
        }
        let diff = match deleted {
            true => self.shown(&object, Some(live), None).await?,
            false => None,
        };
        Ok(Some(said(object, Action::Delete, diff, note)))
    }

    /// Large texts take a while to compare: not on a thread that others need.
    async fn shown(
        &self,
        object: &str,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<Option<String>, String> {
        let (object, revision) = (object.to_owned(), self.plan.revision.clone());
        blocking(move || Ok(diff(&object, &revision, before, after))).await
    }
}

fn said(object: String, action: Action, diff: Option<String>, message: String) -> ObjectDiff {
    ObjectDiff {
        object,
        action: action.into(),
        diff: diff.unwrap_or_default(),
        message,
    }
}

/// Every object of the Bundle, one after the other.
fn objects(
    file: &BundleFile,
) -> impl futures::Stream<Item = Result<(IndexEntry, Bytes), String>> + use<> {
    let (give, take) = mpsc::channel(PARALLEL);
    let file = file.clone();
    // Not awaited: it ends when it has read the file or nobody listens.
    drop(tokio::task::spawn_blocking(move || {
        let read = file.read(&|_| true, &mut |entry, json| {
            give.blocking_send(Ok((entry, json)))
                .map_err(|_| anyhow::anyhow!("nobody listens any more"))
        });
        if let Err(error) = read {
            let _ = give.blocking_send(Err(format!("cannot read the bundle: {error:#}")));
        }
    }));
    ReceiverStream::new(take)
}

/// Asks again where the server may soon say something else.
async fn again<T, F: Future<Output = Result<T, ApiError>>>(
    request: impl Fn() -> F,
) -> Result<T, ApiError> {
    let mut tries = 1;
    loop {
        match request().await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tokio::time::sleep(moment(tries, error.retry_after())).await;
                tries += 1;
            }
            other => return other,
        }
    }
}
