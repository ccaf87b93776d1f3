//! The order in which kinds are applied; removal goes the other way.
//!
//! A stage begins when every object of the one before has been tried; what an
//! object needs in particular (its namespace, its definition) it waits for by
//! itself, see [`super::next`].

/// Stages, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Definitions,
    Namespaces,
    /// Who may do what, and the classes and limits that others refer to.
    Ground,
    /// What workloads mount, call and are bound by.
    Settings,
    Workloads,
    /// What changes how the API answers: only once its backends are there.
    Hooks,
    /// Objects of definitions that came in the same Bundle.
    Custom,
}

/// The stage of a kind. `defined_here`: its definition came in the same Bundle.
#[must_use]
pub fn stage(group: &str, kind: &str, defined_here: bool) -> Stage {
    match (group, kind) {
        _ if defined_here => Stage::Custom,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Stage::Definitions,
        ("", "Namespace") => Stage::Namespaces,
        ("rbac.authorization.k8s.io", _)
        | ("", "ServiceAccount" | "ResourceQuota" | "LimitRange")
        | ("scheduling.k8s.io", "PriorityClass")
        | ("node.k8s.io", "RuntimeClass")
        | ("networking.k8s.io", "IngressClass")
        | ("resource.k8s.io", "DeviceClass")
        | ("storage.k8s.io", _)
        | ("snapshot.storage.k8s.io", "VolumeSnapshotClass")
        | ("flowcontrol.apiserver.k8s.io", _)
        | ("gateway.networking.k8s.io", "GatewayClass") => Stage::Ground,
        ("", "ConfigMap" | "Secret" | "PersistentVolume" | "PersistentVolumeClaim" | "Service")
        | ("networking.k8s.io", "NetworkPolicy")
        | ("policy", _) => Stage::Settings,
        ("admissionregistration.k8s.io", _) | ("apiregistration.k8s.io", "APIService") => {
            Stage::Hooks
        }
        _ => Stage::Workloads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_in_the_order_in_which_they_need_each_other() {
        let order = [
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("", "Namespace"),
            ("rbac.authorization.k8s.io", "ClusterRole"),
            ("", "ConfigMap"),
            ("apps", "Deployment"),
            (
                "admissionregistration.k8s.io",
                "ValidatingWebhookConfiguration",
            ),
        ];
        let stages: Vec<_> = order.map(|(g, k)| stage(g, k, false)).into();
        assert!(stages.is_sorted() && stages.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(stage("example.com", "Widget", true) > stages[5]);
        assert_eq!(stage("example.com", "Widget", false), Stage::Workloads);
        assert_eq!(stage("", "ServiceAccount", false), Stage::Ground);
        assert_eq!(stage("", "Secret", false), Stage::Settings);
    }
}
