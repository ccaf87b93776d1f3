//! Whatever stands where a status should stand: words, and never a crash.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::super::{Rules, Subject, judge};
use super::Healthy;
use lockstep_proto::v1::HealthRule;

/// Every kind that has a rule, and some that have none.
const KINDS: &[&str] = &[
    "apps/Deployment",
    "apps/StatefulSet",
    "apps/DaemonSet",
    "apps/ReplicaSet",
    "/Pod",
    "/Service",
    "/ReplicationController",
    "/PersistentVolumeClaim",
    "/PersistentVolume",
    "/Namespace",
    "/ConfigMap",
    "batch/Job",
    "batch/CronJob",
    "policy/PodDisruptionBudget",
    "autoscaling/HorizontalPodAutoscaler",
    "apiextensions.k8s.io/CustomResourceDefinition",
    "apiregistration.k8s.io/APIService",
    "certificates.k8s.io/CertificateSigningRequest",
    "certificates.k8s.io/PodCertificateRequest",
    "flowcontrol.apiserver.k8s.io/FlowSchema",
    "storage.k8s.io/VolumeAttachment",
    "storagemigration.k8s.io/StorageVersionMigration",
    "resource.k8s.io/ResourcePoolStatusRequest",
    "resource.k8s.io/DeviceTaintRule",
    "scheduling.k8s.io/PodGroup",
    "cert-manager.io/Certificate",
    "cert-manager.io/CertificateRequest",
    "cert-manager.io/Issuer",
    "acme.cert-manager.io/Order",
    "external-secrets.io/ExternalSecret",
    "argoproj.io/Rollout",
    "argoproj.io/AnalysisRun",
    "argoproj.io/Workflow",
    "argoproj.io/CronWorkflow",
    "argoproj.io/Application",
    "argoproj.io/ApplicationSet",
    "kustomize.toolkit.fluxcd.io/Kustomization",
    "pkg.crossplane.io/Provider",
    "pkg.crossplane.io/ProviderRevision",
    "apiextensions.crossplane.io/CompositeResourceDefinition",
    "gateway.networking.k8s.io/GatewayClass",
    "gateway.networking.k8s.io/Gateway",
    "gateway.networking.k8s.io/HTTPRoute",
    "gateway.networking.k8s.io/BackendTLSPolicy",
    "cluster.x-k8s.io/Cluster",
    "cluster.x-k8s.io/MachineDeployment",
    "cluster.x-k8s.io/MachineHealthCheck",
    "infrastructure.cluster.x-k8s.io/DockerCluster",
    "monitoring.coreos.com/Prometheus",
    "monitoring.coreos.com/ServiceMonitor",
    "kafka.strimzi.io/Kafka",
    "kafka.strimzi.io/KafkaRebalance",
    "core.strimzi.io/StrimziPodSet",
    "serving.knative.dev/Service",
    "serving.knative.dev/Revision",
    "keda.sh/ScaledObject",
    "example.com/Widget",
];

/// Words that rules look for, as keys and as values.
const WORDS: &[&str] = &[
    "conditions",
    "type",
    "status",
    "reason",
    "message",
    "Ready",
    "Available",
    "Synced",
    "True",
    "False",
    "Unknown",
    "phase",
    "Failed",
    "Pending",
    "Paused",
    "observedGeneration",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "replicas",
    "parents",
    "parentRefs",
    "listeners",
    "ancestors",
    "name",
    "paused",
    "suspend",
    "Progressing",
    "v1beta2",
    "bindings",
    "containerStatuses",
    "state",
    "waiting",
    "loadBalancer",
    "ingress",
    "Accepted",
    "Programmed",
    "Issuing",
    "health",
    "operationState",
    "updateStrategy",
    "partition",
    "rollingUpdate",
    "allocatedResourceStatuses",
    "storage",
    "errored",
    "valid",
    "Invalid",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::sample::select(WORDS).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => word().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_that_stands_in_an_object_is_too_much(
        spec in json(), status in json(), generation in proptest::option::of(any::<i64>()),
    ) {
        let subject = |deleted: bool| {
            let mut subject = Subject { spec: spec.clone(), status: status.clone(), ..Subject::default() };
            subject.metadata.generation = generation;
            subject.metadata.deletion_timestamp = deleted.then(|| "now".to_owned());
            subject
        };
        for kind in KINDS {
            let (group, kind) = kind.split_once('/').unwrap();
            let judged = judge(group, kind, &subject(false));
            prop_assert!(judged.health == Healthy || !judged.message.is_empty(), "{kind}: {judged:?}");
            let going = judge(group, kind, &subject(true));
            prop_assert!(going.message.starts_with("is being deleted"), "{kind}: {going:?}");
        }
    }

    #[test]
    fn nothing_that_stands_in_an_object_is_too_much_for_an_expression(object in json()) {
        let rule = HealthRule {
            group: "example.com".to_owned(),
            kind: "Widget".to_owned(),
            degraded: "status.conditions.exists(c, c.type == 'Failed' && c.status == 'True')".to_owned(),
            progressing: "status.replicas < spec.replicas || status.phase.startsWith('P')".to_owned(),
            healthy: "status.conditions.all(c, c.status != 'False')".to_owned(),
            message: "status.conditions.map(c, c.reason + ': ' + c.message).join('; ')".to_owned(),
            ..HealthRule::default()
        };
        let rules = Rules::read(&[rule], &Rules::default());
        let judged = rules.find("example.com", "Widget").unwrap().judge(&object);
        prop_assert!(judged.health == Healthy || !judged.message.is_empty(), "{judged:?}");
    }
}
