//! Refusals as API servers word them.

use super::*;
use crate::cluster::Refusal;
use crate::inventory::Inventory;
use serde_json::json;

fn refused(code: u16, message: &str, causes: &[(&str, &str)]) -> ApiError {
    let causes: Vec<_> = causes
        .iter()
        .map(|(field, message)| json!({"reason": "x", "field": field, "message": message}))
        .collect();
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message,
        "details": {"name": "x", "causes": causes}});
    ApiError::Refused(Box::new(Refusal::read(
        code,
        status.to_string().as_bytes(),
        None,
    )))
}

#[test]
fn fields_that_cannot_change_are_told_from_other_mistakes() {
    for (field, message, fields) in [
        (
            "spec.selector",
            "Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: field is immutable",
            Some(".spec.selector"),
        ),
        (
            "spec",
            "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', \
             'template', 'updateStrategy' and 'minReadySeconds' are forbidden",
            Some(".spec"),
        ),
        (
            "spec.template",
            "Invalid value: {}: field is immutable",
            Some(".spec.template"),
        ),
        (
            "spec.clusterIPs[0]",
            "Invalid value: [\"10.0.0.9\"]: may not change once set",
            Some(".spec.clusterIPs[0]"),
        ),
        (
            "spec",
            "Forbidden: spec is immutable after creation except resources.requests and \
             volumeAttributesClassName for bound claims",
            Some(".spec"),
        ),
        (
            "parameters",
            "Forbidden: updates to parameters are forbidden.",
            Some(".parameters"),
        ),
        (
            "data",
            "Forbidden: field is immutable when `immutable` is set",
            Some(".data"),
        ),
        (
            "roleRef",
            "Invalid value: {}: cannot change roleRef",
            Some(".roleRef"),
        ),
        (
            "value",
            "Forbidden: may not be changed in an update.",
            Some(".value"),
        ),
        (
            "spec",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
            Some(".spec"),
        ),
        (
            "spec.size",
            "Invalid value: \"object\": Value is immutable",
            Some(".spec.size"),
        ),
        (
            "spec.replicas",
            "Invalid value: -1: must be greater than or equal to 0",
            None,
        ),
        ("spec.selector", "Required value", None),
    ] {
        let error = refused(
            422,
            &format!("x is invalid: {field}: {message}"),
            &[(field, message)],
        );
        let found = immutable(&error);
        assert_eq!(
            found.as_ref().map(|f| f.join(",")).as_deref(),
            fields,
            "{field}: {message}"
        );
    }
    let webhook = refused(
        403,
        "admission webhook \"x\" denied the request: immutable",
        &[],
    );
    assert_eq!(immutable(&webhook), None, "only the server itself knows");
}

#[test]
fn a_part_of_an_object_is_narrowed_to_what_differs_and_may_not() {
    let message =
        "updates to statefulset spec for fields other than 'replicas' and 'template' are forbidden";
    let error = refused(422, message, &[("spec", message)]);
    let wanted = json!({"spec": {"replicas": 5, "serviceName": "b", "podManagementPolicy": "Parallel",
        "template": {"x": 1}, "selector": {"matchLabels": {"a": "b"}}}});
    let live = json!({"spec": {"replicas": 3, "serviceName": "a", "podManagementPolicy": "OrderedReady",
        "template": {"x": 2}, "selector": {"matchLabels": {"a": "b"}}, "revisionHistoryLimit": 10}});
    let fields = narrowed(&error, &[".spec".into()], &wanted, &live);
    assert_eq!(fields, [".spec.podManagementPolicy", ".spec.serviceName"]);
    let claim =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName";
    let error = refused(422, claim, &[("spec", claim)]);
    let wanted = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}});
    let live = json!({"spec": {"storageClassName": "slow", "resources": {"requests": {"storage": "1Gi"}}}});
    assert_eq!(
        narrowed(&error, &[".spec".into()], &wanted, &live),
        [".spec.storageClassName"]
    );
    let selector = [".spec.selector".to_owned()];
    assert_eq!(
        narrowed(&error, &[".gone".into()], &wanted, &live),
        [".gone"]
    );
    assert_eq!(listed(&selector), ".spec.selector");
    assert_eq!(
        listed(&["a", "b", "c", "d", "e", "f"].map(String::from)),
        "a, b, c, d and 2 more"
    );
    assert!(cannot_change(&selector).starts_with(".spec.selector cannot be changed"));
    assert!(cannot_change(&selector).contains("lockstep.dev/replace: OnImmutable"));
}

#[test]
fn every_refusal_that_people_meet_says_what_to_do() {
    let id = Inventory::new("x").id("apps", "Deployment", "shop", "web");
    let account = ServiceAccount::read("shop/deployer");
    for (message, step) in [
        (
            "admission webhook \"policy.example.com\" denied the request: no",
            "as webhook policy.example.com asks",
        ),
        (
            "Internal error occurred: failed calling webhook \"w.example.com\": Post \"https://w\": refused",
            "webhook w.example.com does not answer",
        ),
        (
            "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'b' denied request: x",
            "as policy limits asks",
        ),
        (
            "pods \"web\" is forbidden: exceeded quota: small, requested: cpu=2, used: cpu=1, limited: cpu=2",
            "raise ResourceQuota shop/small",
        ),
        (
            "pods \"web\" is forbidden: violates PodSecurity \"restricted:latest\": x",
            "securityContext",
        ),
        (
            "roles.rbac.authorization.k8s.io \"x\" is forbidden: user \"agent\" is attempting to grant RBAC permissions not currently held",
            "must hold them: give them to service account shop/deployer",
        ),
        (
            "serviceaccounts \"deployer\" is forbidden: User \"agent\" cannot impersonate resource \"serviceaccounts\" in API group \"\"",
            "the verb impersonate on serviceaccounts shop/deployer",
        ),
        (
            "deployments.apps \"web\" is forbidden: User \"system:serviceaccount:shop:deployer\" cannot patch resource \"deployments\"",
            "service account shop/deployer, which agent.yaml names, lacks the right",
        ),
        ("namespaces \"shop\" not found", "spec.sync.createNamespace"),
        (
            "failed to create typed patch object: .spec.x: field not declared in schema",
            "misspelt",
        ),
    ] {
        let error = refused(403, message, &[]);
        let said = explain(&error, &id, account.as_ref());
        assert!(said.contains(message) && said.contains(step), "{said}");
    }
    let plain = refused(422, "spec.replicas: Invalid value", &[]);
    assert_eq!(explain(&plain, &id, None), plain.to_string());
    let gone = ApiError::Refused(Box::new(Refusal::read(404, b"404 page not found", None)));
    assert!(explain(&gone, &id, None).contains("no kind Deployment of group \"apps\" any more"));
    let own = refused(
        403,
        "x is forbidden: User \"agent\" cannot patch resource \"x\"",
        &[],
    );
    assert!(explain(&own, &id, None).contains("the agent's own user lacks the right"));
}
