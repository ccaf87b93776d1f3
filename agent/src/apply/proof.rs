//! Is it drift? A forced dry run of what we applied tells: where it would
//! change nothing, the object holds what we want of it, whoever wrote it last.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use lockstep_proto::v1::drift::Policy;
use serde_json::Value;
use tokio::time::Instant;

use super::backoff::{backoff, moment};
use super::body::{as_found, body};
use super::send::{Loaded, PARALLEL, Sender, StepError, load, told};
use crate::bundle::BundleFile;
use crate::cluster::{ApiError, FIELD_MANAGER, Meta, Resource};
use crate::fields::{FieldPath, Fields, Ignored, Manager, differ, managers};
use crate::inventory::{Drift, News, ObjectId};

/// Looks at an object that changes while we look at it.
const TRIES: u32 = 4;

/// What a dry run says of an object.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It holds what we want, and is ours as far as we want.
    Holds,
    /// It holds what we want by chance: somebody else owns a field of ours by
    /// now, and may change it without our hearing of it.
    Lost,
    Differs {
        fields: Vec<String>,
        by: Option<String>,
    },
}

/// What proving one object came to.
enum Looked {
    Gone,
    At {
        meta: Box<Meta>,
        verdict: Verdict,
        body: Bytes,
        resource: std::sync::Arc<Resource>,
    },
}

impl Sender<'_> {
    /// Finds out which of `ids` differ from what we applied.
    ///
    /// # Errors
    /// [`StepError`], where it is no use to try the others.
    pub async fn prove(self, file: &BundleFile, ids: Vec<ObjectId>) -> Result<(), StepError> {
        load(file, self.target, ids)
            .map(|loaded| async move {
                let loaded = loaded?;
                let id = loaded.id.clone();
                match self.prove_one(loaded).await {
                    Err(StepError::Api(error)) if !error.is_about_the_server() => {
                        let mut inventory = self.shared.inventory.lock();
                        if let Some(item) = inventory.get_mut(&id) {
                            let wait = backoff(item.attempts(), error.retry_after());
                            let words = format!("cannot tell whether it drifted: {error}");
                            item.failed(&words, Instant::now() + wait);
                        }
                        Ok(())
                    }
                    other => other,
                }
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    async fn prove_one(self, loaded: Loaded) -> Result<(), StepError> {
        let (id, wanted) = (loaded.id.clone(), loaded.entry.sha256);
        if let Some(words) = self.caps.refuses(self.assignment, &id) {
            self.refused(&id, &words);
            return Ok(());
        }
        let policy = {
            let inventory = self.shared.inventory.lock();
            let item = inventory
                .get(&id)
                .filter(|item| item.wanted == Some(wanted));
            let Some(item) = item else { return Ok(()) };
            item.policy(self.target.policy.drift)
        };
        match self.look(loaded, policy).await? {
            Looked::Gone => self.note_gone(&id, policy),
            Looked::At {
                verdict: Verdict::Lost,
                body,
                resource,
                ..
            } if !self.target.policy.paused => {
                return self.take_back(&id, &resource, wanted, body).await;
            }
            Looked::At { meta, verdict, .. } => self.note_verdict(&id, policy, &meta, verdict),
        }
        Ok(())
    }

    /// Asks what applying would change.
    async fn look(self, loaded: Loaded, policy: Policy) -> Result<Looked, ApiError> {
        let Loaded { id, entry, json } = loaded;
        let key = &entry.key;
        let Some(resource) = self.cluster.kinds().exact(&key.api_version, &key.kind) else {
            return Err(ApiError::Malformed(format!(
                "{} is no longer served",
                key.api_version
            )));
        };
        let namespace = resource.namespaced.then_some(&*id.namespace);
        let body = body(&json, namespace, self.assignment).map_err(ApiError::Malformed)?;
        let path = resource.object(&id.namespace, &id.name);
        let ignored = self.ignored(&id);
        let mut tries = 0;
        loop {
            let Some(live) = self.cluster.get(&path).await? else {
                return Ok(Looked::Gone);
            };
            let meta = meta(&live)?;
            tries += 1;
            let last = tries == TRIES;
            // The version goes with it, so that both speak of one state; one
            // that changes all the time is looked at as it comes.
            let version = (!last).then_some(meta.resource_version.as_str());
            let (sent, _) = as_found(&body, ignored.as_ref(), Some(&live), version)
                .map_err(ApiError::Malformed)?;
            let dry_run = self.cluster.dry_run(&path, sent.clone()).await;
            let verdict = match dry_run.map_err(|error| told(&id, error, &body)) {
                Ok(applied) => verdict(&live, &applied, ignored.as_ref()),
                Err(error) if error.is_conflict() && !last => {
                    tokio::time::sleep(moment(tries, None)).await;
                    continue;
                }
                // A server that refuses the dry run would refuse the apply as
                // well, or cannot do dry runs (webhooks with side effects):
                // applying tells.
                Err(error)
                    if policy == Policy::Correct
                        && (error.is_invalid() || error.is_forbidden()) =>
                {
                    Verdict::Differs {
                        fields: Vec::new(),
                        by: meta.last_other_manager().map(str::to_owned),
                    }
                }
                Err(error) => return Err(error),
            };
            return Ok(Looked::At {
                meta: Box::new(meta),
                verdict,
                body,
                resource,
            });
        }
    }

    /// It is not there: whether that is drift, and what follows, `next` says.
    fn note_gone(self, id: &ObjectId, policy: Policy) {
        let mut inventory = self.shared.inventory.lock();
        let Some(item) = inventory.get_mut(id) else {
            return;
        };
        let (version, api_version) = (item.version, item.api_version.to_string());
        item.hear(News::Gone { version });
        if policy == Policy::Report {
            let drift = Drift::deleted().left(true);
            let news = inventory.differs(id, drift.clone(), version, Instant::now());
            drop(inventory);
            if news {
                self.tell_drifted(id, &api_version, &drift);
            }
        }
    }

    fn note_verdict(self, id: &ObjectId, policy: Policy, meta: &Meta, verdict: Verdict) {
        let mut inventory = self.shared.inventory.lock();
        let Some(item) = inventory.get_mut(id) else {
            return;
        };
        let api_version = item.api_version.to_string();
        item.seen(meta.version(), meta.owned(), meta.is_deleting());
        if let Some(care) = &mut item.care {
            care.failure = None;
        }
        match verdict {
            Verdict::Holds | Verdict::Lost => {
                let (applied, owned) = (item.applied, meta.owned());
                let ended = inventory.holds(id, owned);
                // What is ignored may be somebody else's by now; that is not
                // what we own when nothing is ignored any more.
                if verdict == Verdict::Holds
                    && let Some(applied) = applied
                    && self.ignored(id).is_none()
                {
                    inventory.confirm(id, applied, owned);
                }
                drop(inventory);
                if let Some(drift) = ended {
                    let message = "put back by somebody else";
                    self.tell_corrected(id, &api_version, &drift, message);
                }
            }
            Verdict::Differs { fields, by } => {
                let drift = Drift::in_fields(fields, by.as_deref());
                let drift = drift.left(policy == Policy::Report);
                let version = meta.version();
                let news = inventory.differs(id, drift.clone(), version, Instant::now());
                drop(inventory);
                if news {
                    self.tell_drifted(id, &api_version, &drift);
                }
            }
        }
    }

    /// The rules by which fields of `id` are left as they are found.
    pub(super) fn ignored(&self, id: &ObjectId) -> Option<Ignored<'_>> {
        let rules = &self.target.policy.ignore;
        let kind = &id.kind;
        Ignored::of(rules, &kind.group, &kind.kind, &id.namespace, &id.name)
    }
}

fn meta(object: &Value) -> Result<Meta, ApiError> {
    serde_json::from_str(&object["metadata"].to_string())
        .map_err(|error| ApiError::Malformed(error.to_string()))
}

/// What `applied`, which a dry run made of `live`, says of it.
fn verdict(live: &Value, applied: &Value, ignored: Option<&Ignored<'_>>) -> Verdict {
    let (before, after) = (managers(live), managers(applied));
    let mut shape = Fields::default();
    for manager in before.iter().chain(&after) {
        shape.add(&manager.fields);
    }
    let paths = differ(live, applied, &shape);
    if paths.is_empty() {
        let (had, has) = (ours(&before), ours(&after));
        let lost = has.leaves().into_iter().any(|path| {
            !had.touches(&path) && !ignored.is_some_and(|rules| rules.covers(&path, live))
        });
        return if lost { Verdict::Lost } else { Verdict::Holds };
    }
    Verdict::Differs {
        by: culprit(&before, &paths).map(str::to_owned),
        fields: paths.iter().map(ToString::to_string).collect(),
    }
}

fn ours(managers: &[Manager]) -> Fields {
    let mut ours = Fields::default();
    let applied = |m: &&Manager| m.name == FIELD_MANAGER && m.applies && m.subresource.is_empty();
    for manager in managers.iter().filter(applied) {
        ours.add(&manager.fields);
    }
    ours
}

/// Who changed `paths`: the newest of those who own any of them by now. Who
/// took a field away owns it no more: then it was the one who wrote last.
fn culprit<'a>(managers: &'a [Manager], paths: &[FieldPath]) -> Option<&'a str> {
    let others = || {
        let theirs = |m: &&Manager| m.name != FIELD_MANAGER && m.subresource != "status";
        managers.iter().filter(theirs)
    };
    let owns = |manager: &&Manager| paths.iter().any(|path| manager.fields.touches(path));
    let newest = |a: &&Manager, b: &&Manager| a.time.cmp(&b.time);
    let owner = others().filter(owns).max_by(newest);
    owner
        .or_else(|| others().max_by(newest))
        .map(|manager| manager.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::IgnoreRule;
    use serde_json::json;

    fn object(replicas: u32, managed: &[(&str, &str, &str, &str)]) -> Value {
        let entries = managed.iter().map(|(manager, operation, time, field)| {
            let fields = json!({format!("f:{field}"): {}, "f:paused": {}});
            json!({"manager": manager, "operation": operation, "time": time,
                "fieldsV1": {"f:spec": fields}})
        });
        json!({"metadata": {"managedFields": entries.collect::<Vec<_>>()},
            "spec": {"replicas": replicas}})
    }

    const US: (&str, &str, &str, &str) = ("lockstep", "Apply", "", "replicas");

    #[test]
    fn who_owns_the_very_field_is_named_and_not_who_wrote_last() {
        let live = object(
            7,
            &[
                (
                    "kubectl-scale",
                    "Update",
                    "2026-01-01T00:00:00Z",
                    "replicas",
                ),
                ("annotator", "Update", "2026-01-02T00:00:00Z", "other"),
                ("lockstep", "Apply", "", "none"),
            ],
        );
        let mut live = live;
        for entry in live["metadata"]["managedFields"].as_array_mut().unwrap() {
            entry["fieldsV1"]["f:spec"]
                .as_object_mut()
                .unwrap()
                .remove("f:paused");
        }
        let Verdict::Differs { fields, by } = verdict(&live, &object(2, &[US]), None) else {
            panic!("it differs");
        };
        assert_eq!(fields, [".spec.replicas"]);
        assert_eq!(by.as_deref(), Some("kubectl-scale"));
        // A field that is gone belongs to nobody: the newest other.
        live["spec"] = json!({});
        let removed = live["metadata"]["managedFields"].as_array_mut().unwrap();
        removed.remove(0);
        let Verdict::Differs { by, .. } = verdict(&live, &object(2, &[US]), None) else {
            panic!("it differs");
        };
        assert_eq!(by.as_deref(), Some("annotator"));
    }

    #[test]
    fn a_field_that_is_right_by_chance_is_taken_back_unless_it_is_ignored() {
        let theirs = object(2, &[("kubectl-edit", "Update", "", "replicas")]);
        let applied = object(2, &[US]);
        assert_eq!(verdict(&theirs, &applied, None), Verdict::Lost);
        assert_eq!(verdict(&applied, &applied, None), Verdict::Holds);
        let rules = [IgnoreRule {
            json_pointers: vec!["/spec/replicas".into(), "/spec/paused".into()],
            ..IgnoreRule::default()
        }];
        let ignored = Ignored::of(&rules, "apps", "Deployment", "shop", "web");
        assert_eq!(verdict(&theirs, &applied, ignored.as_ref()), Verdict::Holds);
    }
}
