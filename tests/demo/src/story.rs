//! The texts of the story: resources for the hub, manifests for the repository. Pure.

use crate::plan::{PROD, STAGING};

/// The repository and the assignment that every cluster has.
pub const SHOP: &str = "shop";
/// The assignment of staging alone.
pub const PREVIEW: &str = "preview";

/// What the first commit ships, and the second.
pub const VERSIONS: [&str; 2] = ["3.9", "3.10"];

/// Assignments and the groups that they are for.
pub const ASSIGNMENTS: [(&str, &[&str]); 2] = [(SHOP, &[PROD, STAGING]), (PREVIEW, &[STAGING])];

/// Resources as a person would write them.
pub fn resources(url: &str) -> String {
    let mut out = format!(
        "apiVersion: lockstep.dev/v1alpha1\nkind: Repository\nmetadata: {{name: {SHOP}}}\nspec:\n  url: {url}\n  poll: 2s\n"
    );
    for group in [PROD, STAGING] {
        out.push_str(&format!(
            "---\napiVersion: lockstep.dev/v1alpha1\nkind: ClusterGroup\nmetadata: {{name: {group}}}\nspec:\n  selector:\n    matchLabels: {{env: {group}}}\n"
        ));
    }
    for (name, groups) in ASSIGNMENTS {
        let groups = groups.join(", ");
        out.push_str(&format!(
            "---\napiVersion: lockstep.dev/v1alpha1\nkind: Assignment\nmetadata: {{name: {name}}}\nspec:\n  repository: {SHOP}\n  ref: {{branch: main}}\n  path: {name}\n  clusterGroups: [{groups}]\n  namespace: {name}\n  sync: {{createNamespace: true}}\n"
        ));
    }
    out
}

/// The manifest that the second commit changes.
pub const WEB: &str = "shop/web.yaml";

/// A Deployment of a version.
pub fn web(version: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {{app: web, version: \"{version}\"}}
spec:
  replicas: 2
  selector:
    matchLabels: {{app: web}}
  template:
    metadata:
      labels: {{app: web}}
    spec:
      containers:
        - name: web
          image: registry.k8s.io/pause:{version}
          ports: [{{name: http, containerPort: 8080}}]
          envFrom:
            - configMapRef: {{name: web}}
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"
    )
}

const SETTINGS: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: web
data:
  GREETING: hello from Git
";

const NOTES: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: notes
data:
  audience: only staging has this
";

const README: &str = "# The shop

Change a file under `shop/` (every cluster) or `preview/` (staging alone), commit, push, and
watch it arrive.
";

/// The files of the first commit.
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("README.md", README.to_owned()),
        (WEB, web(VERSIONS[0])),
        ("shop/settings.yaml", SETTINGS.to_owned()),
        ("preview/notes.yaml", NOTES.to_owned()),
    ]
}
