//! What the file lets through, and what is said of what it does not.

use super::*;
use crate::inventory::Inventory;

const FILE: &str = "\
# of the platform team
allowedNamespaces:
  - shop
  - team-*
deniedKinds:
  - Secret
  - rbac.authorization.k8s.io/*
  - core/Service
serviceAccount: lockstep-system/deployer
assignments:
  shop: {serviceAccount: shop/deployer}
maxPrune: 10%
applyRate: 25
";

fn caps(text: &str) -> Caps {
    Caps::parse("agent.yaml", text).unwrap()
}

/// `object` is "group kind namespace name", with a dash for none.
fn refused(caps: &Caps, object: &str) -> Option<String> {
    let [group, kind, namespace, name] = object.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        panic!("{object}");
    };
    let plain = |text| if text == "-" { "" } else { text };
    let id = Inventory::new("x").id(plain(group), kind, plain(namespace), name);
    caps.refuses("x", &id)
}

#[test]
fn what_is_refused_is_said_with_file_and_line() {
    let caps = caps(FILE);
    for (object, why) in [
        ("- ConfigMap shop a", None),
        ("apps Deployment team-a web", None),
        ("- Namespace - shop", None),
        ("example.com Service shop a", None),
        ("- Secret shop a", Some("line 6: deniedKinds has Secret")),
        (
            "example.com Secret shop a",
            Some("line 6: deniedKinds has Secret"),
        ),
        (
            "- Service shop a",
            Some("line 8: deniedKinds has core/Service"),
        ),
        (
            "rbac.authorization.k8s.io Role shop a",
            Some("line 7: deniedKinds has rbac.authorization.k8s.io/*"),
        ),
        (
            "- ConfigMap kube-system a",
            Some("line 2: allowedNamespaces does not have kube-system"),
        ),
        (
            "- Namespace - other",
            Some("line 2: allowedNamespaces does not have other"),
        ),
        (
            "storage.k8s.io StorageClass - fast",
            Some("line 2: allowedNamespaces is set, and nothing says allowClusterScoped: true"),
        ),
    ] {
        let expected = why.map(|why| format!("refused by agent.yaml {why}"));
        assert_eq!(refused(&caps, object), expected, "{object}");
    }
    assert!(caps.refuses_namespace("shop").is_none());
    assert!(caps.refuses_namespace("other").is_some());
}

#[test]
fn cluster_scoped_objects_are_asked_for_by_name_of_the_rule() {
    let class = "storage.k8s.io StorageClass - fast";
    let allowed = caps("allowedNamespaces: [shop]\nallowClusterScoped: true\n");
    assert_eq!(refused(&allowed, class), None);
    assert!(refused(&allowed, "- Namespace - other").is_some());
    let denied = caps("{allowClusterScoped: false}");
    assert!(
        refused(&denied, class)
            .unwrap()
            .ends_with("line 1: allowClusterScoped is false")
    );
    assert_eq!(refused(&denied, "- ConfigMap any a"), None);
    let nowhere = caps("allowedNamespaces: []\n");
    assert!(refused(&nowhere, "- ConfigMap shop a").is_some());
    assert_eq!(refused(&Caps::default(), class), None);
    assert_eq!(refused(&caps("{}"), class), None);
}

#[test]
fn who_acts_and_how_much_and_how_fast() {
    let caps = caps(FILE);
    let account = |name: &str| caps.actor(name).account.map(|account| account.to_string());
    assert_eq!(account("shop").as_deref(), Some("shop/deployer"));
    assert_eq!(account("base").as_deref(), Some("lockstep-system/deployer"));
    let nobody = Caps::default().actor("shop");
    assert!(nobody.account.is_none() && nobody.rate.is_none());
    let prune = caps.prune_share().unwrap();
    assert_eq!(prune.to_string(), "maxPrune 10% in agent.yaml line 12");
    assert_eq!(prune.share.allows(100), 10);
    assert!(caps.actor("shop").rate.is_some());
    let none = Caps::parse("f", "maxPrune: 0%\n").unwrap();
    assert_eq!(none.prune_share().unwrap().allows(100), 0);
    let number = Caps::parse("f", "maxPrune: 15\n").unwrap();
    assert_eq!(number.prune_share().unwrap().share, Share::Objects(15));
}

#[test]
fn a_broken_file_is_named_with_line_and_path() {
    for (text, words) in [
        ("", "f line 1: it is empty"),
        ("# nothing\n", "f line 1: it is empty"),
        (
            "deniedKind: [Secret]\n",
            "f line 1: deniedKind: unknown field",
        ),
        (
            "assignments:\n  shop:\n    serviceAcount: a/b\n",
            "f line 3: assignments.shop",
        ),
        (
            "maxPrune: 10%\ndeniedKinds: Secret\n",
            "f line 2: deniedKinds",
        ),
        (
            "deniedKinds:\n- Secret\n- secrets\n",
            "f line 3: deniedKinds: \"secrets\" is no kind",
        ),
        ("deniedKinds: [v1/Secret]", "names version v1, not a group"),
        ("deniedKinds: [apps/v1/Deployment]", "is no kind"),
        (
            "allowedNamespaces: [Shop]",
            "f line 1: allowedNamespaces: \"Shop\" is no namespace",
        ),
        ("serviceAccount: deployer\n", "expected NAMESPACE/NAME"),
        (
            "maxPrune: some\n",
            "f line 1: maxPrune: \"some\" is neither",
        ),
        ("maxPrune: 20%\nmaxPrune: 90%\n", "maxPrune"),
        ("applyRate: 0\n", "f line 1: applyRate: 0 is no number"),
        ("applyRate: fast\n", "f line 1: applyRate"),
        ("allowClusterScoped: 7\n", "f line 1: allowClusterScoped"),
        ("- a\n", "f line 1"),
        ("{", "f line"),
    ] {
        let error = Caps::parse("f", text).unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_no_file_without_caps() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Caps::load(&folder.path().join("agent.yaml"));
    let error = missing.unwrap_err().to_string();
    assert!(
        error.contains("agent.yaml") && error.contains("nothing is done"),
        "{error}"
    );
    assert!(Caps::load(folder.path()).is_err());
}
