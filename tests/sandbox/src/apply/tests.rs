//! The rules of server-side apply as its documentation states them, one table a rule.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>

#![allow(clippy::needless_pass_by_value)]

use serde_json::{Value, json};

use super::{ApplyError, Applying, Identity, Managed, Set, apply, one, update};
use crate::schema::{Shape, builtin, zero};

/// One object and the managers that come to it.
struct World {
    shape: Shape<'static>,
    api_version: &'static str,
    object: Value,
    managed: Managed,
    clock: u32,
}

impl World {
    fn new(group: &str, version: &str, kind: &str, api_version: &'static str) -> Self {
        let shape = builtin().shape(group, version, kind).unwrap();
        Self {
            shape,
            api_version,
            object: zero(shape),
            managed: Managed::default(),
            clock: 0,
        }
    }

    fn config_map() -> Self {
        Self::new("", "v1", "ConfigMap", "v1")
    }

    fn deployment() -> Self {
        Self::new("apps", "v1", "Deployment", "apps/v1")
    }

    fn by(&self, manager: &str) -> Identity {
        Identity {
            manager: manager.to_owned(),
            api_version: self.api_version.to_owned(),
            subresource: String::new(),
        }
    }

    fn try_apply(&mut self, manager: &str, config: &Value, force: bool) -> Result<(), ApplyError> {
        self.clock += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.clock);
        let ignored = Set::default();
        let how = Applying {
            force,
            ignored: &ignored,
            now: &now,
        };
        let mut managed = self.managed.clone();
        let mut object = apply(
            &self.object,
            config,
            self.shape,
            &mut managed,
            &self.by(manager),
            &how,
        )?;
        crate::schema::drop_nulls(&mut object);
        (self.object, self.managed) = (object, managed);
        Ok(())
    }

    fn apply(&mut self, manager: &str, config: Value) -> &mut Self {
        self.try_apply(manager, &config, false).unwrap();
        self
    }

    fn force(&mut self, manager: &str, config: Value) -> &mut Self {
        self.try_apply(manager, &config, true).unwrap();
        self
    }

    fn update(&mut self, manager: &str, object: Value) -> &mut Self {
        self.clock += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.clock);
        let by = self.by(manager);
        update(
            &self.object,
            &object,
            self.shape,
            &mut self.managed,
            &by,
            &Set::default(),
            &now,
        );
        self.object = object;
        self
    }

    fn conflicts(&mut self, manager: &str, config: Value) -> Vec<String> {
        match self.try_apply(manager, &config, false) {
            Ok(()) => Vec::new(),
            Err(ApplyError::Conflicts(conflicts)) => conflicts
                .into_iter()
                .map(|conflict| format!("{} {}", conflict.manager, conflict.field))
                .collect(),
            Err(ApplyError::Schema(error)) => panic!("{error}"),
        }
    }

    fn owned(&self, manager: &str) -> Value {
        let mut object = json!({"metadata": {}});
        self.managed.encode(&mut object);
        let list = object["metadata"]["managedFields"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        list.into_iter()
            .find(|entry| entry["manager"] == manager)
            .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }
}

fn data(pairs: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": pairs})
}

fn pod(spec: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}},
    })
}

#[test]
fn an_applier_owns_what_it_applies_and_identity_belongs_to_nobody() {
    let mut world = World::config_map();
    world.apply("one", data(json!({"x": "1", "y": "2"})));
    assert_eq!(
        world.owned("one"),
        json!({"f:data": {"f:x": {}, "f:y": {}}})
    );
    assert_eq!(world.object["data"], json!({"x": "1", "y": "2"}));
}

#[test]
fn a_field_that_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let mut world = World::config_map();
    world.apply("one", data(json!({"x": "1", "y": "2"})));
    world.apply("two", data(json!({"y": "2"})));
    world.apply("one", data(json!({"z": "3"})));
    assert_eq!(world.object["data"], json!({"y": "2", "z": "3"}));
    world.apply("two", data(json!({"q": "4"})));
    assert_eq!(world.object["data"], json!({"q": "4", "z": "3"}));
}

#[test]
fn what_nobody_owns_stays_when_an_applier_drops_the_map_around_it() {
    let mut world = World::config_map();
    world.apply("one", data(json!({"x": "1"})));
    let mut object = world.object.clone();
    object["data"]["by-hand"] = "2".into();
    world.update("hand", object);
    world.apply(
        "one",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
    );
    assert_eq!(world.object["data"], json!({"by-hand": "2"}));
}

#[test]
fn another_value_for_an_owned_field_conflicts_and_the_same_value_is_shared() {
    let mut world = World::config_map();
    world.apply("one", data(json!({"x": "1"})));
    assert_eq!(
        world.conflicts("two", data(json!({"x": "2"}))),
        [r#""one" .data.x"#]
    );
    assert_eq!(world.conflicts("two", data(json!({"x": "1"}))), [""; 0]);
    assert_eq!(world.owned("one"), world.owned("two"));
    // Shared now: neither may change it alone.
    assert_eq!(
        world.conflicts("one", data(json!({"x": "3"}))),
        [r#""two" .data.x"#]
    );
}

#[test]
fn force_takes_the_field_from_everybody_else() {
    let mut world = World::config_map();
    world.apply("one", data(json!({"x": "1", "y": "1"})));
    world.force("two", data(json!({"x": "2"})));
    assert_eq!(world.object["data"], json!({"x": "2", "y": "1"}));
    assert_eq!(world.owned("one"), json!({"f:data": {"f:y": {}}}));
    assert_eq!(world.owned("two"), json!({"f:data": {"f:x": {}}}));
}

#[test]
fn an_update_takes_what_it_changes_and_only_that() {
    let mut world = World::config_map();
    world.apply("one", data(json!({"x": "1", "y": "1", "z": "1"})));
    world.update("hand", data(json!({"x": "2", "y": "1"})));
    assert_eq!(
        world.owned("one"),
        json!({"f:data": {"f:y": {}}}),
        "x changed, z removed"
    );
    assert_eq!(world.owned("hand"), json!({"f:data": {"f:x": {}}}));
    assert_eq!(
        world.conflicts("one", data(json!({"x": "1", "y": "1", "z": "1"}))),
        [r#""hand" using v1 .data.x"#]
    );
}

#[test]
fn applying_the_same_again_changes_neither_object_nor_managers() {
    let mut world = World::deployment();
    let config = pod(
        json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]}),
    );
    world.apply("one", config.clone());
    let (object, managed) = (world.object.clone(), world.managed.clone());
    world.apply("one", config);
    assert_eq!(world.object, object);
    assert_eq!(world.managed, managed, "the clock of the entry stands, too");
}

#[test]
fn items_of_lists_with_keys_are_owned_one_by_one() {
    let mut world = World::deployment();
    world.apply(
        "one",
        pod(json!({"containers": [{"name": "c", "image": "i"}]})),
    );
    let side = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}});
    world.apply("two", side);
    let containers = &world.object["spec"]["template"]["spec"]["containers"];
    assert_eq!(
        containers,
        &json!([{"name": "c", "image": "i"}, {"name": "side", "image": "s"}])
    );
    assert_eq!(
        world.owned("two")["f:spec"]["f:template"]["f:spec"]["f:containers"],
        json!({"k:{\"name\":\"side\"}": {".": {}, "f:image": {}, "f:name": {}}})
    );
    world.apply(
        "one",
        pod(json!({"containers": [{"name": "d", "image": "i"}]})),
    );
    let names: Vec<&Value> = world.object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["name"])
        .collect();
    assert_eq!(names, ["side", "d"]);
}

#[test]
fn ports_are_told_apart_by_number_and_protocol_with_its_default() {
    let mut world = World::deployment();
    let ports = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]);
    world.apply(
        "one",
        pod(json!({"containers": [{"name": "c", "image": "i", "ports": ports}]})),
    );
    let owned = world.owned("one");
    let keys = owned
        .pointer("/f:spec/f:template/f:spec/f:containers")
        .unwrap()["k:{\"name\":\"c\"}"]["f:ports"]
        .clone();
    assert_eq!(
        keys.as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            r#"k:{"containerPort":53,"protocol":"TCP"}"#,
            r#"k:{"containerPort":53,"protocol":"UDP"}"#
        ]
    );
}

#[test]
fn the_order_of_a_list_is_that_of_the_configuration_with_strangers_in_between() {
    // live, config, merged: names of environment variables.
    for (live, config, merged) in [
        (vec![], vec!["a", "b"], vec!["a", "b"]),
        (vec!["a", "b"], vec!["b", "a"], vec!["b", "a"]),
        (vec!["a", "x", "b"], vec!["b", "a"], vec!["x", "b", "a"]),
        (vec!["x", "a"], vec!["a", "b"], vec!["x", "a", "b"]),
        (vec!["a", "x", "b"], vec!["a", "b"], vec!["a", "x", "b"]),
        (vec!["a"], vec![], vec!["a"]),
    ] {
        let items = |names: &[&str]| -> Value {
            names
                .iter()
                .map(|name| json!({"name": name, "value": "1"}))
                .collect()
        };
        let with = |names: &[&str]| {
            let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
            if !names.is_empty() {
                spec["containers"][0]["env"] = items(names);
            }
            pod(spec)
        };
        let mut world = World::deployment();
        world.update("hand", with(&live));
        world.force("one", with(&config));
        let env = world.object["spec"]["template"]["spec"]["containers"][0]["env"].clone();
        assert_eq!(env, items(&merged), "{live:?} {config:?}");
    }
}

#[test]
fn atomic_values_have_one_owner_and_are_replaced_whole() {
    let mut world = World::deployment();
    world.apply("one", pod(json!({"containers": [{"name": "c", "image": "i", "args": ["a", "b"]}], "nodeSelector": {"x": "1"}})));
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"nodeSelector": {"y": "2"}, "containers": [{"name": "c", "args": ["c"]}]}}}});
    assert_eq!(
        world.conflicts("two", other.clone()),
        [
            r#""one" .spec.template.spec.nodeSelector"#,
            r#""one" .spec.template.spec.containers[name="c"].args"#
        ]
    );
    world.force("two", other);
    let spec = &world.object["spec"]["template"]["spec"];
    assert_eq!(spec["nodeSelector"], json!({"y": "2"}));
    assert_eq!(spec["containers"][0]["args"], json!(["c"]));
    assert_eq!(spec["containers"][0]["image"], "i");
}

#[test]
fn sets_grow_and_shrink_item_by_item() {
    let finalizers = |names: &[&str]| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": names}});
    let mut world = World::config_map();
    world.apply("one", finalizers(&["a/1", "a/2"]));
    world.apply("two", finalizers(&["a/3"]));
    assert_eq!(
        world.object["metadata"]["finalizers"],
        json!(["a/1", "a/2", "a/3"])
    );
    assert_eq!(
        world.owned("two"),
        json!({"f:metadata": {"f:finalizers": {"v:\"a/3\"": {}}}})
    );
    world.apply("one", finalizers(&["a/2"]));
    assert_eq!(
        world.object["metadata"]["finalizers"],
        json!(["a/2", "a/3"])
    );
}

#[test]
fn a_configuration_that_does_not_fit_the_schema_is_refused_with_its_paths() {
    for (config, lines) in [
        (
            data(json!({"x": 1})),
            vec![".data.x: expected string, got &value.valueUnstructured{Value:1}"],
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "foo": 1, "bar": {}}),
            vec![
                ".bar: field not declared in schema",
                ".foo: field not declared in schema",
            ],
        ),
    ] {
        match World::config_map().try_apply("one", &config, false) {
            Err(ApplyError::Schema(error)) => assert_eq!(error.0, lines),
            other => panic!("{other:?}"),
        }
    }
    let twice = pod(json!({"containers": [{"name": "c"}, {"name": "c"}]}));
    match World::deployment().try_apply("one", &twice, false) {
        Err(ApplyError::Schema(error)) => {
            assert_eq!(
                error.0,
                [r#".spec.template.spec.containers: duplicate entries for key [name="c"]"#]
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_object_from_before_managed_fields_existed_keeps_its_values_until_somebody_forces() {
    let mut world = World::config_map();
    world.object = data(json!({"x": "1"}));
    world.object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(
        world.conflicts("one", data(json!({"x": "2"}))),
        [r#""before-first-apply" using v1 .data.x"#]
    );
}

#[test]
fn updaters_beyond_ten_are_folded_into_one() {
    let mut world = World::config_map();
    let mut object = data(json!({}));
    for number in 0..14 {
        object["data"][format!("k{number:02}")] = "1".into();
        world.update(&format!("hand-{number:02}"), object.clone());
    }
    let old = world.owned("ancient-changes");
    assert_eq!(
        old["f:data"].as_object().unwrap().len(),
        6,
        "five keys and the map itself: {old}"
    );
    assert_eq!(world.owned("hand-13"), json!({"f:data": {"f:k13": {}}}));
    assert_eq!(world.owned("hand-04"), Value::Null);
}

#[test]
fn fields_survive_their_form_on_the_wire() {
    let text = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:v": {}}, "v:\"s\"": {}, "i:3": {}}}});
    assert_eq!(Set::decode(&text).unwrap().encode(), text);
    for bad in [
        json!({"x": {}}),
        json!({"f:a": {"q:b": {}}}),
        json!({"k:{": {}}),
        json!({"i:x": {}}),
    ] {
        assert!(Set::decode(&bad).is_err(), "{bad}");
    }
}

#[test]
fn sets_obey_the_laws_of_sets() {
    let (a, b) = (
        one(&["a"]).union(&one(&["b", "c"])),
        one(&["b", "c"]).union(&one(&["b"])),
    );
    assert_eq!(a.union(&b), b.union(&a));
    assert_eq!(a.intersection(&b), one(&["b", "c"]));
    assert_eq!(a.difference(&b), one(&["a"]));
    assert_eq!(a.difference(&a), Set::default());
    assert!(a.without(&one(&["b"])).intersection(&b).is_empty());
    assert_eq!(a.display(), [".a", ".b.c"]);
}
