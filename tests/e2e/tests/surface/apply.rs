//! `lockstep apply`: all or nothing, and errors that say where.

use lockstep_e2e::{Result, World, ensure, group, repository};

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_file_document_and_path_and_nothing_is_applied() -> Result<()> {
    let world = World::start().await?;
    let cli = world.cli()?;
    let folder = lockstep_e2e::fixtures::Scratch::new("apply")?;
    let file = folder.join("fleet.yaml");
    let good = repository("shop", "https://git.example.com/shop.git");
    let assignment = "---
apiVersion: lockstep.dev/v1alpha1
kind: Assignment
metadata: {name: shop}
spec:
  repository: shop
  ref: {branch: main}
  path: deploy
  clusterGroups: [prod]
";
    let cases: [(&str, String, &[&str]); 7] = [
        (
            "an unknown field",
            format!("{good}  pol: 30s\n"),
            &["fleet.yaml", "spec.pol", "poll"],
        ),
        (
            "a wrong type",
            format!("{good}  credential: {{a: b}}\n"),
            &["fleet.yaml", "spec.credential"],
        ),
        (
            "an unknown kind",
            good.replace("kind: Repository", "kind: Repositry"),
            &["fleet.yaml", "Repositry"],
        ),
        (
            "another version",
            good.replace("v1alpha1", "v2"),
            &["fleet.yaml", "apiVersion"],
        ),
        (
            "a dangling name",
            format!("{good}{assignment}"),
            &["prod", "spec.clusterGroups"],
        ),
        (
            "a bad duration",
            good.replace("poll: 1s", "poll: often"),
            &["spec.poll", "often"],
        ),
        (
            "a bad selector",
            group("prod", "env", "\"not a label!\""),
            &["spec.selector"],
        ),
    ];
    for (what, yaml, words) in cases {
        // A good one comes first: it must not be applied either.
        let yaml = format!(
            "{}{yaml}",
            repository("first", "https://git.example.com/a.git")
        );
        std::fs::write(&file, &yaml)?;
        let path = file.to_string_lossy();
        let output = cli.run(&["apply", "-f", &path]).await?;
        ensure!(
            output.code == 1 && output.stdout.is_empty(),
            "{what}: {output:?}"
        );
        for word in words {
            ensure!(
                output.stderr.contains(word),
                "{what}, no {word:?}: {}",
                output.stderr
            );
        }
        let list = cli.json(&["get", "repositories"]).await?;
        ensure!(
            list["items"].as_array().is_some_and(Vec::is_empty),
            "{what}: {list}"
        );
    }
    let output = cli.run(&["apply", "-f", "/nonexistent.yaml"]).await?;
    ensure!(
        output.code == 1 && output.stderr.contains("/nonexistent.yaml"),
        "{output:?}"
    );
    let output = cli.run(&["apply"]).await?;
    ensure!(output.code == 2, "{output:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_says_what_it_did_and_a_dry_run_does_nothing() -> Result<()> {
    let world = World::start().await?;
    let cli = world.cli()?;
    let yaml = repository("shop", "https://git.example.com/shop.git");
    let dry = cli
        .run_with_input(&["apply", "-f", "-", "--dry-run"], &yaml)
        .await?
        .ok()?;
    ensure!(dry.contains("created"), "{dry}");
    ensure!(
        cli.get("repository", "shop").await.is_err(),
        "a dry run made it"
    );
    for expected in ["created", "unchanged"] {
        let said = cli.apply(&yaml).await?;
        ensure!(said.contains("shop") && said.contains(expected), "{said}");
    }
    let said = cli.apply(&yaml.replace("poll: 1s", "poll: 5s")).await?;
    ensure!(said.contains("configured"), "{said}");
    let repository = cli.get("repository", "shop").await?;
    ensure!(repository["spec"]["poll"] == "5s", "{repository}");

    // A folder, and deletion by file.
    let folder = lockstep_e2e::fixtures::Scratch::new("apply")?;
    std::fs::write(folder.join("a.yaml"), group("a", "env", "a"))?;
    std::fs::write(folder.join("b.yml"), group("b", "env", "b"))?;
    std::fs::write(folder.join("notes.txt"), "not: [yaml")?;
    let path = folder.path().to_string_lossy();
    cli.run(&["apply", "-f", &path]).await?.ok()?;
    let list = cli.json(&["get", "clustergroups"]).await?;
    ensure!(
        list["items"]
            .as_array()
            .is_some_and(|items| items.len() == 2),
        "{list}"
    );
    cli.run(&["delete", "-f", &path]).await?.ok()?;
    let list = cli.json(&["get", "clustergroups"]).await?;
    ensure!(
        list["items"].as_array().is_some_and(Vec::is_empty),
        "{list}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn file_repositories_are_refused_unless_the_hub_allows_them() -> Result<()> {
    use lockstep_e2e::fixtures::HubOptions;
    let world = World::start().await?;
    let yaml = repository("local", "file:///srv/git/shop.git");
    let output = world
        .cli()?
        .run_with_input(&["apply", "-f", "-"], &yaml)
        .await?;
    ensure!(
        output.code == 1 && output.stderr.contains("file"),
        "{output:?}"
    );
    let with_password = repository("shop", "https://ada:pw@git.example.com/shop.git");
    let output = world
        .cli()?
        .run_with_input(&["apply", "-f", "-"], &with_password)
        .await?;
    ensure!(
        output.code == 1 && output.stderr.contains("credential"),
        "{output:?}"
    );
    ensure!(!output.stderr.contains("ada:pw"), "{output:?}");

    let options = HubOptions {
        arguments: vec!["--allow-file-repositories".to_owned()],
        ..HubOptions::default()
    };
    let open = World::start_with(options, Default::default()).await?;
    let shop = open.git.repository("shop").await?;
    let revision = shop.commit("First", &[("deploy/a.yaml", "x")]).await?;
    let assignment = lockstep_e2e::Assignment::new("shop").yaml();
    let url = format!("file://{}", shop.bare().display());
    let all = repository("shop", &url) + &group("prod", "env", "prod") + &assignment;
    open.cli()?.apply(&all).await?;
    let cli = open.cli()?;
    lockstep_e2e::until("it is fetched", lockstep_e2e::SOON, async || {
        let repository = cli.get("repository", "shop").await?;
        ensure!(
            repository["status"]["head"][0]["revision"] == *revision,
            "{repository}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_are_taken() -> Result<()> {
    let world = World::start().await?;
    let cli = world.cli()?;
    let credential = ["credential", "create", "shop-git", "--username", "deploy"];
    cli.run_with_input(
        &[&credential[..], &["--password-stdin"]].concat(),
        "password",
    )
    .await?
    .ok()?;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples");
    let said = cli.run(&["apply", "-f", folder]).await?.ok()?;
    for name in ["repository/shop", "assignment/shop", "assignment/payments"] {
        ensure!(said.contains(&format!("{name} created")), "{said}");
    }
    // The Assignment that the words about resources show.
    let words =
        std::fs::read_to_string(std::path::Path::new(folder).with_file_name("resources.md"))?;
    let yaml = words
        .split("```yaml\n")
        .nth(1)
        .and_then(|y| y.split("```").next());
    cli.apply(yaml.unwrap_or_default()).await?;
    let shop = cli.get("assignment", "shop").await?;
    ensure!(shop["spec"]["sync"]["mode"] == "Manual", "{shop}");
    Ok(())
}
