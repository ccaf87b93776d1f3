//! `spec.sync.health`: expressions that every agent of the fleet will run are
//! compiled here first, by the code that the agents compile them with.

use lockstep_proto::expression::{Expression, Gives};
use lockstep_proto::v1::HealthRule;

use super::Problems;

/// One for each kind that Lockstep does not know.
const MAX_RULES: usize = 32;
/// A Kubernetes name of a group or kind is shorter.
const MAX_NAME: usize = 253;

pub(super) fn check(rules: &[HealthRule], problems: &mut Problems) {
    if rules.len() > MAX_RULES {
        problems.at("spec.sync.health", format!("more than {MAX_RULES} rules"));
        return;
    }
    for (at, rule) in rules.iter().enumerate() {
        let path = format!("spec.sync.health[{at}]");
        if let Err((field, cause)) = check_kind(rule) {
            problems.at(&format!("{path}.{field}"), cause);
        }
        let same = |other: &&HealthRule| group(other) == group(rule) && other.kind == rule.kind;
        if rules[..at].iter().any(|other| same(&other)) {
            let cause = format!("kind {:?} has a rule already", rule.kind);
            problems.at(&format!("{path}.kind"), cause);
        }
        check_expressions(rule, &path, problems);
    }
}

/// The core group has an empty name; written out it reads better.
fn group(rule: &HealthRule) -> &str {
    if rule.group == "core" {
        ""
    } else {
        &rule.group
    }
}

fn check_kind(rule: &HealthRule) -> Result<(), (&'static str, String)> {
    let group = group(rule);
    let in_group = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    if group.len() > MAX_NAME || !group.bytes().all(in_group) {
        let cause = format!("{group:?} is no API group: write it like example.com, or core");
        return Err(("group", cause));
    }
    let kind = &rule.kind;
    if kind.is_empty() {
        return Err(("kind", "is missing: write it like Widget".to_owned()));
    }
    let first = kind.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
    if !first || kind.len() > MAX_NAME || !kind.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(("kind", format!("{kind:?} is no kind: write it like Widget")));
    }
    if (group, kind.as_str()) == ("", "Secret") {
        let cause = "a Secret has no health of its own, and what it holds is not shown";
        return Err(("kind", cause.to_owned()));
    }
    Ok(())
}

fn check_expressions(rule: &HealthRule, path: &str, problems: &mut Problems) {
    let conditions = [
        ("degraded", &rule.degraded),
        ("suspended", &rule.suspended),
        ("progressing", &rule.progressing),
        ("healthy", &rule.healthy),
    ];
    if conditions.iter().all(|(_, source)| source.is_empty()) {
        problems.at(
            path,
            "says nothing: write a CEL expression in healthy, progressing, degraded or suspended",
        );
    }
    let all = conditions
        .into_iter()
        .map(|(field, source)| (field, source, Gives::Truth))
        .chain([("message", &rule.message, Gives::Words)]);
    for (field, source, gives) in all {
        if source.is_empty() {
            continue;
        }
        if let Err(error) = Expression::compile(source, gives) {
            problems.at(&format!("{path}.{field}"), error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::kind::Name as Kind;

    fn problems(rules: &[HealthRule]) -> Vec<String> {
        let mut problems = Problems::new(Kind::Assignment, "shop");
        check(rules, &mut problems);
        problems.found
    }

    fn rule(group: &str, kind: &str, healthy: &str) -> HealthRule {
        HealthRule {
            group: group.into(),
            kind: kind.into(),
            healthy: healthy.into(),
            ..HealthRule::default()
        }
    }

    #[test]
    fn a_rule_that_every_agent_can_run_is_taken() {
        let rules = [
            HealthRule {
                degraded: "status.phase == 'Failed'".into(),
                suspended: "spec.?paused.orValue(false)".into(),
                message: "status.reason + ': ' + status.message".into(),
                ..rule("example.com", "Widget", "status.phase == 'Running'")
            },
            rule("core", "ConfigMap", "has(object.data.ready)"),
        ];
        assert_eq!(problems(&rules), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path_and_its_place_in_the_expression() {
        for (rule, problem) in [
            (
                rule("example.com", "Widget", "statsu.phase == 'Running'"),
                "Assignment shop: spec.sync.health[0].healthy: line 1, column 1: there is no \"statsu\"",
            ),
            (
                rule("example.com", "Widget", "status.phase =="),
                "spec.sync.health[0].healthy: line 1, column 16",
            ),
            (
                rule("example.com", "Widget", "'fine'"),
                "spec.sync.health[0].healthy: line 1, column 1: gives a string",
            ),
            (
                rule("example.com", "Widget", &"a".repeat(2_000)),
                "spec.sync.health[0].healthy: is 2000 bytes long",
            ),
            (
                HealthRule {
                    message: "status.phase == 'x'".into(),
                    ..rule("example.com", "Widget", "true")
                },
                "spec.sync.health[0].message: line 1, column 1: gives true or false, and has to give a string",
            ),
            (
                rule("example.com", "Widget", ""),
                "spec.sync.health[0]: says nothing",
            ),
            (
                rule("example.com", "", "true"),
                "spec.sync.health[0].kind: is missing",
            ),
            (
                rule("example.com", "widgets", "true"),
                "spec.sync.health[0].kind: \"widgets\" is no kind",
            ),
            (
                rule("Example.com/v1", "Widget", "true"),
                "spec.sync.health[0].group: \"Example.com/v1\" is no API group",
            ),
            (
                rule("", "Secret", "true"),
                "spec.sync.health[0].kind: a Secret has no health",
            ),
        ] {
            let found = problems(std::slice::from_ref(&rule));
            assert_eq!(found.len(), 1, "{rule:?}: {found:?}");
            assert!(found[0].contains(problem), "{found:?}");
        }
        let twice = [rule("core", "Pod", "true"), rule("", "Pod", "true")];
        assert!(problems(&twice)[0].contains("spec.sync.health[1].kind"));
        let many = vec![rule("", "Pod", "true"); 40];
        assert_eq!(problems(&many).len(), 1);
    }
}
