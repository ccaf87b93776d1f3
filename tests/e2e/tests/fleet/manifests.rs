//! What people put into repositories, on purpose and by accident.

use lockstep_e2e::{Flavour, Result, SOON, World, config_map, ensure, until};

/// Commits something broken, sees the Assignment say so (all of `words`) and
/// the cluster keep what it has, and mends it again.
async fn refuses(
    world: &World,
    shop: &lockstep_e2e::fixtures::GitRepository,
    name: &str,
    content: &[u8],
    words: &[&str],
) -> Result<()> {
    let eu = world.cluster("eu-1");
    let good = shop.head().await?;
    let before = eu.fingerprint("v1 ConfigMap", "").await?;
    shop.write(name, content)?;
    shop.commit_all("Break it").await?;
    let said = world.assignment_says("shop", words[0]).await?;
    for word in words {
        ensure!(said.contains(word), "no {word:?} in {said:?}");
    }
    ensure!(
        eu.fingerprint("v1 ConfigMap", "").await? == before,
        "the cluster was touched"
    );
    let row = world.row("eu-1", "shop").await?;
    ensure!(
        row["appliedRevision"] == *good && row["sync"] == "Synced",
        "{row}"
    );
    shop.remove("Mend it", &[name]).await?;
    world.assignment_says("shop", "").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_are_named_with_their_line_and_change_nothing() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let indentation = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n data:\n  k: v\n";
    refuses(
        &world,
        &shop,
        "deploy/bad.yaml",
        indentation,
        &["deploy/bad.yaml", "5"],
    )
    .await?;
    let duplicate = config_map("one", "step", "twice");
    let words = ["dup.yaml", "one.yaml", "ConfigMap"];
    refuses(
        &world,
        &shop,
        "deploy/dup.yaml",
        duplicate.as_bytes(),
        &words,
    )
    .await?;
    let no_kind = b"apiVersion: v1\nmetadata: {name: x}\n";
    refuses(
        &world,
        &shop,
        "deploy/nokind.yaml",
        no_kind,
        &["nokind.yaml", "kind"],
    )
    .await?;
    let not_utf8 = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \xff\xfe}\n";
    refuses(
        &world,
        &shop,
        "deploy/latin.yaml",
        not_utf8,
        &["latin.yaml"],
    )
    .await?;
    let json = b"{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",}";
    refuses(&world, &shop, "deploy/bad.json", json, &["bad.json"]).await?;
    let bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
        c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
        e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
        g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    refuses(&world, &shop, "deploy/bomb.yaml", bomb, &["bomb.yaml"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_folder_is_an_error_and_deletes_nothing() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let eu = world.cluster("eu-1");
    let before = eu.fingerprint("v1 ConfigMap", "").await?;
    shop.remove("Oops", &["deploy"]).await?;
    world.assignment_says("shop", "deploy").await?;
    ensure!(
        eu.fingerprint("v1 ConfigMap", "").await? == before,
        "the cluster was touched"
    );
    let again = shop
        .commit(
            "Undo",
            &[
                ("deploy/one.yaml", &config_map("one", "step", "1")),
                ("deploy/two.yaml", &config_map("two", "step", "2")),
            ],
        )
        .await?;
    world.arrived("shop", &again).await?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), Some("2"))
        .await?;
    // Files, but no object in them.
    refuses_empty(&world, &shop).await
}

async fn refuses_empty(world: &World, shop: &lockstep_e2e::fixtures::GitRepository) -> Result<()> {
    let before = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    shop.remove("No objects", &["deploy"]).await?;
    shop.commit(
        "Only words",
        &[("deploy/notes.yaml", "# nothing yet\n---\n")],
    )
    .await?;
    world.assignment_says("shop", "deploy").await?;
    let after = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    ensure!(before == after, "the cluster was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbolic_link_out_of_the_tree_is_refused_and_one_inside_is_followed() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    for target in ["/etc/passwd", "../../outside.yaml"] {
        shop.symlink("deploy/link.yaml", target)?;
        shop.commit_all("Point out").await?;
        world.assignment_says("shop", "deploy/link.yaml").await?;
        let row = world.row("eu-1", "shop").await?;
        ensure!(row["sync"] == "Synced", "{row}");
        shop.remove("Take it back", &["deploy/link.yaml"]).await?;
        world.assignment_says("shop", "").await?;
    }
    shop.write(
        "deploy/shared.txt",
        config_map("linked", "k", "v").as_bytes(),
    )?;
    shop.symlink("deploy/linked.yaml", "shared.txt")?;
    let revision = shop.commit_all("Point inside").await?;
    world.arrived("shop", &revision).await?;
    world
        .data_becomes("eu-1", ("shop", "linked", "k"), Some("v"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_as_people_write_it_is_read_as_kubectl_reads_it() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let with_bom = "\u{feff}apiVersion: v1\r\nkind: ConfigMap\r\nmetadata:\r\n  name: crlf\r\ndata:\r\n  k: v\r\n";
    let anchors = "
apiVersion: v1
kind: ConfigMap
metadata:
  name: anchors
  labels: &labels {app: shop, tier: web}
data: {k: &v \"yes\", again: *v}
---
# An empty document is none.
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: merged
  labels: {app: shop}
data: {k: v}
";
    let list = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: in-list}, data: {k: v}}
- apiVersion: v1
  kind: ConfigMapList
  items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: in-list-in-list}, data: {k: v}}
";
    let json = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "json"}, "data": {"k": "v"}}"#;
    let revision = shop
        .commit(
            "As people write",
            &[
                ("deploy/crlf.yaml", with_bom),
                ("deploy/anchors.yml", anchors),
                ("deploy/list.yaml", list),
                ("deploy/deep/er/file.json", json),
                ("deploy/.hidden/secret.yaml", "not: [yaml"),
                ("deploy/notes.txt", "not yaml: ["),
            ],
        )
        .await?;
    world.arrived("shop", &revision).await?;
    for name in ["crlf", "merged", "in-list", "in-list-in-list", "json"] {
        world
            .data_becomes("eu-1", ("shop", name, "k"), Some("v"))
            .await?;
    }
    world
        .data_becomes("eu-1", ("shop", "anchors", "again"), Some("yes"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_900_kb_goes_through() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let big = "0123456789abcdef".repeat(900 * 1024 / 16);
    let yaml = config_map("big", "blob", &big);
    let revision = shop.commit("Big", &[("deploy/big.yaml", &yaml)]).await?;
    world.arrived("shop", &revision).await?;
    world
        .data_becomes("eu-1", ("shop", "big", "blob"), Some(&big))
        .await?;
    let changed = config_map("big", "blob", &big.replace('0', "z"));
    let revision = shop
        .commit("Big again", &[("deploy/big.yaml", &changed)])
        .await?;
    world.arrived("shop", &revision).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_documents_in_one_file_are_rendered() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let documents: String = (0..10_000)
        .map(|n| config_map(&format!("doc-{n}"), "k", &n.to_string()))
        .collect();
    let revision = shop
        .commit("Many", &[("deploy/many.yaml", &documents)])
        .await?;
    let cli = world.cli()?;
    until("the hub rendered it", SOON, async || {
        let assignment = cli.get("assignment", "shop").await?;
        let status = &assignment["status"];
        let said = status["message"].as_str().unwrap_or_default();
        ensure!(
            status["revision"] == *revision || !said.is_empty(),
            "{status}"
        );
        Ok(())
    })
    .await?;
    let assignment = cli.get("assignment", "shop").await?;
    ensure!(assignment["status"]["objects"] == 10_002, "{assignment}");
    // Ten thousand applies on a busy machine take their time; what matters is
    // that they come to an end, and that the last of them is there.
    let wait = [
        "wait",
        "shop",
        "--for",
        "synced",
        "--revision",
        &revision,
        "--timeout",
        "280s",
    ];
    let output = cli.run(&wait).await?;
    let row = world.row("eu-1", "shop").await?;
    ensure!(output.code == 0, "{output:?} {row}");
    world
        .data_becomes("eu-1", ("shop", "doc-9999", "k"), Some("9999"))
        .await
}
