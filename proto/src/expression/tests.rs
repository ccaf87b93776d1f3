use proptest::prelude::*;
use serde_json::{Value, json};

use super::Gives::{Truth, Words};
use super::{EvalError, Expression, Scope};

fn holds(source: &str, object: &Value) -> Result<bool, EvalError> {
    let expression = Expression::compile(source, Truth).unwrap_or_else(|e| panic!("{source}: {e}"));
    expression.holds(&Scope::new(object)?)
}

fn words(source: &str, object: &Value) -> Result<String, EvalError> {
    let expression = Expression::compile(source, Words).unwrap_or_else(|e| panic!("{source}: {e}"));
    expression.words(&Scope::new(object)?)
}

fn refused(source: &str) -> String {
    Expression::compile(source, Truth)
        .expect_err(source)
        .to_string()
}

fn widget() -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "a", "generation": 3, "labels": {"tier": "gold"}},
        "spec": {"size": 3, "ratio": 0.5, "huge": 18_446_744_073_709_551_615_u64, "paused": false},
        "status": {"phase": "Running", "ready": 2, "nothing": null, "conditions": [
            {"type": "Ready", "status": "False", "message": "warming up"},
            {"type": "Synced", "status": "True"}]}
    })
}

#[test]
fn an_expression_sees_the_object_and_its_parts() {
    let object = widget();
    for source in [
        "object.kind == 'Widget' && metadata.name == 'a'",
        "spec.size > status.ready",
        "status.conditions.exists(c, c.type == 'Ready' && c.status == 'False')",
        "status.conditions.all(c, c.type in ['Ready', 'Synced'])",
        "status.conditions.filter(c, c.status == 'True').size() == 1",
        "status.conditions.exists_one(c, has(c.message))",
        "!has(status.failed) && has(status.phase)",
        "status.?failed.orValue(0) == 0",
        "status.?phase.orValue('') == 'Running'",
        "object.metadata.labels['tier'].startsWith('g')",
        "metadata.labels.tier.matches('^g[a-z]+$')",
        "spec.ratio * 2.0 == 1.0 && double(spec.size) == 3.0",
        "spec.huge > 5u && status.nothing == null",
        "type(status.phase) == string && size(metadata.labels) == 1",
        "status.conditions.map(c, c.type) == ['Ready', 'Synced']",
        "status.phase.lowerAscii() == 'running' && 'READY'.contains('EA')",
        "spec.paused ? false : metadata.generation == 3",
        "metadata.labels == {'tier': 'gold'}",
    ] {
        assert_eq!(holds(source, &object), Ok(true), "{source}");
    }
    assert_eq!(
        words(
            "status.phase + ': ' + status.conditions.map(c, c.type).join(', ')",
            &object
        ),
        Ok("Running: Ready, Synced".to_owned())
    );
    assert_eq!(
        words("string(status.ready) + ' of ' + string(spec.size)", &object),
        Ok("2 of 3".to_owned())
    );
}

#[test]
fn what_is_not_there_is_missing_and_what_is_wrong_is_wrong() {
    let fresh = json!({"metadata": {"name": "a"}});
    assert_eq!(
        holds("status.phase == 'Ready'", &fresh),
        Err(EvalError::Missing("there is no field \"phase\"".into()))
    );
    assert_eq!(holds("has(status.phase)", &fresh), Ok(false));
    assert_eq!(holds("object == object", &json!(["no object"])), Ok(true));
    let object = widget();
    assert!(matches!(
        holds("status.conditions[7].status == 'x'", &object),
        Err(EvalError::Missing(_))
    ));
    for source in [
        "status.phase",
        "status.ready < 'x'",
        "status.ready / 0 == 1",
        "status.phase.size",
        "int(status.phase) == 1",
        "status.ready + 9223372036854775807 > 0",
        "status.conditions.exists(c, c)",
    ] {
        assert!(
            matches!(holds(source, &object), Err(EvalError::Wrong(_))),
            "{source}: {:?}",
            holds(source, &object)
        );
    }
}

#[test]
fn an_error_does_not_repeat_what_the_object_holds() {
    let object = json!({"spec": {"password": "hunter2"}, "status": {"n": 1}});
    for source in [
        "int(spec.password) == 1",
        "spec.password < status.n",
        "spec.password - 1 == 2",
        "spec.password[0] == 'h'",
        "-spec.password == 1",
        "spec.password && true",
        "spec.password.matches('(')",
        "status[spec.password] == 1",
    ] {
        let error = holds(source, &object).unwrap_err().to_string();
        let told = error.contains("hunter2") && !source.contains("status[");
        assert!(!told, "{source}: {error}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    for (source, error) in [
        ("", "is empty"),
        ("  ", "is empty"),
        ("status.", "line 1, column 8: expected identifier"),
        ("status.phase ==\n  'x' &&", "line 2, column 9"),
        ("'unfinished", "line 1, column 1: unterminated string"),
        (
            "status.ready && statsu.x",
            "line 1, column 17: there is no \"statsu\"",
        ),
        (
            "self.status.ready",
            "line 1, column 1: there is no \"self\"",
        ),
        ("'oops' == oops", "line 1, column 11"),
        ("now() > 1", "there is no function \"now\""),
        (
            "status.phase.replace('a', 'b') == ''",
            "no function \"replace\"",
        ),
        (
            "status.conditions.exists(c)",
            "status.conditions.exists(c, …)",
        ),
        ("size(status, 1) == 2", "size takes 1 arguments, not 2"),
        ("status.x.size(1) == 2", "size takes 0 arguments, not 1"),
        ("contains(status.x)", "contains is not called like this"),
        ("'yes'", "gives a string, and has to give true or false"),
        ("1 - 1", "gives a number"),
        ("[status.ready]", "gives a list"),
        ("has(status.x) ? 'yes' : 'no'", "gives a string"),
        ("status.x == Some{a: 1}", "there is no type \"Some\""),
        ("status.x.@spend()", "line 1, column 10"),
    ] {
        let words = refused(source);
        assert!(words.contains(error), "{source}: {words}");
    }
    assert!(Expression::compile("status.a == 'b'", Words).is_err());
    assert!(Expression::compile("'a' + status.b", Words).is_ok());
    assert!(refused(&"a".repeat(2_000)).contains("2000 bytes long, and 1024 are allowed"));
}

#[test]
fn nesting_has_an_end() {
    for nest in ["(", "[", "!", "-", "{1:", "size(", "status.x["] {
        let deep = format!("{}1", nest.repeat(100));
        assert!(Expression::compile(&deep, Truth).is_err(), "{nest}");
    }
    let chain = format!("size(status){}", ".a".repeat(100));
    assert!(refused(&chain).contains("nested too deeply"));
    let sum = format!("1{} == 1", "+1".repeat(100));
    assert!(refused(&sum).contains("nested too deeply"));
    // Neither brackets nor a row of conditions make it deep.
    let object = json!({});
    let bracketed = format!("{}true{}", "(".repeat(400), ")".repeat(400));
    assert_eq!(holds(&bracketed, &object), Ok(true));
    assert_eq!(holds(&vec!["true"; 170].join("&&"), &object), Ok(true));
}

#[test]
fn the_work_on_one_object_is_bounded() {
    let list: Vec<_> = (0..5_000).collect();
    let text = "x".repeat(200_000);
    let object = json!({"spec": {"list": list, "text": text}});
    let begin = std::time::Instant::now();
    for source in [
        "spec.list.all(a, spec.list.all(b, spec.list.all(c, a + b + c >= 0)))",
        "spec.list.map(a, spec.text).size() > 0",
        "spec.list.map(a, spec.text + 'x').size() > 0",
        "spec.list.map(a, spec.list).size() > 0",
        "spec.list.map(a, {'a': spec}).size() > 0",
        "spec.list.map(a, optional.of(spec)).size() > 0",
        "spec.list.exists(a, object.?spec.orValue({}).text == 'x')",
        "spec.list.exists(a, spec.text.matches('x{900}y'))",
        "spec.list.map(a, string(a)).join(spec.text) == ''",
        "spec.list.exists(a, spec == {'list': [], 'text': ''})",
        "spec.list.map(a, spec.list.map(b, spec.list.map(c, a))) == []",
    ] {
        let done = holds(source, &object);
        assert!(
            matches!(done, Err(EvalError::Wrong(_))),
            "{source}: {done:?}"
        );
    }
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
    // What people write is far from it.
    let conditions: Vec<_> = (0..100)
        .map(|i| json!({"type": format!("C{i}"), "status": "True", "message": "x".repeat(200)}))
        .collect();
    let object = json!({"status": {"conditions": conditions}});
    let source = "status.conditions.all(c, c.status == 'True') && status.conditions.map(c, c.type).size() == 100";
    assert_eq!(holds(source, &object), Ok(true));
    let huge = json!({"data": "x".repeat(900_000)});
    let error = holds("true", &huge).unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map("(status|spec|conditions|type|a)", inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    /// Whatever is written, and whatever it meets: words, never a crash.
    #[test]
    fn any_text_is_compiled_or_refused(source in "[a-z0-9.()\\[\\]{}?:!=&|<>+*/%'\", \n\\\\@`-]{0,60}", object in json_value()) {
        if let Ok(expression) = Expression::compile(&source, Truth)
            && let Ok(scope) = Scope::new(&object)
        {
            let _ = expression.holds(&scope);
        }
    }

    #[test]
    fn words_of_cel_in_any_order(tokens in proptest::collection::vec(
        prop_oneof![
            Just("status"), Just("spec"), Just("object"), Just("."), Just("conditions"), Just("("),
            Just(")"), Just("["), Just("]"), Just(","), Just("=="), Just("&&"), Just("||"), Just("!"),
            Just("?"), Just(":"), Just("+"), Just("in"), Just("1"), Just("'a'"), Just("exists"),
            Just("map"), Just("c"), Just("has"), Just("size"), Just("null"), Just(".?"), Just("{"), Just("}"),
        ], 0..20), object in json_value())
    {
        let source = tokens.join(" ");
        if let Ok(expression) = Expression::compile(&source, Truth)
            && let Ok(scope) = Scope::new(&object)
        {
            let _ = expression.holds(&scope);
        }
    }
}
