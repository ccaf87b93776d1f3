//! Statuses as they come from real clusters, one file for each project, and
//! what people would call them: `../cases`.

use lockstep_proto::v1::health::Status;
use serde::Deserialize;
use serde_json::Value;

use crate::health::{Class, Subject, judge};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    /// "group/Kind".
    kind: String,
    health: String,
    /// A part of what is said; nothing is said of what is healthy.
    #[serde(default)]
    message: String,
    /// How the class of a claim binds.
    #[serde(default)]
    class: String,
    object: Value,
}

macro_rules! cases {
    ($($name:ident $file:literal,)+) => {
        $(
            #[test]
            fn $name() {
                check(include_str!(concat!("../cases/", $file)));
            }
        )+
    };
}

cases! {
    cert_manager "cert-manager.yaml",
    argo "argo.yaml",
    flux "flux.yaml",
    crossplane "crossplane.yaml",
    cluster_api "cluster-api.yaml",
    gateway_api "gateway.yaml",
    external_secrets "external-secrets.yaml",
    prometheus_operator "prometheus.yaml",
    knative_and_keda "knative.yaml",
    strimzi "strimzi.yaml",
    workloads "workloads.yaml",
    the_rest_of_kubernetes "kubernetes.yaml",
    what_nobody_knows "unknown.yaml",
}

fn check(text: &str) {
    let cases: Vec<Case> = serde_saphyr::from_str(text).unwrap();
    assert!(cases.len() > 7);
    for Case {
        case,
        kind,
        health,
        message,
        class,
        object,
    } in cases
    {
        let (group, name) = kind.split_once('/').unwrap();
        let mut subject: Subject = serde_json::from_value(object).unwrap();
        subject.class = match class.as_str() {
            "" => Class::Unknown,
            "Missing" => Class::Missing,
            "Immediate" => Class::Immediate,
            "WaitForFirstConsumer" => Class::WaitForFirstConsumer,
            other => panic!("{other}"),
        };
        let judged = judge(group, name, &subject);
        let expected = Status::from_str_name(&health).unwrap();
        assert_eq!(judged.health, expected, "{kind}: {case}: {judged:?}");
        assert_eq!(
            judged.message.is_empty(),
            message.is_empty(),
            "{kind}: {case}: {judged:?}"
        );
        assert!(
            judged.message.contains(&message),
            "{kind}: {case}: {:?} should contain {message:?}",
            judged.message
        );
    }
}
