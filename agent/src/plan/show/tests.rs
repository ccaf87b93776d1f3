use super::*;
use proptest::prelude::*;
use serde_json::json;

const OBJECT: &str = "v1 ConfigMap shop/a";

fn shown(before: Value, after: Value) -> String {
    diff(OBJECT, "9f3c2a1bd", Some(before), Some(after)).unwrap_or_default()
}

fn config_map(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "shop", "uid": value, "resourceVersion": value,
            "managedFields": [value], "generation": 3, "creationTimestamp": value},
        "data": {"one": "1", "two": value, "three": "3"}, "status": {"x": value}})
}

#[test]
fn a_change_is_a_unified_diff_without_what_only_the_server_says() {
    assert_eq!(
        shown(config_map("old"), config_map("new")),
        "--- v1 ConfigMap shop/a on the cluster\n\
         +++ v1 ConfigMap shop/a at 9f3c2a1\n\
         @@ -6,4 +6,4 @@\n\
         \x20data:\n\
         \x20  one: \"1\"\n\
         \x20  three: \"3\"\n\
         -  two: old\n\
         +  two: new\n"
    );
}

#[test]
fn what_comes_and_what_goes_stands_against_nothing() {
    let created = diff(OBJECT, "9f3c2a1bd", None, Some(config_map("x"))).unwrap();
    assert!(created.starts_with("--- /dev/null\n+++ v1 ConfigMap shop/a at 9f3c2a1\n"));
    assert!(
        created.lines().skip(3).all(|line| line.starts_with('+')),
        "{created}"
    );
    let deleted = diff(OBJECT, "9f3c2a1bd", Some(config_map("x")), None).unwrap();
    assert!(deleted.starts_with("--- v1 ConfigMap shop/a on the cluster\n+++ /dev/null\n"));
}

#[test]
fn what_differs_only_in_bookkeeping_does_not_differ() {
    let mut other = config_map("x");
    other["metadata"]["generation"] = json!(9);
    other["metadata"]["resourceVersion"] = json!("77");
    other["metadata"]["managedFields"] = json!([]);
    other["status"] = json!({"ready": true});
    assert_eq!(diff(OBJECT, "", Some(config_map("x")), Some(other)), None);
}

#[test]
fn a_line_of_a_text_that_changed_is_one_line_of_the_diff() {
    let file = |line: &str| {
        let mut object = config_map("x");
        object["data"]["app.conf"] = format!("# settings\nfirst = 1\n{line}\nlast = 9\n").into();
        object
    };
    let diff = shown(file("mode = slow"), file("mode = fast"));
    let changed: Vec<_> = diff
        .lines()
        .skip(3)
        .filter(|line| line.starts_with(['+', '-']))
        .collect();
    assert_eq!(changed, ["-    mode = slow", "+    mode = fast"], "{diff}");
}

fn secret(data: &Value, annotations: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "a", "annotations": annotations}, "data": data})
}

#[test]
fn a_secret_shows_which_of_its_keys_change_and_nothing_of_what_they_hold() {
    let copy =
        |value: &str| json!({COPY: format!("{{\"data\":{{\"k\":\"{value}\"}}}}"), "note": "plain"});
    let before = secret(
        &json!({"kept": "c2FtZQ==", "changed": "b2xk", "gone": "Z29uZQ=="}),
        &copy("b2xk"),
    );
    let after = secret(
        &json!({"kept": "c2FtZQ==", "changed": "bmV3", "added": "YWRk"}),
        &copy("bmV3"),
    );
    let diff = shown(before, after);
    for value in ["c2FtZQ", "b2xk", "bmV3", "Z29uZQ", "YWRk"] {
        assert!(!diff.contains(value), "{diff}");
    }
    for line in [
        "-  changed: (masked, before)",
        "+  changed: (masked, after)",
        "-  gone: (masked)",
        "+  added: (masked)",
    ] {
        assert!(diff.lines().any(|l| l == line), "{line:?} in {diff}");
    }
    assert!(
        diff.contains(&format!("-    {COPY}: (masked, before)")),
        "{diff}"
    );
}

#[test]
fn a_secret_of_which_only_the_values_change_still_shows_a_change() {
    let diff = shown(
        secret(&json!({"k": "b2xk"}), &json!({})),
        secret(&json!({"k": "bmV3"}), &json!({})),
    );
    assert!(
        diff.contains("-  k: (masked, before)\n+  k: (masked, after)\n"),
        "{diff}"
    );
}

#[test]
fn what_a_server_quotes_of_a_secret_is_left_out() {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"pin": 48_151, "word": "tr\"ee\nhouse"}});
    let said = ".stringData.pin: expected string, got &value.valueUnstructured{Value:48151}; \"tr\\\"ee\\nhouse\" house";
    let redacted = redact(said, object.to_string().as_bytes());
    for value in ["48151", "ee", "house"] {
        assert!(
            !redacted.contains(value) || value == "ee" && !redacted.contains("tr"),
            "{redacted}"
        );
    }
    assert!(redacted.starts_with(".stringData.pin: expected string"));
    let short = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"pin": 7, "x": "a"}});
    let said = "pin: expected a string of 17, got &value{Value:7}";
    assert_eq!(
        redact(said, short.to_string().as_bytes()),
        "pin: expected (masked) string of 17, got &value{Value:(masked)}"
    );
    let plain = config_map("old").to_string();
    assert_eq!(redact("data.two: old", plain.as_bytes()), "data.two: old");
}

#[test]
fn a_very_large_diff_is_cut_at_a_line_and_says_so() {
    let many = |x: &str| {
        let data: Map<String, Value> = (0..20_000).map(|i| (format!("k{i}"), x.into())).collect();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": {"name": "a"}})
    };
    let diff = shown(many("old"), many("new"));
    assert!(diff.len() <= LARGEST);
    assert!(
        diff.trim_end().ends_with("more lines"),
        "{}",
        &diff[diff.len() - 100..]
    );
    let long = |x: char| json!({"kind": "ConfigMap", "data": {"k": x.to_string().repeat(100_000)}});
    let diff = shown(long('a'), long('b'));
    assert!(diff.len() < 4 * LONGEST_LINE, "{}", diff.len());
}

proptest! {
    /// No value of a Secret, wherever it stands and whatever it is.
    #[test]
    fn nothing_of_a_secret_shows(
        before in proptest::collection::btree_map("[a-e]", "[A-Z]{12,20}", 0..5),
        after in proptest::collection::btree_map("[a-e]", "[A-Z]{12,20}", 0..5),
        copied in any::<bool>(),
    ) {
        let of = |data: &std::collections::BTreeMap<String, String>| {
            let annotations = if copied {
                json!({COPY: json!({"data": data}).to_string(), "other": format!("[{data:?}]")})
            } else {
                json!({})
            };
            secret(&json!(data), &annotations)
        };
        let diff = diff(OBJECT, "", Some(of(&before)), Some(of(&after)));
        prop_assert_eq!(diff.is_some(), before != after);
        let diff = diff.unwrap_or_default();
        for value in before.values().chain(after.values()) {
            prop_assert!(!diff.contains(value.as_str()), "{}", diff);
        }
    }
}
