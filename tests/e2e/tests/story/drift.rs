//! Who changed what, and what is done about it.

use lockstep_e2e::{Context, Result, SOON, Value, World, config_map, ensure, json, until};

use crate::shop::{history, opened, row_becomes, run, steps};

async fn change(world: &World, name: &str) -> Result<()> {
    let by_hand = json!({"data": {"step": "by hand"}});
    let eu = world.cluster("eu-1");
    eu.patch("v1 ConfigMap", "shop", name, &by_hand).await?;
    Ok(())
}

/// Waits for an event of the object in the history.
async fn event(world: &World, object: &str) -> Result<Value> {
    let what = format!("the history tells of {object}");
    until(&what, SOON, async || {
        let items = history(world).await?;
        let found = items.iter().find(|item| item["event"]["object"] == object);
        found.cloned().with_context(|| format!("{items:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_is_put_back_and_remembered() -> Result<()> {
    let (mut world, _shop, first) = opened(&[]).await?;
    change(&world, "one").await?;
    steps(&world, "1").await?;
    let entry = event(&world, "v1 ConfigMap shop/one").await?;
    ensure!(entry["event"]["manager"] == "a-person", "{entry}");
    ensure!(
        entry["event"]["fields"].as_array().is_some_and(|fields| {
            fields
                .iter()
                .any(|f| f.as_str().is_some_and(|f| f.contains("step")))
        }),
        "{entry}"
    );
    ensure!(
        entry["revision"] == *first || entry["event"]["revision"] == *first,
        "{entry}"
    );
    ensure!(
        entry["cluster"] == "eu-1" && entry["cause"] == "Object",
        "{entry}"
    );
    let table = run(&world, &["history", "shop", "--cluster", "eu-1"]).await?;
    for word in ["drift of v1 ConfigMap shop/one", "a-person", "put back"] {
        ensure!(table.contains(word), "no {word:?} in {table}");
    }

    // An event of the time when the hub was away is told when it is back.
    world.hub.kill();
    let eu = world.cluster("eu-1");
    eu.delete("v1 ConfigMap", "shop", "one").await?;
    steps(&world, "1").await?;
    let seen = |items: &[Value]| {
        let events = items.iter().filter(|item| !item["event"].is_null());
        events.count()
    };
    world.hub.restart().await?;
    until("the deletion is told", SOON, async || {
        let items = history(&world).await?;
        ensure!(seen(&items) >= 2, "{items:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_reported_or_ignored_where_the_assignment_or_the_object_says_so() -> Result<()> {
    let (world, shop, _first) = opened(&["drift: Report"]).await?;
    let with = |name: &str, policy: &str| {
        config_map(name, "step", "1").replace(
            &format!("{{name: {name}}}"),
            &format!("{{name: {name}, annotations: {{lockstep.dev/drift: {policy}}}}}"),
        )
    };
    let revision = shop
        .commit(
            "Policies",
            &[
                ("deploy/corrected.yaml", &with("corrected", "Correct")),
                ("deploy/ignored.yaml", &with("ignored", "Ignore")),
            ],
        )
        .await?;
    world.arrived("shop", &revision).await?;
    for name in ["ignored", "one", "corrected"] {
        change(&world, name).await?;
    }
    let row = row_becomes(&world, "one is drifted", |row| {
        row["drifted"] == 1 && row["sync"] == "OutOfSync"
    })
    .await?;
    ensure!(row.to_string().contains("ConfigMap shop/one"), "{row}");
    world
        .data_becomes("eu-1", ("shop", "corrected", "step"), Some("1"))
        .await?;
    let eu = world.cluster("eu-1");
    for name in ["one", "ignored"] {
        let now = eu.data("shop", name, "step").await?;
        ensure!(now.as_deref() == Some("by hand"), "{name}: {now:?}");
    }
    event(&world, "v1 ConfigMap shop/one").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_ignored_are_left_as_they_are_found() -> Result<()> {
    let rule = "ignore: [{kind: ConfigMap, name: one, jsonPointers: [/data/step]}]";
    let (world, shop, _first) = opened(&[rule]).await?;
    change(&world, "one").await?;
    let one = config_map("one", "step", "1").replace("\ndata: {", "\ndata: {more: \"2\", ");
    let second = shop.commit("More", &[("deploy/one.yaml", &one)]).await?;
    world.arrived("shop", &second).await?;
    let eu = world.cluster("eu-1");
    let data = &eu.get("v1 ConfigMap", "shop", "one").await?["data"];
    ensure!(*data == json!({"step": "by hand", "more": "2"}), "{data}");
    let row = row_becomes(&world, "it is Synced", |row| row["sync"] == "Synced").await?;
    ensure!(row["drifted"] == 0, "{row}");
    Ok(())
}
