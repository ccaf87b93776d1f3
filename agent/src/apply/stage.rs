//! The order in which objects are applied; removal goes the other way.
//!
//! A stage, and inside it a wave, begins when what comes before is ready: see
//! [`super::next`]. Inside a wave there is an order too, but nobody waits in
//! it: what an object needs in particular it finds by being tried again.

/// Stages, first to last. The next begins when the last one is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Definitions,
    Namespaces,
    /// Who may do what, and the classes and limits that others refer to.
    Ground,
    /// All that nothing special is known of.
    Rest,
    /// Objects of definitions that came in the same Bundle.
    Custom,
}

/// The order inside a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// What workloads mount, call and are bound by.
    Settings,
    Workloads,
    /// What changes how the API answers: only once its backends are there.
    Callbacks,
}

/// Where an object comes in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub stage: Stage,
    pub wave: i16,
    pub rank: Rank,
}

impl Place {
    /// What is waited for as one.
    #[must_use]
    pub fn gate(self) -> (Stage, i16) {
        (self.stage, self.wave)
    }
}

impl Stage {
    /// As people say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Definitions => "CustomResourceDefinitions",
            Self::Namespaces => "Namespaces",
            Self::Ground => "access rules and classes",
            Self::Rest => "workloads and settings",
            Self::Custom => "custom resources",
        }
    }
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
        _ => Stage::Rest,
    }
}

#[must_use]
pub fn rank(group: &str, kind: &str) -> Rank {
    match (group, kind) {
        ("", "ConfigMap" | "Secret" | "PersistentVolume" | "PersistentVolumeClaim" | "Service")
        | ("networking.k8s.io", "NetworkPolicy")
        | ("policy", _) => Rank::Settings,
        ("admissionregistration.k8s.io", _) | ("apiregistration.k8s.io", "APIService") => {
            Rank::Callbacks
        }
        _ => Rank::Workloads,
    }
}

/// Whether an object that is applied, but not ready, holds back what comes
/// after `stage`. What gets ready only by something that comes later, or by
/// what is outside of the cluster, must not: nothing would ever go on. Waves
/// are a person's own order, and hold all the same.
#[must_use]
pub fn holds_its_stage(stage: Stage, group: &str, kind: &str) -> bool {
    match stage {
        Stage::Definitions | Stage::Namespaces => true,
        // A class is accepted by a controller, which is a workload.
        Stage::Ground => false,
        // Custom resources need those that serve and admit them; an address,
        // a volume or a metric may need a custom resource.
        Stage::Rest => matches!(
            (group, kind),
            ("apps" | "batch" | "apiregistration.k8s.io", _)
                | ("", "Pod" | "ReplicationController")
        ),
        Stage::Custom => true,
    }
}

/// Whether an object that is applied, but not ready, holds back the next wave
/// of its stage: all do but claims, whose volume is often made for the first
/// Pod that uses them.
#[must_use]
pub fn holds_its_wave(group: &str, kind: &str) -> bool {
    (group, kind) != ("", "PersistentVolumeClaim")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(group: &str, kind: &str, defined_here: bool) -> Place {
        Place {
            stage: stage(group, kind, defined_here),
            wave: 0,
            rank: rank(group, kind),
        }
    }

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
        let places: Vec<_> = order.map(|(g, k)| place(g, k, false)).into();
        assert!(places.is_sorted() && places.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(place("example.com", "Widget", true) > places[5]);
        assert_eq!(stage("example.com", "Widget", false), Stage::Rest);
        assert_eq!(stage("", "ServiceAccount", false), Stage::Ground);
        assert_eq!(rank("", "Secret"), Rank::Settings);
    }

    #[test]
    fn a_wave_is_an_order_inside_its_stage() {
        let at = |stage, wave, rank| Place { stage, wave, rank };
        let order = [
            at(Stage::Namespaces, 7, Rank::Workloads),
            at(Stage::Rest, -1, Rank::Callbacks),
            at(Stage::Rest, 0, Rank::Settings),
            at(Stage::Rest, 0, Rank::Workloads),
            at(Stage::Custom, -9, Rank::Settings),
        ];
        assert!(order.is_sorted());
    }
}
