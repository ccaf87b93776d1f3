//! Creating and changing resources: all of a request or none of it, judged
//! against the fleet as it is at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_proto::v1::resource::Resource as Any;
use lockstep_proto::v1::{self, apply_result::Action, kind::Name as Kind};
use lockstep_proto::{ClusterName, NameError};

use super::control::spec_changed;
use super::labels::Labels;
use super::model::{Cluster, Meta, Model, Repository};
use super::validate::{self, Limits};
use super::written::{
    cluster_resource, date, drop_annotations, encode, random_uid, strip, to_millis,
};
use super::{Effects, Fleet, depend, spec_of};
use crate::store::{Control, ResourceRow, StoreError};

/// Resources in one request.
const MAX_RESOURCES: usize = 5_000;
/// Problems that are told at once.
const MAX_PROBLEMS: usize = 20;
/// Bytes of one problem.
const MAX_PROBLEM: usize = 400;

/// Why nothing of a request was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// What is wrong with the request, a sentence each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    #[error("there is no Cluster named {0:?}")]
    NoCluster(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NameError> for ApplyError {
    fn from(error: NameError) -> Self {
        Self::Invalid(vec![error.to_string()])
    }
}

/// One resource of a request, and what becomes of it.
pub(super) struct Step {
    pub action: Action,
    pub resource: v1::Resource,
    pub row: ResourceRow,
    /// Of an Assignment that was changed.
    pub control: Option<Control>,
}

impl Fleet {
    /// Creates or changes `resources`, all or none of them. What people write
    /// as status, uid, creation time and generation is ignored. With
    /// `dry_run` everything is judged and nothing changed. `by`: who does it.
    ///
    /// # Errors
    /// [`ApplyError::Invalid`] names every resource and path that is wrong.
    pub async fn apply(
        &self,
        resources: Vec<v1::Resource>,
        dry_run: bool,
        by: &str,
    ) -> Result<Vec<v1::ApplyResult>, ApplyError> {
        if resources.len() > MAX_RESOURCES {
            return Err(ApplyError::Invalid(vec![format!(
                "{} resources in one request: send at most {MAX_RESOURCES} at a time",
                resources.len()
            )]));
        }
        let limits = Limits {
            allow_file: self.0.options.allow_file,
        };
        let problems = resources
            .iter()
            .flat_map(|resource| validate::check(resource, limits))
            .chain(twice(&resources))
            .collect();
        refuse(problems)?;
        let (planner, applier) = (self.clone(), self.clone());
        let by = by.to_owned();
        let steps = self
            .0
            .store
            .transact(
                move |tx| {
                    let now = planner.now();
                    let mut steps = planner.read(|model| plan(model, resources, now))?;
                    for step in steps.iter_mut().filter(|_| !dry_run) {
                        if step.action != Action::Unchanged {
                            tx.put_resource(&step.row)?;
                            if let Some(Any::Assignment(assignment)) = &step.resource.resource {
                                let (name, spec) = (&step.row.name, spec_of(assignment));
                                let changed = planner
                                    .read(|model| spec_changed(model, tx, name, &spec, &by, now));
                                step.control = Some(changed?);
                            }
                        }
                    }
                    Ok::<_, ApplyError>(steps)
                },
                move |steps| {
                    if !dry_run {
                        applier.install(steps);
                    }
                },
            )
            .await?;
        Ok(steps
            .iter()
            .map(|step| v1::ApplyResult {
                kind: step.row.kind.into(),
                name: step.row.name.clone(),
                action: step.action.into(),
            })
            .collect())
    }

    /// Adds and removes labels of a cluster, leaving the others.
    ///
    /// # Errors
    /// [`ApplyError::NoCluster`], or what is wrong with a label.
    pub async fn label_cluster(
        &self,
        name: &str,
        set: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<v1::Resource, ApplyError> {
        let name = name.to_owned();
        if let Some(both) = remove.iter().find(|key| set.contains_key(*key)) {
            return Err(ApplyError::Invalid(vec![format!(
                "Cluster {name}: label {both:?} is both set and removed"
            )]));
        }
        let limits = Limits {
            allow_file: self.0.options.allow_file,
        };
        let (planner, applier, wanted) = (self.clone(), self.clone(), name.clone());
        self.0
            .store
            .transact(
                move |tx| {
                    let now = planner.now();
                    let steps = planner.read(|model| {
                        let (_, cluster) = model
                            .clusters
                            .get_key_value(wanted.as_str())
                            .ok_or_else(|| ApplyError::NoCluster(wanted.clone()))?;
                        let mut labels = cluster.meta.labels.to_map();
                        labels.retain(|key, _| !remove.contains(key));
                        labels.extend(set);
                        let resource = cluster_resource(&wanted, &cluster.meta, labels);
                        refuse(validate::check(&resource, limits))?;
                        plan(model, vec![resource], now)
                    })?;
                    for step in &steps {
                        tx.put_resource(&step.row)?;
                    }
                    Ok::<_, ApplyError>(steps)
                },
                move |steps| applier.install(steps),
            )
            .await?;
        self.get(Kind::Cluster, &name)
            .ok_or(ApplyError::NoCluster(name))
    }

    /// Takes what is now on disk into memory.
    pub(super) fn install(&self, steps: &[Step]) {
        let effects = self.change(|model| {
            let mut effects = Effects::default();
            // What others name comes before what names it.
            let rank = |step: &&Step| match step.row.kind {
                Kind::Assignment => 1,
                _ => 0,
            };
            let mut steps: Vec<&Step> = steps
                .iter()
                .filter(|step| step.action != Action::Unchanged)
                .collect();
            steps.sort_by_key(rank);
            for step in steps {
                model.install(&step.resource, &mut effects);
                if let Some(control) = &step.control {
                    model.set_control(&step.row.name, control.clone());
                }
            }
            effects
        });
        self.mark(&effects);
    }
}

/// Whether nothing is wrong.
fn refuse(mut problems: Vec<String>) -> Result<(), ApplyError> {
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &mut problems {
        // What is quoted may be of any length.
        if problem.len() > MAX_PROBLEM {
            problem.truncate(problem.floor_char_boundary(MAX_PROBLEM));
            problem.push('…');
        }
    }
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    Err(ApplyError::Invalid(problems))
}

fn twice(resources: &[v1::Resource]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    resources
        .iter()
        .filter_map(|resource| validate::identify(resource).ok())
        .filter(|(kind, name)| !seen.insert((*kind as i32, *name)))
        .map(|(kind, name)| {
            format!(
                "{} {name}: stands in the request more than once",
                kind.as_str_name()
            )
        })
        .collect()
}

/// What applying `resources`, each of them sound by itself, comes to.
pub(super) fn plan(
    model: &Model,
    resources: Vec<v1::Resource>,
    now: i64,
) -> Result<Vec<Step>, ApplyError> {
    refuse(dangling(model, &resources))?;
    refuse(waiting_for_themselves(model, &resources))?;
    Ok(resources
        .into_iter()
        .filter_map(|resource| step(model, resource, now))
        .collect())
}

/// Names in specs that nothing answers to, in the fleet or the request.
fn dangling(model: &Model, resources: &[v1::Resource]) -> Vec<String> {
    let with: BTreeSet<(i32, &str)> = resources
        .iter()
        .filter_map(|resource| validate::identify(resource).ok())
        .map(|(kind, name)| (kind as i32, name))
        .collect();
    let mut problems = Vec::new();
    let mut check = |subject: String, path: &str, kind: Kind, name: &str| {
        if !with.contains(&(kind as i32, name)) && !model.exists(kind, name) {
            let hint = match kind {
                Kind::Credential => ": make it with `lockstep credential create`",
                _ => "",
            };
            let kind = kind.as_str_name();
            problems.push(format!("{subject}: {path}: no {kind} named {name:?}{hint}"));
        }
    };
    for resource in resources {
        let Ok((kind, name)) = validate::identify(resource) else {
            continue;
        };
        let subject = || format!("{} {name}", kind.as_str_name());
        match &resource.resource {
            Some(Any::Repository(r)) => {
                let spec = r.spec.as_ref();
                let named = spec.map(|s| [&s.credential, &s.webhook_secret]);
                for (path, name) in ["spec.credential", "spec.webhookSecret"]
                    .into_iter()
                    .zip(named.into_iter().flatten())
                    .filter(|(_, name)| !name.is_empty())
                {
                    check(subject(), path, Kind::Credential, name);
                }
            }
            Some(Any::Assignment(r)) => {
                let Some(spec) = &r.spec else { continue };
                check(
                    subject(),
                    "spec.repository",
                    Kind::Repository,
                    &spec.repository,
                );
                for (at, group) in spec.cluster_groups.iter().enumerate() {
                    let path = format!("spec.clusterGroups[{at}]");
                    check(subject(), &path, Kind::ClusterGroup, group);
                }
                for (at, other) in spec.depends_on.iter().enumerate() {
                    let path = format!("spec.dependsOn[{at}].assignment");
                    check(subject(), &path, Kind::Assignment, &other.assignment);
                }
            }
            _ => {}
        }
    }
    problems
}

/// Assignments that would wait for themselves, once `resources` are applied.
fn waiting_for_themselves(model: &Model, resources: &[v1::Resource]) -> Vec<String> {
    let mut applied: BTreeMap<&str, &v1::Assignment> = BTreeMap::new();
    for resource in resources {
        if let (Ok((_, name)), Some(Any::Assignment(assignment))) =
            (validate::identify(resource), &resource.resource)
        {
            applied.insert(name, assignment);
        }
    }
    let of = |name| {
        let standing = || Some(&*model.assignments.get(name)?.resource);
        let found = applied.get(name).copied().or_else(standing);
        let spec = found.and_then(|assignment| assignment.spec.as_ref());
        spec.into_iter()
            .flat_map(|spec| &spec.depends_on)
            .map(|other| other.assignment.as_str())
            .collect()
    };
    depend::cycles(applied.keys().copied(), of)
        .into_iter()
        .map(|(name, cycle)| {
            format!("Assignment {name}: spec.dependsOn: it would wait for itself: {cycle}")
        })
        .collect()
}

fn step(model: &Model, mut resource: v1::Resource, now: i64) -> Option<Step> {
    let (kind, name) = validate::identify(&resource).ok()?;
    let name = name.to_owned();
    let before = model.stored(kind, &name);
    strip(&mut resource);
    let (action, uid, created_at, generation) = match &before {
        None => (Action::Created, random_uid(), now, 1),
        Some((meta, body)) => {
            let mut written = body.clone();
            strip(&mut written);
            let (uid, created_at) = (meta.uid.clone(), meta.created_at);
            if written == resource {
                (Action::Unchanged, uid, created_at, meta.generation)
            } else {
                // Annotations are notes: what is wanted stays the same.
                let (mut old, mut new) = (written, resource.clone());
                drop_annotations(&mut old);
                drop_annotations(&mut new);
                let grown = u32::from(old != new);
                (Action::Configured, uid, created_at, meta.generation + grown)
            }
        }
    };
    let body = encode(&resource);
    date(&mut resource, &uid, created_at, generation);
    Some(Step {
        action,
        resource,
        row: ResourceRow {
            kind,
            name,
            uid,
            generation,
            created_at,
            body,
        },
        control: None,
    })
}

impl Model {
    pub fn exists(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Unspecified => false,
            Kind::Cluster => self.clusters.contains_key(name),
            Kind::ClusterGroup => self.groups.contains_key(name),
            Kind::Repository => self.repositories.contains_key(name),
            Kind::Assignment => self.assignments.contains_key(name),
            Kind::JoinToken => self.join_tokens.contains_key(name),
            Kind::Credential => self.credentials.contains_key(name),
        }
    }

    /// Takes a resource, complete with its dates, into the model.
    pub fn install(&mut self, resource: &v1::Resource, effects: &mut Effects) {
        match &resource.resource {
            Some(Any::Cluster(r)) => self.install_cluster(r, effects),
            Some(Any::ClusterGroup(r)) => {
                let name = self.name_of(r.metadata.as_ref());
                self.set_group(&name, Some(Arc::new(r.clone())));
                if let Some(group) = self.groups.get(&name) {
                    effects
                        .assignments
                        .extend(group.assignments.iter().cloned());
                }
            }
            Some(Any::Repository(r)) => {
                let name = self.name_of(r.metadata.as_ref());
                let version = self.next_version();
                let status = self
                    .repositories
                    .remove(&name)
                    .map(|before| before.status)
                    .unwrap_or_default();
                let resource = Arc::new(r.clone());
                self.repositories
                    .insert(name.clone(), Repository { resource, status });
                self.changed.repositories.changed(name.clone(), version);
                effects.repositories.insert(name);
            }
            Some(Any::Assignment(r)) => {
                let name = self.name_of(r.metadata.as_ref());
                // Which refs are followed changes for the former one, too.
                let before = self.assignments.get(&name).map(|a| a.resource.clone());
                self.set_assignment(&name, Some(Arc::new(r.clone())));
                for one in before.as_deref().into_iter().chain([r]) {
                    let repository = one.spec.as_ref().map(|spec| &*spec.repository);
                    let repository = self.names.get(repository.unwrap_or_default());
                    effects.repositories.insert(repository);
                }
                effects.assignments.insert(name);
            }
            Some(Any::JoinToken(_) | Any::Credential(_)) | None => {}
        }
    }

    fn install_cluster(&mut self, resource: &v1::Cluster, effects: &mut Effects) {
        let Some(written) = &resource.metadata else {
            return;
        };
        let Ok(name) = ClusterName::new(&written.name) else {
            return;
        };
        let meta = Meta {
            uid: written.uid.as_str().into(),
            created_at: written.created_at.map(to_millis).unwrap_or_default(),
            generation: written.generation,
            labels: Labels::new(&written.labels, &mut self.names),
            annotations: written.annotations.clone(),
        };
        let groups = self.groups_of(&meta.labels);
        effects.assignments.extend(self.reach(&groups));
        let before = self
            .clusters
            .get(&name)
            .map(|cluster| cluster.groups.clone());
        if let Some(before) = before {
            effects.assignments.extend(self.reach(&before));
            self.change_cluster(&name, |cluster, _| {
                cluster.meta = meta;
                cluster.groups = groups;
            });
        } else {
            let empty = self.names.get("");
            self.add_cluster(
                name,
                Cluster {
                    meta,
                    connection: v1::connection::Status::Unknown,
                    last_seen: None,
                    agent_version: empty.clone(),
                    kubernetes_version: empty,
                    identity: Box::default(),
                    desired_version: 0,
                    forgotten_version: 0,
                    groups,
                    rows: Vec::new(),
                },
            );
        }
    }

    fn name_of(&mut self, meta: Option<&v1::ObjectMeta>) -> Arc<str> {
        self.names
            .get(meta.map(|meta| meta.name.as_str()).unwrap_or_default())
    }
}
