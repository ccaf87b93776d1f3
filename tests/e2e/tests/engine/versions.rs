//! Servers from 1.30 to 1.36: what they are is what their discovery says and
//! what they refuse. The objects are those of the cluster underneath.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

/// How a server differs from the newest.
#[derive(Clone, Copy)]
struct Version {
    name: &'static str,
    /// The version of the discovery document that it answers with.
    discovery: &'static str,
    /// It can begin a watch with a list (on by default in 1.32, not in 1.33,
    /// and again from 1.34).
    streams: bool,
    /// Versions of `resource.k8s.io` that it serves; none are on by default
    /// before 1.34.
    devices: &'static [&'static str],
}

const VERSIONS: &[Version] = &[
    Version {
        name: "1.30, asked as by an old aggregator",
        discovery: "v2beta1",
        streams: false,
        devices: &[],
    },
    Version {
        name: "1.31",
        discovery: "v2",
        streams: false,
        devices: &[],
    },
    Version {
        name: "1.32",
        discovery: "v2",
        streams: true,
        devices: &["v1beta1"],
    },
    Version {
        name: "1.33",
        discovery: "v2",
        streams: false,
        devices: &["v1beta2", "v1beta1"],
    },
    Version {
        name: "1.34",
        discovery: "v2",
        streams: true,
        devices: &["v1"],
    },
    Version {
        name: "1.36",
        discovery: "v2",
        streams: true,
        devices: &["v1", "v1beta2"],
    },
];

/// The cluster behind `inner`, as a server of `version` would show it.
fn dressed(inner: Client, version: Version, refused: Arc<AtomicUsize>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, refused) = (inner.clone(), Arc::clone(&refused));
        async move {
            let path = request.uri().path().to_owned();
            let query = request.uri().query().unwrap_or("").to_owned();
            if query.contains("sendInitialEvents") && !version.streams {
                refused.fetch_add(1, Ordering::Relaxed);
                return Ok::<_, tower::BoxError>(no_streams());
            }
            let response = inner.send(request).await?;
            if path != "/apis" && path != "/api" {
                return Ok(response);
            }
            let (mut parts, body) = response.into_parts();
            let text = body.collect_bytes().await?;
            let mut document: Value = serde_json::from_slice(&text)?;
            dress(&mut document, version);
            parts.headers.remove("content-length");
            let content = format!(
                "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList",
                version.discovery
            );
            parts.headers.insert("content-type", content.parse()?);
            Ok(Response::from_parts(
                parts,
                Body::from(document.to_string().into_bytes()),
            ))
        }
    });
    Client::new(service, "default")
}

/// As a server answers where the feature gate WatchList is off.
fn no_streams() -> Response<Body> {
    let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: \
                   sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422,
        "reason": "Invalid", "message": message,
        "details": {"group": "meta.k8s.io", "kind": "ListOptions",
            "causes": [{"reason": "FieldValueForbidden", "field": "sendInitialEvents"}]}});
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = http::StatusCode::UNPROCESSABLE_ENTITY;
    response
}

fn dress(document: &mut Value, version: Version) {
    document["apiVersion"] = format!("apidiscovery.k8s.io/{}", version.discovery).into();
    let Some(groups) = document["items"].as_array_mut() else {
        return;
    };
    if groups
        .iter()
        .all(|group| group["metadata"]["name"] != "apps")
    {
        return;
    }
    groups.retain(|group| group["metadata"]["name"] != "resource.k8s.io");
    if version.devices.is_empty() {
        return;
    }
    let served = |name: &&str| {
        json!({"version": name, "freshness": "Current", "resources": [{
            "resource": "deviceclasses", "scope": "Cluster", "singularResource": "deviceclass",
            "responseKind": {"group": "resource.k8s.io", "version": name, "kind": "DeviceClass"},
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}]})
    };
    let versions: Vec<Value> = version.devices.iter().map(served).collect();
    groups.push(json!({"metadata": {"name": "resource.k8s.io"}, "versions": versions}));
    // An aggregated API whose server is away.
    groups.push(json!({"metadata": {"name": "metrics.k8s.io"},
        "versions": [{"version": "v1beta1", "freshness": "Stale"}]}));
}

fn device_class() -> Value {
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass",
        "metadata": {"name": "gpu"}, "spec": {"selectors": []}})
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]}}}})
}

pub async fn every_version_by_what_its_discovery_says(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    let plain = world.client.clone();
    for (i, version) in VERSIONS.iter().enumerate() {
        let refused = Arc::<AtomicUsize>::default();
        world.client = dressed(plain.clone(), *version, Arc::clone(&refused));
        world.restart().await;
        let value = format!("for {}", version.name);
        let objects = [
            config_map("a", &value),
            config_map("b", "one"),
            deployment(),
        ];
        let digest = world.assign("shop", &objects)?;
        world.synced("shop", digest).await?;

        // Watches work, begun in one way or the other.
        let patch = json!({"data": {"key": format!("by hand {i}")}});
        world.merge("v1 ConfigMap", "shop", "b", &patch).await?;
        world
            .becomes(("v1 ConfigMap", "shop", "b"), |object| {
                object.is_some_and(|object| object["data"]["key"] == "one")
            })
            .await?;
        world.delete("apps/v1 Deployment", "shop", "web").await?;
        world
            .becomes(("apps/v1 Deployment", "shop", "web"), |object| {
                object.is_some()
            })
            .await?;
        ensure!(
            (refused.load(Ordering::Relaxed) > 0) != version.streams,
            "{}: a server that cannot stream is asked, and then listed",
            version.name
        );

        // A kind that this server does not have, or has in other versions, is
        // named; everything else stands.
        if version.devices.contains(&"v1") {
            continue;
        }
        let mut with_devices = objects.to_vec();
        with_devices.push(device_class());
        world.assign("shop", &with_devices)?;
        let report = world
            .until("shop", |report| report.sync() == Sync::Failed)
            .await?;
        let said = match version.devices {
            [] => "the cluster serves no kind DeviceClass in resource.k8s.io/v1".to_owned(),
            others => format!(
                "does not serve DeviceClass in resource.k8s.io/v1, only in {}",
                others
                    .iter()
                    .map(|version| format!("resource.k8s.io/{version}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        ensure!(
            report.message.contains(&said),
            "{}: {report:?}",
            version.name
        );
    }
    Ok(())
}
