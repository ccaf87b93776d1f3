//! Health as an Assignment says it, for kinds that nobody else knows: CEL
//! expressions that the hub has checked, compiled once for each goal.
//!
//! The first of degraded, suspended, progressing and healthy that is true is
//! the object's health; where none is, it is Progressing. What an expression
//! asks of an object that does not have it is not true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_proto::expression::{CompileError, EvalError, Expression, Gives, Scope};
use lockstep_proto::v1::HealthRule;
use lockstep_proto::v1::health::Status;
use serde_json::Value;

use super::Judgement;

/// A message is for a line of a table.
const LONGEST_MESSAGE: usize = 300;

/// The rules of one Assignment, by group and kind.
#[derive(Debug, Default)]
pub struct Rules {
    rules: BTreeMap<(Box<str>, Box<str>), Arc<Rule>>,
}

/// The rule of one kind.
#[derive(Debug)]
pub struct Rule {
    written: HealthRule,
    /// In the order in which they are tried; or why they cannot be.
    compiled: Result<Compiled, String>,
}

#[derive(Debug)]
struct Compiled {
    conditions: Vec<(Status, &'static str, Expression)>,
    message: Option<Expression>,
}

impl Rules {
    /// Compiles `written`; what is the same in `before` is not compiled again.
    #[must_use]
    pub fn read(written: &[HealthRule], before: &Self) -> Self {
        let mut rules = BTreeMap::new();
        for rule in written {
            let group = if rule.group == "core" {
                ""
            } else {
                &*rule.group
            };
            // What a Secret holds is shown nowhere, in no message either.
            if (group, rule.kind.as_str()) == ("", "Secret") {
                continue;
            }
            let key = (group.into(), rule.kind.as_str().into());
            let known = before
                .rules
                .get(&key)
                .filter(|known| known.written == *rule);
            let compiled = known.cloned().unwrap_or_else(|| Arc::new(Rule::read(rule)));
            rules.insert(key, compiled);
        }
        Self { rules }
    }

    #[must_use]
    pub fn find(&self, group: &str, kind: &str) -> Option<&Arc<Rule>> {
        if self.rules.is_empty() {
            return None;
        }
        self.rules.get(&(Box::from(group), Box::from(kind)))
    }

    /// Groups and kinds that `other` judges in another way.
    #[must_use]
    pub fn differ(&self, other: &Self) -> BTreeSet<(Box<str>, Box<str>)> {
        let keys = self.rules.keys().chain(other.rules.keys());
        keys.filter(|key| {
            let written = |rules: &Self| rules.rules.get(*key).map(|rule| rule.written.clone());
            written(self) != written(other)
        })
        .cloned()
        .collect()
    }
}

impl Rule {
    fn read(written: &HealthRule) -> Self {
        Self {
            compiled: compile(written).map_err(|(field, error)| format!("{field}: {error}")),
            written: written.clone(),
        }
    }

    /// Judges a whole object that is not being deleted.
    #[must_use]
    pub fn judge(&self, object: &Value) -> Judgement {
        let unknown = |words: &str| {
            let words = format!("spec.sync.health of {}: {words}", self.written.kind);
            Judgement::new(Status::Unknown, cut(&words))
        };
        let compiled = match &self.compiled {
            Ok(compiled) => compiled,
            Err(words) => return unknown(words),
        };
        let scope = match Scope::new(object) {
            Ok(scope) => scope,
            Err(error) => return unknown(&error.to_string()),
        };
        let mut missing = None;
        for (health, field, condition) in &compiled.conditions {
            match condition.holds(&scope) {
                Ok(true) => return self.found(*health, field, condition, compiled, &scope),
                Ok(false) => {}
                Err(EvalError::Missing(words)) => missing = Some(words),
                Err(EvalError::Wrong(words)) => return unknown(&format!("{field}: {words}")),
            }
        }
        let words = compiled.words(&scope).unwrap_or_else(|| {
            let why = missing.map_or_else(String::new, |words| format!(": {words}"));
            format!(
                "not healthy yet by the assignment's rule for {}{why}",
                self.written.kind
            )
        });
        Judgement::progressing(cut(&words))
    }

    fn found(
        &self,
        health: Status,
        field: &str,
        condition: &Expression,
        compiled: &Compiled,
        scope: &Scope<'_>,
    ) -> Judgement {
        if health == Status::Healthy {
            return Judgement::healthy();
        }
        let words = compiled.words(scope).unwrap_or_else(|| {
            let kind = &self.written.kind;
            format!(
                "{field} by the assignment's rule for {kind}: {}",
                condition.source()
            )
        });
        Judgement::new(health, cut(&words))
    }
}

impl Compiled {
    /// What the rule says of why; none where it says nothing.
    fn words(&self, scope: &Scope<'_>) -> Option<String> {
        let words = self.message.as_ref()?.words(scope).ok()?;
        (!words.trim().is_empty()).then_some(words)
    }
}

fn compile(written: &HealthRule) -> Result<Compiled, (&'static str, CompileError)> {
    let mut conditions = Vec::new();
    for (health, field, source) in [
        (Status::Degraded, "degraded", &written.degraded),
        (Status::Suspended, "suspended", &written.suspended),
        (Status::Progressing, "progressing", &written.progressing),
        (Status::Healthy, "healthy", &written.healthy),
    ] {
        if !source.is_empty() {
            let compiled = Expression::compile(source, Gives::Truth).map_err(|e| (field, e))?;
            conditions.push((health, field, compiled));
        }
    }
    let message = match written.message.as_str() {
        "" => None,
        source => {
            let compiled = Expression::compile(source, Gives::Words);
            Some(compiled.map_err(|error| ("message", error))?)
        }
    };
    Ok(Compiled {
        conditions,
        message,
    })
}

/// One line of bounded length.
fn cut(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= LONGEST_MESSAGE {
        return line;
    }
    let end = line.floor_char_boundary(LONGEST_MESSAGE);
    format!("{}…", &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn widget() -> HealthRule {
        HealthRule {
            group: "example.com".into(),
            kind: "Widget".into(),
            healthy: "status.phase == 'Running'".into(),
            progressing: "status.phase == 'Warming'".into(),
            degraded: "status.phase == 'Failed' || status.?errors.orValue(0) > 3".into(),
            suspended: "spec.?paused.orValue(false)".into(),
            message: "'phase ' + status.phase".into(),
        }
    }

    fn judge(rule: HealthRule, object: &Value) -> (Status, String) {
        let rules = Rules::read(&[rule], &Rules::default());
        let rule = rules.rules.values().next().unwrap();
        let Judgement {
            health, message, ..
        } = rule.judge(object);
        (health, message)
    }

    #[test]
    fn the_first_condition_that_holds_is_the_health() {
        for (object, health, message) in [
            (json!({"status": {"phase": "Running"}}), Status::Healthy, ""),
            (
                json!({"status": {"phase": "Running", "errors": 4}}),
                Status::Degraded,
                "phase Running",
            ),
            (
                json!({"spec": {"paused": true}, "status": {"phase": "Running"}}),
                Status::Suspended,
                "phase Running",
            ),
            (
                json!({"status": {"phase": "Warming"}}),
                Status::Progressing,
                "phase Warming",
            ),
            (
                json!({"status": {"phase": "Odd"}}),
                Status::Progressing,
                "phase Odd",
            ),
            (
                json!({"metadata": {"name": "fresh"}}),
                Status::Progressing,
                "not healthy yet by the assignment's rule for Widget: there is no field \"phase\"",
            ),
        ] {
            assert_eq!(
                judge(widget(), &object),
                (health, message.to_owned()),
                "{object}"
            );
        }
    }

    #[test]
    fn a_rule_without_a_message_says_what_held() {
        let rule = HealthRule {
            message: String::new(),
            ..widget()
        };
        let (health, message) = judge(rule, &json!({"status": {"phase": "Failed"}}));
        assert_eq!(health, Status::Degraded);
        assert!(
            message.starts_with("degraded by the assignment's rule for Widget: status.phase"),
            "{message}"
        );
    }

    #[test]
    fn what_cannot_be_evaluated_is_unknown_in_words() {
        let rule = HealthRule {
            degraded: "status.phase > 3".into(),
            ..widget()
        };
        let (health, message) = judge(rule, &json!({"status": {"phase": "Running"}}));
        assert_eq!(health, Status::Unknown);
        assert!(
            message.starts_with("spec.sync.health of Widget: degraded: "),
            "{message}"
        );
        let unreadable = HealthRule {
            healthy: "status.".into(),
            ..widget()
        };
        let (health, message) = judge(unreadable, &json!({}));
        assert_eq!(health, Status::Unknown);
        assert!(message.contains("healthy: line 1, column 8"), "{message}");
        let (health, message) = judge(widget(), &json!({"data": "x".repeat(1 << 20)}));
        assert_eq!(health, Status::Unknown);
        assert!(message.contains("too large"), "{message}");
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        let object = json!({"status": {"phase": "Failed\n".repeat(300)}});
        let rule = HealthRule {
            degraded: "true".into(),
            ..widget()
        };
        let (_, message) = judge(rule, &object);
        assert!(message.len() < 310 && !message.contains('\n'), "{message}");
    }

    #[test]
    fn only_what_is_judged_in_another_way_differs() {
        let gadget = HealthRule {
            group: "core".into(),
            kind: "Gadget".into(),
            ..widget()
        };
        let none = Rules::default();
        let one = Rules::read(&[widget()], &none);
        let two = Rules::read(&[widget(), gadget], &one);
        let keys = |differ: BTreeSet<(Box<str>, Box<str>)>| {
            let say = |(group, kind): (Box<str>, Box<str>)| format!("{group}/{kind}");
            differ.into_iter().map(say).collect::<Vec<_>>()
        };
        assert_eq!(keys(two.differ(&one)), ["/Gadget"]);
        assert_eq!(keys(none.differ(&two)), ["/Gadget", "example.com/Widget"]);
        assert!(two.differ(&two).is_empty());
        assert!(two.find("", "Gadget").is_some() && two.find("example.com", "Gadget").is_none());
        let same = two.find("example.com", "Widget").unwrap();
        assert!(Arc::ptr_eq(
            same,
            one.find("example.com", "Widget").unwrap()
        ));
        let secret = HealthRule {
            group: String::new(),
            kind: "Secret".into(),
            ..widget()
        };
        assert!(Rules::read(&[secret], &none).find("", "Secret").is_none());
    }
}
