//! Health in an Assignment's own words, from the YAML that a person applies to
//! the table that they read.

use lockstep_e2e::{Assignment, Flavour, Result, SOON, World, config_map, ensure, until};

fn assignment(rule: &str) -> String {
    let health = format!("health: [{{group: core, kind: ConfigMap, {rule}}}]");
    let sync = [health.as_str()];
    let shop = Assignment {
        sync: &sync,
        ..Assignment::new("shop")
    };
    shop.yaml()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_is_checked_when_it_is_applied_and_judges_what_runs() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Sandbox).await?;
    let cli = world.cli()?;
    for (rule, said) in [
        (
            "healthy: \"object.dta.step == 'two' && oops\"",
            "spec.sync.health[0].healthy: line 1, column 29: there is no \"oops\"",
        ),
        (
            "degraded: \"status.phase ==\"",
            "spec.sync.health[0].degraded: line 1, column 16",
        ),
        ("message: \"'x'\"", "spec.sync.health[0]: says nothing"),
    ] {
        let refused = cli
            .run_with_input(&["apply", "-f", "-"], &assignment(rule))
            .await?;
        ensure!(
            refused.code == 1 && refused.stderr.contains(said),
            "{rule}: {refused:?}"
        );
    }

    let rule = "healthy: \"object.data.ready == 'yes'\", degraded: \"object.data.ready == 'never'\", message: \"'ready: ' + object.data.ready\"";
    cli.apply(&assignment(rule)).await?;
    let flag = |value: &str| config_map("flag", "ready", value);
    for (value, health, said) in [
        ("never", "Degraded", "ready: never"),
        ("soon", "Progressing", "ready: soon"),
    ] {
        let files = [
            ("deploy/one.yaml", flag(value)),
            ("deploy/flag.yaml", String::new()),
        ];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        shop.commit("Change the flag", &files).await?;
        until(&format!("{health} is shown"), SOON, async || {
            let row = world.row("eu-1", "shop").await?;
            let problem = row["problems"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|problem| {
                    problem["object"] == "v1 ConfigMap shop/flag" && problem["health"] == health
                });
            ensure!(
                row["health"] == health && problem.is_some_and(|p| p["message"] == said),
                "{row}"
            );
            Ok(())
        })
        .await?;
    }
    Ok(())
}
