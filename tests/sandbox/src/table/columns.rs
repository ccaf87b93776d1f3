//! The columns of each kind, as the real server defines them.

use crate::discovery::Column;

fn column(name: &str, kind: &str, priority: i64) -> Column {
    let format = if name == "Name" { "name" } else { "" };
    Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: format.to_owned(),
        path: String::new(),
        priority,
    }
}

/// Columns of a custom resource: name, what its definition asks for, else age.
pub(super) fn custom(asked: &[Column]) -> Vec<Column> {
    let mut out = vec![column("Name", "string", 0)];
    if asked.is_empty() {
        out.push(column("Age", "date", 0));
    }
    out.extend(asked.iter().cloned());
    out
}

/// Columns of a built-in kind. A `*` marks those of the wide form.
pub(super) fn builtin(group: &str, kind: &str) -> Vec<Column> {
    let names: &[&str] = match (group, kind) {
        ("apps", "Deployment") => &[
            "Name",
            "Ready",
            "Up-to-date",
            "Available",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("apps", "StatefulSet") => &["Name", "Ready", "Age", "Containers*", "Images*"],
        ("apps", "DaemonSet") => &[
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Node Selector",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("apps", "ReplicaSet") | ("", "ReplicationController") => &[
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("batch", "Job") => &[
            "Name",
            "Status",
            "Completions",
            "Duration",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("batch", "CronJob") => &[
            "Name",
            "Schedule",
            "Timezone",
            "Suspend",
            "Active",
            "Last Schedule",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("", "Pod") => &[
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "IP*",
            "Node*",
            "Nominated Node*",
            "Readiness Gates*",
        ],
        ("", "ConfigMap") => &["Name", "Data", "Age"],
        ("", "Secret") => &["Name", "Type", "Data", "Age"],
        ("", "Namespace") => &["Name", "Status", "Age"],
        ("", "Service") => &[
            "Name",
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
            "Selector*",
        ],
        ("", "PersistentVolumeClaim") => &[
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "VolumeMode*",
        ],
        ("", "Event") => &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject*",
            "Source*",
            "Message",
            "First Seen*",
            "Count*",
            "Name*",
        ],
        ("networking.k8s.io", "Ingress") => &["Name", "Class", "Hosts", "Address", "Ports", "Age"],
        ("apiextensions.k8s.io", _) | ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => {
            &["Name", "Created At"]
        }
        _ => &["Name", "Age"],
    };
    names
        .iter()
        .map(|name| {
            let wide = name.ends_with('*');
            let name = name.trim_end_matches('*');
            let kind = match (kind, name) {
                ("DaemonSet", "Desired" | "Current" | "Ready" | "Up-to-date" | "Available") => {
                    "integer"
                }
                ("ReplicaSet" | "ReplicationController", "Desired" | "Current" | "Ready") => {
                    "integer"
                }
                (_, "Created At") => "date",
                (_, "Active") => "integer",
                ("CronJob", "Suspend") => "boolean",
                _ => "string",
            };
            column(name, kind, i64::from(wide))
        })
        .collect()
}
