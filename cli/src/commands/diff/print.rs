//! A diff as people read it: a unified diff for each object, under the names of
//! the clusters that answered so. Pure.

use lockstep_proto::v1::{DiffGroup, ObjectDiff, object_diff::Action};

use super::super::rows::short;
use super::super::standing::count;
use crate::term;

/// So many clusters of a group are named; the others are counted.
const NAMED: usize = 3;

/// All differences; nothing where there are none.
pub(super) fn text(groups: &[DiffGroup], revision: &str, colour: bool) -> String {
    let mut out = Painter {
        text: String::new(),
        colour,
    };
    for group in groups.iter().filter(|g| !g.objects.is_empty()) {
        if !out.text.is_empty() {
            out.text.push('\n');
        }
        let title = format!("=== {}: {}", fold(&group.clusters), totals(&group.objects));
        out.line(&title, Some("1"));
        for object in &group.objects {
            out.object(object, revision);
        }
    }
    out.text
}

/// Who gave no answer and why, and who has no differences where others have.
pub(super) fn silent(groups: &[DiffGroup]) -> Vec<String> {
    let mut lines: Vec<_> = groups
        .iter()
        .filter(|group| !group.error.is_empty())
        .map(|group| {
            format!(
                "error: no answer from {}: {}",
                group.clusters.join(", "),
                group.error
            )
        })
        .collect();
    let same = groups
        .iter()
        .filter(|group| group.error.is_empty() && group.objects.is_empty());
    lines.extend(same.map(|group| format!("no differences on {}", fold(&group.clusters))));
    lines
}

/// `eu-1, eu-2 and 40 more`
fn fold(clusters: &[String]) -> String {
    match clusters {
        [] => "no cluster".to_owned(),
        [one] => one.clone(),
        [few @ .., last] if clusters.len() <= NAMED => format!("{} and {last}", few.join(", ")),
        many => {
            let (named, others) = many.split_at(NAMED - 1);
            format!("{} and {} more", named.join(", "), others.len())
        }
    }
}

/// Git has it no more, and it is not removed: the message says why.
fn is_left(object: &ObjectDiff) -> bool {
    object.action() == Action::Delete && object.diff.is_empty() && !object.message.is_empty()
}

/// `1 to create, 2 to change`
fn totals(objects: &[ObjectDiff]) -> String {
    let count_of =
        |holds: &dyn Fn(&ObjectDiff) -> bool| objects.iter().filter(|o| holds(o)).count();
    let is = |action: Action| count_of(&|o| o.action() == action && !is_left(o));
    let words = [
        (is(Action::Create), "to create"),
        (is(Action::Change), "to change"),
        (is(Action::Delete), "to delete"),
        (count_of(&is_left), "left in place"),
        (is(Action::Fail), "that cannot be told"),
    ];
    let parts: Vec<_> = words
        .iter()
        .filter(|(found, _)| *found > 0)
        .map(|(found, word)| format!("{found} {word}"))
        .collect();
    if parts.is_empty() {
        return count(objects.len() as u64, "object");
    }
    parts.join(", ")
}

struct Painter {
    text: String,
    colour: bool,
}

impl Painter {
    fn line(&mut self, line: &str, code: Option<&str>) {
        // A tab may stand in any YAML; nothing else that acts on a terminal.
        let line = term::lines(line);
        match code.filter(|_| self.colour) {
            Some(code) => self.text.push_str(&format!("\x1b[{code}m{line}\x1b[0m\n")),
            None => {
                self.text.push_str(&line);
                self.text.push('\n');
            }
        }
    }

    fn object(&mut self, object: &ObjectDiff, revision: &str) {
        let name = &object.object;
        if object.action() == Action::Fail {
            self.line(&format!("!!! {name}: {}", object.message), Some("31"));
        } else if is_left(object) {
            self.line(&format!("# {name}: {}", object.message), None);
        } else {
            // The agent names the sides; an answer without is named here.
            if !object.diff.starts_with("--- ") {
                let (from, to) = sides(object, revision);
                self.line(&format!("--- {from}"), Some("1"));
                self.line(&format!("+++ {to}"), Some("1"));
            }
            if !object.message.is_empty() {
                self.line(&format!("# {}", object.message), None);
            }
        }
        for (at, line) in object.diff.lines().enumerate() {
            let code = match line.as_bytes().first() {
                Some(b'+' | b'-') if at < 2 && is_named(line) => Some("1"),
                Some(b'+') => Some("32"),
                Some(b'-') => Some("31"),
                Some(b'@') => Some("36"),
                _ => None,
            };
            self.line(line, code);
        }
    }
}

fn is_named(line: &str) -> bool {
    line.starts_with("--- ") || line.starts_with("+++ ")
}

fn sides(object: &ObjectDiff, revision: &str) -> (String, String) {
    let nothing = || "/dev/null".to_owned();
    let live = || format!("{} on the cluster", object.object);
    let wanted = || format!("{} at {}", object.object, short(revision));
    match object.action() {
        Action::Create => (nothing(), wanted()),
        Action::Delete => (live(), nothing()),
        _ => (live(), wanted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("eu-{n}")).collect()
    }

    fn change(diff: &str) -> ObjectDiff {
        ObjectDiff {
            object: "apps/v1 Deployment shop/web".into(),
            action: Action::Change.into(),
            diff: diff.into(),
            message: String::new(),
        }
    }

    #[test]
    fn clusters_that_answered_alike_are_folded() {
        for (clusters, want) in [
            (1, "eu-1"),
            (2, "eu-1 and eu-2"),
            (3, "eu-1, eu-2 and eu-3"),
            (42, "eu-1, eu-2 and 40 more"),
        ] {
            assert_eq!(fold(&names(clusters)), want);
        }
    }

    #[test]
    fn each_object_is_a_unified_diff_under_its_clusters() {
        let group = DiffGroup {
            clusters: names(42),
            objects: vec![
                change(
                    "--- apps/v1 Deployment shop/web on the cluster\n+++ apps/v1 Deployment shop/web at 9f3c2a1\n@@ -1,2 +1,2 @@\n spec:\n-  replicas: 3\n+  replicas: 5\n",
                ),
                ObjectDiff {
                    object: "v1 ConfigMap shop/new".into(),
                    action: Action::Create.into(),
                    diff: "@@ -0,0 +1 @@\n+kind: ConfigMap\n".into(),
                    message: String::new(),
                },
                ObjectDiff {
                    object: "v1 Namespace old".into(),
                    action: Action::Delete.into(),
                    message: "left in place: pruneKinds does not name it".into(),
                    ..ObjectDiff::default()
                },
                ObjectDiff {
                    object: "v1 Service shop/web".into(),
                    action: Action::Fail.into(),
                    message: "it would be refused: spec.ports is missing".into(),
                    ..ObjectDiff::default()
                },
            ],
            error: String::new(),
        };
        assert_eq!(
            text(&[group], &"9f3c2a1".repeat(5), false),
            "\
=== eu-1, eu-2 and 40 more: 1 to create, 1 to change, 1 left in place, 1 that cannot be told
--- apps/v1 Deployment shop/web on the cluster
+++ apps/v1 Deployment shop/web at 9f3c2a1
@@ -1,2 +1,2 @@
 spec:
-  replicas: 3
+  replicas: 5
--- /dev/null
+++ v1 ConfigMap shop/new at 9f3c2a1
@@ -0,0 +1 @@
+kind: ConfigMap
# v1 Namespace old: left in place: pruneKinds does not name it
!!! v1 Service shop/web: it would be refused: spec.ports is missing
"
        );
    }

    #[test]
    fn colour_is_ours_alone() {
        let group = DiffGroup {
            clusters: names(1),
            objects: vec![change("@@ -1 +1 @@\n-a: \x1b[31mx\n+a: y\n")],
            error: String::new(),
        };
        let plain = text(std::slice::from_ref(&group), "9f3c2a1", false);
        assert!(
            !plain.contains('\x1b') && plain.contains("\\u{1b}[31mx"),
            "{plain}"
        );
        let coloured = text(&[group], "9f3c2a1", true);
        assert!(coloured.contains("\x1b[32m+a: y\x1b[0m\n"), "{coloured}");
        assert!(!coloured.contains("\x1b[31mx"), "{coloured}");
    }

    #[test]
    fn who_said_nothing_is_named_with_the_cause() {
        let group = |clusters, error: &str, objects| DiffGroup {
            clusters,
            objects,
            error: error.into(),
        };
        let groups = [
            group(names(2), "offline since 12:00", vec![]),
            group(vec!["us-1".into()], "", vec![]),
            group(vec!["us-2".into()], "", vec![change("@@\n")]),
        ];
        assert_eq!(
            silent(&groups),
            [
                "error: no answer from eu-1, eu-2: offline since 12:00",
                "no differences on us-1"
            ]
        );
        assert_eq!(text(&groups[..2], "", false), "");
    }
}
