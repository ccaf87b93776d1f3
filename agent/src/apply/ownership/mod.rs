//! Whose an object is that stands where we are to apply one, and whether we
//! may take it: pure functions over its metadata.

#[cfg(test)]
mod tests;

use std::fmt;

use lockstep_proto::v1::adopt;

use crate::cluster::{ASSIGNMENT_LABEL, Marks};
use crate::inventory::ObjectId;

/// Whoever else cares for an object, as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// "Helm release shop/web"
    pub who: String,
    /// How that one is made to let go.
    pub let_go: &'static str,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)
    }
}

/// What the ownership of an existing object means for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is ours already, or another Assignment of this agent has let go of it.
    Ours,
    /// It is taken over: from this owner, or from nobody.
    Adopt(Option<Owner>),
    /// It is not touched, for this reason.
    Refuse(String),
}

/// Whether `assignment` may take over what exists as `id`. `known`: the
/// Assignments of this agent; what one of them wants never gets this far.
#[must_use]
pub fn verdict(
    policy: adopt::Policy,
    assignment: &str,
    id: &ObjectId,
    marks: &Marks,
    known: impl Fn(&str) -> bool,
) -> Verdict {
    let label = marks.labels.get(ASSIGNMENT_LABEL).map(String::as_str);
    if label.is_some_and(|label| label == assignment || known(label)) {
        return Verdict::Ours;
    }
    if is_our_namespace(id, marks) {
        return Verdict::Ours;
    }
    let owner = owner(id, marks);
    match (policy, owner) {
        (adopt::Policy::Always, owner) => Verdict::Adopt(owner),
        (adopt::Policy::Never, None) => Verdict::Refuse(
            "it exists already, and spec.sync.adopt is Never: delete it, or set \
             spec.sync.adopt to IfUnowned"
                .to_owned(),
        ),
        (adopt::Policy::Never, Some(owner)) => Verdict::Refuse(format!(
            "it exists already, and {owner} owns it: {}; spec.sync.adopt is Never",
            owner.let_go
        )),
        (_, Some(owner)) => Verdict::Refuse(format!(
            "{owner} owns it: {}, or set spec.sync.adopt to Always to take it over",
            owner.let_go
        )),
        (_, None) => Verdict::Adopt(None),
    }
}

/// Namespaces that the agent makes for objects to live in bear no Assignment.
fn is_our_namespace(id: &ObjectId, marks: &Marks) -> bool {
    let made_by = marks.labels.get("app.kubernetes.io/managed-by");
    id.is("", "Namespace") && made_by.is_some_and(|by| by == "lockstep")
}

/// Who owns the object, by the marks that those who own objects leave on them.
#[must_use]
pub fn owner(id: &ObjectId, marks: &Marks) -> Option<Owner> {
    // From the most to the least particular: Fleet and Flux also leave the
    // marks of Helm, which they use.
    lockstep(marks)
        .or_else(|| flux(marks))
        .or_else(|| fleet(marks))
        .or_else(|| argo(id, marks))
        .or_else(|| kapp(marks))
        .or_else(|| config_sync(marks))
        .or_else(|| helm(marks))
        .or_else(|| addons(marks))
        .or_else(|| controller(marks))
}

fn owned(who: String, let_go: &'static str) -> Option<Owner> {
    Some(Owner { who, let_go })
}

fn label<'a>(marks: &'a Marks, key: &str) -> Option<&'a str> {
    marks.labels.get(key).map(String::as_str)
}

fn annotation<'a>(marks: &'a Marks, key: &str) -> Option<&'a str> {
    marks.annotations.get(key).map(String::as_str)
}

/// "namespace/name", or the name alone.
fn named(namespace: Option<&str>, name: &str) -> String {
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

fn lockstep(marks: &Marks) -> Option<Owner> {
    let name = label(marks, ASSIGNMENT_LABEL)?;
    owned(
        format!("Lockstep assignment {name}, which this agent does not know,"),
        "take label lockstep.dev/assignment off it",
    )
}

fn flux(marks: &Marks) -> Option<Owner> {
    for (group, what) in [
        ("helm.toolkit.fluxcd.io", "HelmRelease"),
        ("kustomize.toolkit.fluxcd.io", "Kustomization"),
        ("resourceset.fluxcd.controlplane.io", "ResourceSet"),
        ("fluxcd.controlplane.io", "FluxInstance"),
    ] {
        if let Some(name) = label(marks, &format!("{group}/name")) {
            let name = named(label(marks, &format!("{group}/namespace")), name);
            return owned(
                format!("Flux {what} {name}"),
                "remove it from what Flux applies",
            );
        }
    }
    None
}

fn fleet(marks: &Marks) -> Option<Owner> {
    const OBJECTSET: &str = "objectset.rio.cattle.io/";
    let all = || marks.labels.iter().chain(&marks.annotations);
    if let Some((_, value)) = all().find(|(key, _)| key.starts_with("fleet.cattle.io/bundle")) {
        return owned(
            format!("Fleet bundle {value}"),
            "remove it from what Fleet deploys",
        );
    }
    if all().any(|(key, _)| key.starts_with("fleet.cattle.io/")) {
        return owned("Rancher Fleet".into(), "remove it from what Fleet deploys");
    }
    if !all().any(|(key, _)| key.starts_with(OBJECTSET)) {
        return None;
    }
    let part = |name: &str| annotation(marks, &format!("{OBJECTSET}{name}"));
    // "fleet.cattle.io/v1alpha1, Kind=Bundle", "k3s.cattle.io/v1, Kind=Addon"
    let kind = part("owner-gvk").and_then(|gvk| gvk.split_once("Kind="));
    let who = match (kind, part("owner-name")) {
        (Some((_, kind)), Some(name)) => {
            format!("Rancher {kind} {}", named(part("owner-namespace"), name))
        }
        _ => format!("Rancher object set {}", part("id").unwrap_or("(no name)")),
    };
    owned(who, "remove it from what Fleet deploys")
}

fn argo(id: &ObjectId, marks: &Marks) -> Option<Owner> {
    let let_go = "remove it from the application without pruning it";
    let argo = |app: &str| owned(format!("Argo CD application {app}"), let_go);
    if let Some(text) = annotation(marks, "argocd.argoproj.io/tracking-id") {
        // "app:apps/Deployment:shop/web". One that speaks of another object
        // was copied along with it, and Argo CD takes no notice either.
        let mut parts = text.splitn(3, ':');
        let (app, kind, object) = (parts.next()?, parts.next(), parts.next());
        let own = format!("{}/{}", id.kind.group, id.kind.kind);
        let name = object.and_then(|object| object.rsplit('/').next());
        if kind == Some(own.as_str()) && name == Some(&*id.name) {
            return argo(app);
        }
    }
    if let Some(app) = label(marks, "argocd.argoproj.io/instance") {
        return argo(app);
    }
    // Everybody uses this label; it is Argo CD's where Argo CD wrote the object.
    let wrote = |wrote: &&crate::cluster::Wrote| wrote.manager.starts_with("argocd-");
    let app = label(marks, "app.kubernetes.io/instance")?;
    marks.managed_fields.iter().find(wrote)?;
    argo(app)
}

fn kapp(marks: &Marks) -> Option<Owner> {
    let app = label(marks, "kapp.k14s.io/app")?;
    owned(
        format!("Carvel kapp application {app}"),
        "remove it from what kapp deploys",
    )
}

fn config_sync(marks: &Marks) -> Option<Owner> {
    let managed = annotation(marks, "configmanagement.gke.io/managed") == Some("enabled");
    let by = annotation(marks, "configsync.gke.io/manager");
    if !managed && by.is_none() {
        return None;
    }
    let by = by.map_or(String::new(), |by| format!(" ({by})"));
    owned(
        format!("Config Sync{by}"),
        "remove it from what Config Sync applies",
    )
}

fn helm(marks: &Marks) -> Option<Owner> {
    if label(marks, "app.kubernetes.io/managed-by") != Some("Helm") {
        return None;
    }
    let name = annotation(marks, "meta.helm.sh/release-name")?;
    let name = named(annotation(marks, "meta.helm.sh/release-namespace"), name);
    owned(
        format!("Helm release {name}"),
        "remove it from the release (or annotate it helm.sh/resource-policy: keep and uninstall)",
    )
}

fn addons(marks: &Marks) -> Option<Owner> {
    let mode = label(marks, "addonmanager.kubernetes.io/mode")?;
    (mode == "Reconcile").then(|| Owner {
        who: "the cluster's add-on manager".into(),
        let_go: "take it out of the add-ons",
    })
}

fn controller(marks: &Marks) -> Option<Owner> {
    let owner = marks.owner_references.iter().find(|o| o.controller)?;
    owned(
        format!("{} {}", owner.kind, owner.name),
        "give yours another name, or delete that",
    )
}
