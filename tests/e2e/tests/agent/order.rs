//! What must be there before what.

use lockstep_e2e::{Flavour, Result, SOON, World, config_map, ensure, json, until};

const WIDGETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {size: {type: integer}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
    subresources: {status: {}}
";

const WIDGET: &str = "
apiVersion: shop.example.com/v1
kind: Widget
metadata: {name: w}
spec: {size: 3}
";

pub async fn a_custom_resource_comes_with_its_definition_in_one_commit(
    flavour: Flavour,
) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    // The order of names is the wrong one.
    let revision = shop
        .commit(
            "Both",
            &[
                ("deploy/a-widget.yaml", WIDGET),
                ("deploy/z-crd.yaml", WIDGETS),
            ],
        )
        .await?;
    world.arrived("shop", &revision).await?;
    let eu = world.cluster("eu-1");
    let widget = eu.get("shop.example.com/v1 Widget", "shop", "w").await?;
    ensure!(widget["spec"]["size"] == 3, "{widget}");

    // Custom resources are watched, too.
    eu.delete("shop.example.com/v1 Widget", "shop", "w").await?;
    until("the widget is back", SOON, async || {
        eu.get("shop.example.com/v1 Widget", "shop", "w").await
    })
    .await?;
    let revision = shop
        .remove("Neither", &["deploy/a-widget.yaml", "deploy/z-crd.yaml"])
        .await?;
    // The widget goes; its definition stays where pruneKinds does not name it.
    world.arrived("shop", &revision).await?;
    let widget = eu.find("shop.example.com/v1 Widget", "shop", "w").await?;
    ensure!(widget.is_none(), "{widget:?}");
    let definitions = "apiextensions.k8s.io/v1 CustomResourceDefinition";
    eu.get(definitions, "", "widgets.shop.example.com")
        .await
        .map(drop)
}

pub async fn what_needs_a_namespace_of_the_same_commit_waits_for_it(
    flavour: Flavour,
) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    let inside = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner, namespace: tools}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: runs, namespace: tools}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads}
subjects: [{kind: ServiceAccount, name: runner, namespace: tools}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reads, namespace: tools}
rules: [{apiGroups: [\"\"], resources: [configmaps], verbs: [get]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: tools, labels: {team: tools}}
";
    let revision = shop
        .commit("Tools", &[("deploy/tools.yaml", inside)])
        .await?;
    world.arrived("shop", &revision).await?;
    let eu = world.cluster("eu-1");
    eu.get("rbac.authorization.k8s.io/v1 RoleBinding", "tools", "runs")
        .await?;
    // What names no namespace went into the Assignment's.
    eu.get("v1 ConfigMap", "shop", "one").await.map(drop)
}

pub async fn a_kind_that_nobody_serves_is_named_and_tried_again(flavour: Flavour) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    let revision = shop
        .commit("Too early", &[("deploy/widget.yaml", WIDGET)])
        .await?;
    let row = world
        .row_says(
            "eu-1",
            "shop",
            &[("sync", "Failed"), ("desiredRevision", &revision)],
        )
        .await?;
    ensure!(row.to_string().contains("Widget"), "{row}");
    // A person brings the kind: nothing needs a restart or a new commit.
    let crd: lockstep_e2e::Value = json!({
        "metadata": {"name": "widgets.shop.example.com"},
        "spec": {
            "group": "shop.example.com",
            "scope": "Namespaced",
            "names": {
                "kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList",
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    });
    let eu = world.cluster("eu-1");
    eu.create("apiextensions.k8s.io/v1 CustomResourceDefinition", "", crd)
        .await?;
    world.arrived("shop", &revision).await?;
    eu.get("shop.example.com/v1 Widget", "shop", "w")
        .await
        .map(drop)
}

pub async fn one_refused_object_does_not_hold_back_the_others(flavour: Flavour) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    let refused = "
apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {ports: [{port: 0}]}
";
    let revision = shop
        .commit(
            "One is bad",
            &[
                ("deploy/bad.yaml", refused),
                ("deploy/one.yaml", &config_map("one", "step", "2")),
                ("deploy/zzz.yaml", &config_map("zzz", "k", "v")),
            ],
        )
        .await?;
    let row = world
        .row_says(
            "eu-1",
            "shop",
            &[("sync", "Failed"), ("desiredRevision", &revision)],
        )
        .await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("2"))
        .await?;
    world
        .data_becomes("eu-1", ("shop", "zzz", "k"), Some("v"))
        .await?;
    ensure!(
        row["appliedRevision"] != *revision,
        "it is not applied completely: {row}"
    );
    let row = world.row("eu-1", "shop").await?;
    let problems = row["problems"].as_array().map_or(0, Vec::len);
    ensure!(
        problems == 1 && row["problems"][0]["object"] == "v1 Service shop/bad",
        "{row}"
    );
    let mended = shop.remove("Mended", &["deploy/bad.yaml"]).await?;
    world.arrived("shop", &mended).await
}
