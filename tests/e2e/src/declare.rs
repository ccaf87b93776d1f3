//! The YAML that people write, for stories that are about something else.

use std::fmt::Write as _;

/// A Repository that is asked every second.
#[must_use]
pub fn repository(name: &str, url: &str) -> String {
    format!(
        "---
apiVersion: lockstep.dev/v1alpha1
kind: Repository
metadata: {{name: {name}}}
spec:
  url: {url}
  poll: 1s
"
    )
}

/// A ClusterGroup of the clusters with one label.
#[must_use]
pub fn group(name: &str, key: &str, value: &str) -> String {
    format!(
        "---
apiVersion: lockstep.dev/v1alpha1
kind: ClusterGroup
metadata: {{name: {name}}}
spec:
  selector:
    matchLabels: {{{key}: {value}}}
"
    )
}

/// An Assignment, `main` and `deploy` unless said otherwise.
#[derive(Debug, Clone)]
pub struct Assignment<'a> {
    pub name: &'a str,
    pub repository: &'a str,
    pub reference: &'a str,
    pub path: &'a str,
    pub groups: &'a [&'a str],
    pub namespace: &'a str,
    /// The lines of `spec.sync`, as `key: value`.
    pub sync: &'a [&'a str],
}

impl<'a> Assignment<'a> {
    /// Everything named `name`, for the group `prod`.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            repository: name,
            reference: "branch: main",
            path: "deploy",
            groups: &["prod"],
            namespace: name,
            sync: &[],
        }
    }

    #[must_use]
    pub fn yaml(&self) -> String {
        let Self {
            name,
            repository,
            reference,
            path,
            namespace,
            ..
        } = self;
        let groups = self.groups.join(", ");
        let mut text = format!(
            "---
apiVersion: lockstep.dev/v1alpha1
kind: Assignment
metadata: {{name: {name}}}
spec:
  repository: {repository}
  ref: {{{reference}}}
  path: {path}
  clusterGroups: [{groups}]
  namespace: {namespace}
"
        );
        if !self.sync.is_empty() {
            text.push_str("  sync:\n");
            for line in self.sync {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }
}

/// A ConfigMap without a namespace.
#[must_use]
pub fn config_map(name: &str, key: &str, value: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data: {{{key}: \"{value}\"}}
"
    )
}
