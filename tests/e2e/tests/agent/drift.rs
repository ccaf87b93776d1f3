//! What changes on the cluster and not in Git.

use std::time::Instant;

use lockstep_e2e::{Flavour, Result, SOON, World, config_map, ensure, json, until};

pub async fn a_deleted_object_is_put_back_within_seconds(flavour: Flavour) -> Result<()> {
    let (world, _shop) = World::with_shop(flavour).await?;
    let eu = world.cluster("eu-1");
    let first = eu.get("v1 ConfigMap", "shop", "one").await?;
    let begin = Instant::now();
    eu.delete("v1 ConfigMap", "shop", "one").await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await?;
    let took = begin.elapsed();
    ensure!(took.as_secs() < 10, "put back after {took:?}");
    let again = eu.get("v1 ConfigMap", "shop", "one").await?;
    ensure!(first["metadata"]["uid"] != again["metadata"]["uid"]);
    world
        .row_says("eu-1", "shop", &[("sync", "Synced"), ("health", "Healthy")])
        .await?;

    // The whole namespace, where there is somebody to finish the deletion.
    eu.delete("v1 Namespace", "", "shop").await?;
    until("a new namespace holds both", SOON, async || {
        let namespace = eu.get("v1 Namespace", "", "shop").await?;
        ensure!(
            namespace["metadata"]["deletionTimestamp"].is_null(),
            "{namespace}"
        );
        for name in ["one", "two"] {
            eu.get("v1 ConfigMap", "shop", name).await?;
        }
        Ok(())
    })
    .await?;
    world
        .row_says("eu-1", "shop", &[("sync", "Synced")])
        .await
        .map(drop)
}

pub async fn what_others_added_is_left_alone_and_what_is_ours_is_put_back(
    flavour: Flavour,
) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    let eu = world.cluster("eu-1");
    let theirs = json!({
        "metadata": {"labels": {"team": "blue"}, "annotations": {"note": "hello"}},
        "data": {"extra": "theirs", "step": "by hand"},
    });
    eu.patch("v1 ConfigMap", "shop", "one", &theirs).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await?;
    let object = eu.get("v1 ConfigMap", "shop", "one").await?;
    ensure!(object["data"]["extra"] == "theirs", "{object}");
    ensure!(object["metadata"]["labels"]["team"] == "blue", "{object}");

    // The same after a new revision of the same object.
    let next = shop
        .commit(
            "Next",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    world.arrived("shop", &next).await?;
    let object = eu.get("v1 ConfigMap", "shop", "one").await?;
    ensure!(
        object["data"] == json!({"extra": "theirs", "step": "2"}),
        "{object}"
    );

    // Taking our label away does not set the object free.
    let unlabelled = json!({
        "metadata": {"labels": {"lockstep.dev/assignment": null}},
        "data": {"step": "free"},
    });
    eu.patch("v1 ConfigMap", "shop", "one", &unlabelled).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("2"))
        .await
}

pub async fn a_field_that_is_gone_from_git_is_gone_from_the_object(flavour: Flavour) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    let two_keys = "
apiVersion: v1
kind: ConfigMap
metadata: {name: one, labels: {a: b}, annotations: {c: d}}
data: {keep: x, drop: z}
";
    let revision = shop
        .commit("Two keys", &[("deploy/one.yaml", two_keys)])
        .await?;
    world.arrived("shop", &revision).await?;
    let one_key = "
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
data: {keep: x}
";
    let revision = shop
        .commit("One key", &[("deploy/one.yaml", one_key)])
        .await?;
    world.arrived("shop", &revision).await?;
    let object = world
        .cluster("eu-1")
        .get("v1 ConfigMap", "shop", "one")
        .await?;
    ensure!(object["data"] == json!({"keep": "x"}), "{object}");
    ensure!(object["metadata"]["labels"]["a"].is_null(), "{object}");
    ensure!(object["metadata"]["annotations"]["c"].is_null(), "{object}");
    Ok(())
}
