//! Patches by table: what the RFCs and the Kubernetes documentation give as examples.

use serde_json::{Value, json};

use super::{json as json_patch, merge, strategic};
use crate::schema::builtin;

#[test]
fn merge_patches_as_in_the_appendix_of_rfc_7386() {
    for (target, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [{"b": "c"}]}),
            json!({"a": [1]}),
            json!({"a": [1]}),
        ),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), Value::Null, Value::Null),
        (
            json!({"e": null}),
            json!({"a": 1}),
            json!({"e": null, "a": 1}),
        ),
        (
            json!([1, 2]),
            json!({"a": "b", "c": null}),
            json!({"a": "b"}),
        ),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ] {
        let mut out = target.clone();
        merge(&mut out, &patch);
        assert_eq!(out, result, "{target} {patch}");
    }
}

#[test]
fn json_patches_apply_whole_or_not_at_all() {
    let mut target = json!({"a": {"b": [1, 2]}});
    json_patch(&mut target, &json!([{"op": "test", "path": "/a/b/0", "value": 1}, {"op": "add", "path": "/a/b/-", "value": 3}])).unwrap();
    assert_eq!(target, json!({"a": {"b": [1, 2, 3]}}));
    let before = target.clone();
    json_patch(
        &mut target,
        &json!([{"op": "remove", "path": "/a/b/0"}, {"op": "test", "path": "/a", "value": 0}]),
    )
    .unwrap_err();
    assert_eq!(target, before);
    json_patch(&mut target, &json!({"op": "nonsense"})).unwrap_err();
}

fn deployment(patch: &Value) -> Result<Value, String> {
    let target = json!({
        "metadata": {"finalizers": ["a", "b"]},
        "spec": {
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {
                "containers": [{"name": "a", "image": "a:1", "args": ["x"]}, {"name": "b", "image": "b:1"}],
                "tolerations": [{"key": "k"}],
            }},
        },
    });
    strategic(
        &target,
        patch,
        builtin().shape("apps", "v1", "Deployment").unwrap(),
    )
}

#[test]
fn strategic_patches_merge_lists_by_their_keys() {
    let spec = |patch: Value| {
        deployment(&json!({"spec": {"template": {"spec": patch}}})).unwrap()["spec"]["template"]["spec"].clone()
    };
    let names = |spec: &Value| -> Vec<String> {
        spec["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let changed = spec(json!({"containers": [{"name": "b", "image": "b:2"}]}));
    assert_eq!(
        changed["containers"][1],
        json!({"name": "b", "image": "b:2"})
    );
    assert_eq!(
        changed["containers"][0]["args"],
        json!(["x"]),
        "the other one stays as it is"
    );
    assert_eq!(
        names(&spec(json!({"containers": [{"name": "c"}]}))),
        ["a", "b", "c"]
    );
    assert_eq!(
        names(&spec(
            json!({"containers": [{"name": "a", "$patch": "delete"}]})
        )),
        ["b"]
    );
    assert_eq!(
        names(&spec(
            json!({"containers": [{"$patch": "replace"}, {"name": "z"}]})
        )),
        ["z"]
    );
    let ordered = spec(
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "b:3"}]}),
    );
    assert_eq!(names(&ordered), ["b", "a"]);
    assert_eq!(
        spec(json!({"tolerations": [{"key": "z"}]}))["tolerations"],
        json!([{"key": "z"}]),
        "atomic"
    );
    assert_eq!(
        spec(json!({"containers": [{"name": "a", "args": null}]}))["containers"][0],
        json!({"name": "a", "image": "a:1"})
    );
}

#[test]
fn strategic_patches_obey_their_directives() {
    let kept =
        deployment(&json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}))
            .unwrap();
    assert_eq!(kept["spec"]["strategy"], json!({"type": "Recreate"}));
    let replaced =
        deployment(&json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}))
            .unwrap();
    assert_eq!(replaced["spec"]["strategy"], json!({"type": "Recreate"}));
    let deleted = deployment(&json!({"spec": {"strategy": {"$patch": "delete"}}})).unwrap();
    assert_eq!(deleted["spec"].get("strategy"), None);
    let shorter =
        deployment(&json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})).unwrap();
    assert_eq!(shorter["metadata"]["finalizers"], json!(["b"]));
    let longer = deployment(&json!({"metadata": {"finalizers": ["c", "a"]}})).unwrap();
    assert_eq!(longer["metadata"]["finalizers"], json!(["a", "b", "c"]));
    deployment(&json!({"spec": {"template": {"spec": {"containers": [{"image": "no key"}]}}}}))
        .unwrap_err();
    deployment(&json!({"spec": {"$patch": "nonsense"}})).unwrap_err();
}
