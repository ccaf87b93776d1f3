//! One case for everybody who leaves marks on objects, as they leave them.

use super::*;
use crate::inventory::Inventory;
use serde_json::{Value, json};

fn id() -> ObjectId {
    Inventory::new("x").id("apps", "Deployment", "shop", "web")
}

fn marks(metadata: &Value) -> Marks {
    serde_json::from_value(metadata.clone()).unwrap()
}

/// Who owns an object with this metadata.
fn who(metadata: &Value) -> Option<String> {
    owner(&id(), &marks(metadata)).map(|owner| owner.who)
}

#[test]
fn everybody_who_owns_objects_is_known_by_name() {
    for (metadata, expected) in [
        (
            json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {
                "meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}}),
            "Helm release shop/web",
        ),
        (
            json!({"annotations": {"argocd.argoproj.io/tracking-id": "front:apps/Deployment:shop/web"}}),
            "Argo CD application front",
        ),
        (
            json!({"labels": {"argocd.argoproj.io/instance": "front"}}),
            "Argo CD application front",
        ),
        (
            json!({"labels": {"app.kubernetes.io/instance": "front"},
                "managedFields": [{"manager": "kubectl"}, {"manager": "argocd-controller"}]}),
            "Argo CD application front",
        ),
        (
            json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps",
                "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}),
            "Flux Kustomization flux-system/apps",
        ),
        (
            // Flux lets Helm install: both leave their marks.
            json!({"labels": {"helm.toolkit.fluxcd.io/name": "web",
                    "helm.toolkit.fluxcd.io/namespace": "shop", "app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"meta.helm.sh/release-name": "web"}}),
            "Flux HelmRelease shop/web",
        ),
        (
            json!({"labels": {"objectset.rio.cattle.io/hash": "ab12", "app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"objectset.rio.cattle.io/id": "default-shop", "meta.helm.sh/release-name": "shop"}}),
            "Rancher object set default-shop",
        ),
        (
            json!({"labels": {"objectset.rio.cattle.io/hash": "ab12"},
                "annotations": {"objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
                    "objectset.rio.cattle.io/owner-name": "coredns", "objectset.rio.cattle.io/owner-namespace": "kube-system"}}),
            "Rancher Addon kube-system/coredns",
        ),
        (
            json!({"annotations": {"fleet.cattle.io/bundle-id": "fleet-shop"}}),
            "Fleet bundle fleet-shop",
        ),
        (
            json!({"labels": {"kapp.k14s.io/app": "1700000000", "kapp.k14s.io/association": "v1.x"}}),
            "Carvel kapp application 1700000000",
        ),
        (
            json!({"annotations": {"configmanagement.gke.io/managed": "enabled",
                "configsync.gke.io/manager": ":root"}}),
            "Config Sync (:root)",
        ),
        (
            json!({"labels": {"addonmanager.kubernetes.io/mode": "Reconcile"}}),
            "the cluster's add-on manager",
        ),
        (
            json!({"ownerReferences": [{"kind": "ConfigMap", "name": "x"},
                {"kind": "Rollout", "name": "web", "controller": true}]}),
            "Rollout web",
        ),
        (
            json!({"labels": {"lockstep.dev/assignment": "theirs"}}),
            "Lockstep assignment theirs, which this agent does not know,",
        ),
    ] {
        assert_eq!(who(&metadata).as_deref(), Some(expected), "{metadata}");
    }
}

#[test]
fn what_only_looks_owned_is_nobodys() {
    for metadata in [
        json!({}),
        json!({"managedFields": [{"manager": "kubectl-client-side-apply"}]}),
        // What people get who render a chart and apply that.
        json!({"labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "web"}}),
        json!({"annotations": {"meta.helm.sh/release-name": "web"}}),
        // Copied along from another object.
        json!({"annotations": {"argocd.argoproj.io/tracking-id": "front:apps/Deployment:shop/other"}}),
        json!({"annotations": {"argocd.argoproj.io/tracking-id": "nonsense"}}),
        json!({"annotations": {"configmanagement.gke.io/managed": "disabled"}}),
        json!({"labels": {"addonmanager.kubernetes.io/mode": "EnsureExists"}}),
        json!({"ownerReferences": [{"kind": "ConfigMap", "name": "x"}]}),
    ] {
        assert_eq!(who(&metadata), None, "{metadata}");
    }
}

#[test]
fn the_policy_decides_what_is_taken() {
    use adopt::Policy::{Always, IfUnowned, Never};
    let plain = json!({});
    let helm = json!({"labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}});
    let ours = json!({"labels": {"lockstep.dev/assignment": "shop"}});
    let dropped = json!({"labels": {"lockstep.dev/assignment": "other"}});
    let unknown = json!({"labels": {"lockstep.dev/assignment": "elsewhere"}});
    let refused = |verdict: &Verdict, words: &str| match verdict {
        Verdict::Refuse(said) => said.contains(words),
        _ => false,
    };
    let decide = |policy, metadata: &Value| {
        verdict(policy, "shop", &id(), &marks(metadata), |name| {
            name == "other"
        })
    };
    for policy in [Never, IfUnowned, Always] {
        assert_eq!(decide(policy, &ours), Verdict::Ours);
        assert_eq!(decide(policy, &dropped), Verdict::Ours, "it was moved");
    }
    assert_eq!(decide(IfUnowned, &plain), Verdict::Adopt(None));
    assert_eq!(decide(Always, &plain), Verdict::Adopt(None));
    assert!(refused(&decide(Never, &plain), "it exists already"));
    assert!(refused(
        &decide(Never, &helm),
        "Helm release shop/web owns it"
    ));
    let said = decide(IfUnowned, &helm);
    assert!(
        refused(&said, "Helm release shop/web owns it: remove it"),
        "{said:?}"
    );
    assert!(refused(&said, "spec.sync.adopt to Always"), "{said:?}");
    let Verdict::Adopt(Some(from)) = decide(Always, &helm) else {
        panic!("not taken over");
    };
    assert_eq!(from.who, "Helm release shop/web");
    assert!(refused(
        &decide(IfUnowned, &unknown),
        "assignment elsewhere, which this agent does not know"
    ));
    assert!(matches!(decide(Always, &unknown), Verdict::Adopt(Some(_))));
}

#[test]
fn a_namespace_that_the_agent_made_is_its_own() {
    let mut inventory = Inventory::new("x");
    let made = marks(&json!({"labels": {"app.kubernetes.io/managed-by": "lockstep"}}));
    let namespace = inventory.id("", "Namespace", "", "shop");
    let never = adopt::Policy::Never;
    assert_eq!(
        verdict(never, "shop", &namespace, &made, |_| false),
        Verdict::Ours
    );
    assert!(matches!(
        verdict(never, "shop", &id(), &made, |_| false),
        Verdict::Refuse(_)
    ));
}
