//! Cases as people meet them.

use lockstep_proto::v1::IgnoreRule;
use serde_json::{Value, json};

use super::*;

fn paths(live: &Value, wanted: &Value) -> Vec<String> {
    let mut shape = Fields::default();
    for manager in managers(live) {
        shape.add(&manager.fields);
    }
    let paths = differ(live, wanted, &shape);
    paths.iter().map(ToString::to_string).collect()
}

#[test]
fn status_and_bookkeeping_are_no_difference() {
    let live = json!({
        "metadata": {"name": "web", "generation": 3, "resourceVersion": "9", "managedFields": [1]},
        "spec": {"replicas": 3}, "status": {"replicas": 1}});
    let wanted = json!({
        "metadata": {"name": "web", "generation": 4, "resourceVersion": "9", "managedFields": []},
        "spec": {"replicas": 3}, "status": {}});
    assert!(paths(&live, &wanted).is_empty());
}

#[test]
fn fields_are_named_as_people_write_them() {
    let live = json!({
        "metadata": {"labels": {"example.com/team": "a"}, "annotations": {"n": "1"}},
        "spec": {"replicas": 1, "list": [1, 2], "template": {"spec": {"containers": [
            {"name": "side", "image": "s:1"}, {"name": "web", "image": "w:1"}]}}}});
    let wanted = json!({
        "metadata": {"labels": {"example.com/team": "b"}},
        "spec": {"replicas": 3, "list": [1], "paused": true, "template": {"spec": {"containers": [
            {"name": "web", "image": "w:2", "command": ["x"]}]}}}});
    assert_eq!(
        paths(&live, &wanted),
        [
            ".metadata.annotations.n",
            ".metadata.labels[example.com/team]",
            ".spec.list",
            ".spec.paused",
            ".spec.replicas",
            ".spec.template.spec.containers[name=side]",
            ".spec.template.spec.containers[name=web].command",
            ".spec.template.spec.containers[name=web].image",
        ]
    );
}

#[test]
fn elements_are_told_apart_by_what_the_server_says_tells_them_apart() {
    let managed = json!([{"manager": "lockstep", "operation": "Apply", "fieldsV1": {"f:spec": {"f:ports": {
        "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:targetPort": {}}}}}}]);
    let port =
        |port: i32, target: i32| json!({"port": port, "protocol": "TCP", "targetPort": target});
    let live = json!({"metadata": {"managedFields": managed}, "spec": {"ports": [port(443, 1), port(80, 8080)]}});
    let wanted = json!({"metadata": {"managedFields": managed}, "spec": {"ports": [port(80, 80), port(443, 1)]}});
    assert_eq!(
        paths(&live, &wanted),
        [".spec.ports[port=80,protocol=TCP].targetPort"]
    );
    let turned = json!({"metadata": {}, "spec": {"ports": [port(80, 8080), port(443, 1)]}});
    assert_eq!(paths(&live, &turned), [".spec.ports"], "their order");
}

fn managed(entries: &[(&str, &str, &str, Value)]) -> Value {
    let entry = |(manager, operation, time, fields): &(&str, &str, &str, Value)| json!({"manager": manager, "operation": operation, "time": time, "fieldsV1": fields});
    entries.iter().map(entry).collect()
}

fn rule(pointers: &[&str], managers: &[&str]) -> IgnoreRule {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    IgnoreRule {
        json_pointers: owned(pointers),
        field_managers: owned(managers),
        ..IgnoreRule::default()
    }
}

/// What is sent for `body` where `live` is there.
fn sent(rule: IgnoreRule, body: &Value, live: &Value) -> Value {
    let rules = [rule];
    let ignored = Ignored::of(&rules, "apps", "Deployment", "shop", "web").unwrap();
    let sent = ignored.as_found(body, live);
    assert_eq!(
        ignored.as_found(&sent, live),
        sent,
        "found twice is found once"
    );
    sent
}

#[test]
fn rules_speak_of_the_objects_that_they_name() {
    let all = rule(&["/x"], &[]);
    let named = |change: &dyn Fn(&mut IgnoreRule)| {
        let mut rule = all.clone();
        change(&mut rule);
        let rules = [rule];
        let of = |group, kind, namespace, name| {
            Ignored::of(&rules, group, kind, namespace, name).is_some()
        };
        [
            of("apps", "Deployment", "shop", "web"),
            of("", "Service", "shop", "web"),
            of("apps", "Deployment", "other", "db"),
        ]
    };
    assert_eq!(named(&|_| {}), [true, true, true]);
    assert_eq!(named(&|r| r.group = "core".into()), [false, true, false]);
    assert_eq!(named(&|r| r.group = "apps".into()), [true, false, true]);
    assert_eq!(named(&|r| r.kind = "Service".into()), [false, true, false]);
    assert_eq!(named(&|r| r.namespace = "shop".into()), [true, true, false]);
    assert_eq!(named(&|r| r.name = "db".into()), [false, false, true]);
}

#[test]
fn an_ignored_field_is_sent_as_it_is_found() {
    let body = json!({"spec": {"replicas": 2, "paused": false}});
    for (live, expected) in [
        (
            json!({"spec": {"replicas": 7}}),
            json!({"spec": {"replicas": 7, "paused": false}}),
        ),
        (json!({"spec": {}}), json!({"spec": {"paused": false}})),
        (json!({}), json!({"spec": {"paused": false}})),
        (json!({"spec": 1}), json!({"spec": {"paused": false}})),
    ] {
        assert_eq!(
            sent(rule(&["/spec/replicas"], &[]), &body, &live),
            expected,
            "{live}"
        );
    }
}

#[test]
fn what_git_does_not_say_is_sent_only_where_it_is_ours_by_now() {
    let body = json!({"spec": {"paused": false}});
    let fields = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
    let theirs = json!({"spec": {"replicas": 7}, "metadata": {"managedFields":
        managed(&[("autoscaler", "Update", "", fields.clone())])}});
    assert_eq!(sent(rule(&["/spec/replicas"], &[]), &body, &theirs), body);
    let ours = json!({"spec": {"replicas": 7}, "metadata": {"managedFields":
        managed(&[("lockstep", "Apply", "", fields)])}});
    assert_eq!(
        sent(rule(&["/spec/replicas"], &[]), &body, &ours),
        json!({"spec": {"paused": false, "replicas": 7}}),
        "giving it up would let it fall to its default"
    );
}

#[test]
fn a_star_stands_for_every_element_whatever_its_place() {
    let body = json!({"webhooks": [
        {"name": "a", "clientConfig": {"url": "a"}},
        {"name": "b", "clientConfig": {"url": "b", "caBundle": "git"}},
        {"name": "new", "clientConfig": {"caBundle": "git"}}]});
    let live = json!({"webhooks": [
        {"name": "b", "clientConfig": {"url": "b", "caBundle": "injected-b"}},
        {"name": "a", "clientConfig": {"url": "a", "caBundle": "injected-a"}}],
        "metadata": {"managedFields": managed(&[
            ("injector", "Update", "", json!({"f:webhooks": {
                "k:{\"name\":\"a\"}": {"f:clientConfig": {"f:caBundle": {}}},
                "k:{\"name\":\"b\"}": {"f:clientConfig": {"f:caBundle": {}}}}}))])}});
    let expected = json!({"webhooks": [
        {"name": "a", "clientConfig": {"url": "a"}},
        {"name": "b", "clientConfig": {"url": "b", "caBundle": "injected-b"}},
        {"name": "new", "clientConfig": {}}]});
    let pointer = rule(&["/webhooks/*/clientConfig/caBundle"], &[]);
    assert_eq!(sent(pointer, &body, &live), expected);
    let by_manager = sent(rule(&[], &["injector"]), &body, &live);
    assert_eq!(
        by_manager["webhooks"][1]["clientConfig"]["caBundle"],
        "injected-b"
    );
    assert_eq!(by_manager["webhooks"][0], body["webhooks"][0]);
    assert_eq!(
        by_manager["webhooks"][2], body["webhooks"][2],
        "that manager does not own it"
    );
}

#[test]
fn a_whole_map_leaves_others_keys_to_others() {
    let body = json!({"metadata": {"name": "web", "annotations": {"a": "git", "gone": "git"},
        "labels": {"lockstep.dev/assignment": "shop", "app": "web"}}});
    let live = json!({"metadata": {"name": "web", "annotations": {"a": "live", "theirs": "x"},
        "labels": {"app": "other"}}});
    assert_eq!(
        sent(
            rule(&["/metadata/annotations", "/metadata/labels"], &[]),
            &body,
            &live
        ),
        json!({"metadata": {"name": "web", "annotations": {"a": "live"},
            "labels": {"lockstep.dev/assignment": "shop", "app": "other"}}}),
        "that an object is ours is nobody else's to say"
    );
    let escaped = rule(&["/metadata/annotations/example.com~1x"], &[]);
    let body = json!({"metadata": {"annotations": {"example.com/x": "1"}}});
    let live = json!({"metadata": {"annotations": {"example.com/x": "2"}}});
    assert_eq!(sent(escaped, &body, &live), live);
}

#[test]
fn what_makes_the_object_itself_is_never_ignored() {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "n", "labels": {"lockstep.dev/assignment": "shop"}}});
    let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let everything = ["/apiVersion", "/kind", "/metadata", "/metadata/name"];
    assert_eq!(sent(rule(&everything, &[]), &body, &live), body);
}

#[test]
fn an_atomic_field_is_taken_whole() {
    let body = json!({"spec": {"selector": {"a": "1"}, "args": ["x"]}});
    let live = json!({"spec": {"selector": {"b": "2"}, "args": ["y", "z"]},
        "metadata": {"managedFields": managed(&[
            ("m", "Update", "", json!({"f:spec": {"f:selector": {}, "f:args": {}}}))])}});
    let expected = json!({"spec": {"selector": {"b": "2"}, "args": ["y", "z"]}});
    assert_eq!(sent(rule(&[], &["m"]), &body, &live), expected);
}

#[test]
fn a_manager_owns_fields_of_elements_and_members_of_sets() {
    let body = json!({"metadata": {"finalizers": ["git"]}, "spec": {"containers": [
        {"name": "web", "image": "w:1", "resources": {"requests": {"cpu": "1"}}}]}});
    let live = json!({
        "spec": {"containers": [
            {"name": "injected", "image": "i:1"},
            {"name": "web", "image": "w:1", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]},
        "metadata": {"finalizers": ["git", "theirs"], "managedFields": managed(&[
        ("vpa", "Update", "", json!({
            "f:metadata": {"f:finalizers": {"v:\"theirs\"": {}}},
            "f:spec": {"f:containers": {
                "k:{\"name\":\"injected\"}": {".": {}, "f:image": {}, "f:name": {}},
                "k:{\"name\":\"web\"}": {"f:resources": {"f:requests": {"f:cpu": {}, "f:memory": {}}}}}}}))])}});
    let mut expected = body.clone();
    expected["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
    assert_eq!(sent(rule(&[], &["vpa"]), &body, &live), expected);
}

#[test]
fn a_key_that_git_leaves_to_its_default_still_tells_the_element() {
    let body = json!({"spec": {"ports": [{"port": 80, "nodePort": 1}]}});
    let live = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 31000}]},
        "metadata": {"managedFields": managed(&[
            ("alloc", "Update", "", json!({"f:spec": {"f:ports": {
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:nodePort": {}}}}}))])}});
    let expected = json!({"spec": {"ports": [{"port": 80, "nodePort": 31000}]}});
    assert_eq!(sent(rule(&[], &["alloc"]), &body, &live), expected);
    assert_eq!(
        sent(rule(&["/spec/ports/*/nodePort"], &[]), &body, &live),
        expected
    );
    assert_eq!(
        sent(rule(&["/spec/ports/0/nodePort"], &[]), &body, &live),
        expected
    );
}

#[test]
fn a_rule_that_meets_nothing_changes_nothing() {
    let body = json!({"data": {"a": "1"}, "list": [1, {"x": 1}]});
    for pointer in [
        "",
        "/",
        "/data/b/c",
        "/data/a/b",
        "/list/9/x",
        "/list/*/y",
        "data/a",
        "/*",
    ] {
        assert_eq!(
            sent(rule(&[pointer], &["nobody"]), &body, &body),
            body,
            "{pointer:?}"
        );
    }
}

#[test]
fn managed_fields_are_sets_of_paths() {
    let fields = Fields::parse(
        &json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:list": {
        "k:{\"name\":\"a\"}": {".": {}, "f:x": {}}, "v:\"s\"": {}, "i:3": {}}}, "?": {}, "k:nonsense": {}}),
    );
    let at = |steps: &[Step]| FieldPath(steps.to_vec());
    let field = |name: &str| Step::Field(name.to_owned());
    assert!(fields.touches(&at(&[field("spec"), field("replicas")])));
    assert!(fields.touches(&at(&[field("spec")])), "something in it");
    assert!(
        fields.touches(&at(&[field("spec"), field("selector"), field("app")])),
        "what it is part of as a whole"
    );
    assert!(!fields.touches(&at(&[field("spec"), field("paused")])));
    assert!(!fields.touches(&at(&[field("data")])));
    assert_eq!(fields.leaves().len(), 5);
    assert!(Fields::parse(&json!(["not", "fields"])).is_empty());
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..5).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abn]|name", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[abn]|spec", json_value(), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn a_difference_is_named_where_there_is_one_and_only_there(a in object(), b in object()) {
            prop_assert_eq!(paths(&a, &b).is_empty(), a == b);
            prop_assert!(paths(&a, &a).is_empty());
        }

        #[test]
        fn nothing_that_people_write_breaks_it(
            body in object(), live in object(), fields in object(),
            pointer in "(/(a|b|n|spec|[*]|0|1|name)){0,4}",
        ) {
            let mut live = live;
            live["metadata"] = json!({"managedFields": managed(&[("m", "Update", "", fields)])});
            let rules = [rule(&[&pointer], &["m"]), rule(&["/nowhere/at/all"], &[])];
            let of = |rules: &[IgnoreRule]| {
                Ignored::of(rules, "", "ConfigMap", "", "a").unwrap().as_found(&body, &live)
            };
            of(&rules);
            prop_assert_eq!(of(&rules[1..]), body);
        }
    }
}
