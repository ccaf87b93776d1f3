//! A hub, a Git server, and clusters with agents.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use lockstep_fixtures::{
    Agent, Cli, GitRepository, GitServer, GitServerOptions, Hub, HubOptions, Patience, until,
};
use serde_json::Value;

use crate::{Assignment, ClusterUnderTest, Flavour, SOON, config_map, group, repository};

/// Everything of one story. Dropping it stops all of it: the agents first.
#[derive(Debug)]
pub struct World {
    pub agents: BTreeMap<String, Agent>,
    pub hub: Hub,
    pub clusters: BTreeMap<String, ClusterUnderTest>,
    pub git: GitServer,
}

impl World {
    /// A hub and a Git server over HTTP, and no cluster yet.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(HubOptions::default(), GitServerOptions::default()).await
    }

    /// # Errors
    /// When a part does not start.
    pub async fn start_with(hub: HubOptions, git: GitServerOptions) -> Result<Self> {
        Ok(Self {
            agents: BTreeMap::new(),
            hub: Hub::start_with(hub).await?,
            clusters: BTreeMap::new(),
            git: GitServer::start_with(git).await?,
        })
    }

    /// A world with one cluster `eu-1` in the group `prod`, to which `shop`
    /// is assigned: `deploy` of `main`, into the namespace `shop`, at its
    /// first commit, which holds the ConfigMaps `one` and `two`. Everything
    /// has converged.
    ///
    /// # Errors
    /// When a part does not start, or it does not converge.
    pub async fn with_shop(flavour: Flavour) -> Result<(Self, GitRepository)> {
        let mut world = Self::start().await?;
        world.join("eu-1", &[("env", "prod")], flavour).await?;
        let shop = world.git.repository("shop").await?;
        let revision = shop
            .commit(
                "Open the shop",
                &[
                    ("deploy/one.yaml", &config_map("one", "step", "1")),
                    ("deploy/two.yaml", &config_map("two", "step", "1")),
                ],
            )
            .await?;
        world.apply_shop(&shop).await?;
        world.arrived("shop", &revision).await?;
        Ok((world, shop))
    }

    /// Declares the Repository and Assignment `shop` for the group `prod` of
    /// the clusters with `env: prod`.
    ///
    /// # Errors
    /// When the hub refuses.
    pub async fn apply_shop(&self, shop: &GitRepository) -> Result<()> {
        let yaml = [
            repository("shop", shop.url()),
            group("prod", "env", "prod"),
            Assignment::new("shop").yaml(),
        ];
        self.cli()?.apply(&yaml.concat()).await.map(drop)
    }

    /// # Errors
    /// When the binary is not there.
    pub fn cli(&self) -> Result<Cli> {
        self.hub.cli()
    }

    /// Starts a cluster and joins it.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn join(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        flavour: Flavour,
    ) -> Result<()> {
        self.join_all(&[(name, labels)], flavour).await
    }

    /// Starts clusters side by side and joins them; returns when all are Online.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn join_all(
        &mut self,
        members: &[(&str, &[(&str, &str)])],
        flavour: Flavour,
    ) -> Result<()> {
        let starts = members
            .iter()
            .map(|(name, _)| ClusterUnderTest::start(name, flavour));
        let clusters = try_join_all(starts).await?;
        for ((name, labels), cluster) in members.iter().zip(clusters) {
            let agent = Agent::join(&self.hub, name, labels, cluster.kubeconfig()).await?;
            self.agents.insert((*name).to_owned(), agent);
            self.clusters.insert((*name).to_owned(), cluster);
        }
        for (name, _) in members {
            self.connection(name, "Online", SOON).await?;
        }
        Ok(())
    }

    /// Waits for a cluster's connection.
    ///
    /// # Errors
    /// When it does not become that in time, or the agent ended.
    pub async fn connection(
        &mut self,
        cluster: &str,
        expected: &str,
        patience: Patience,
    ) -> Result<()> {
        let cli = self.cli()?;
        let mut agent = self.agents.get_mut(cluster);
        let what = format!("{cluster} is {expected}");
        until(&what, patience, async || {
            if let Some(agent) = agent.as_mut()
                && let Ok(process) = agent.process()
            {
                process.check()?;
            }
            let resource = cli.get("cluster", cluster).await?;
            let connection = &resource["status"]["connection"];
            ensure!(connection == expected, "it is {connection}");
            Ok(())
        })
        .await
    }

    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> &ClusterUnderTest {
        &self.clusters[name]
    }

    /// # Panics
    /// When there is none of this name.
    pub fn agent(&mut self, name: &str) -> &mut Agent {
        self.agents.get_mut(name).expect("an agent that joined")
    }

    /// `lockstep wait ASSIGNMENT --for synced --revision REVISION`.
    ///
    /// # Errors
    /// When it does not arrive, with the status as a person would see it.
    pub async fn arrived(&self, assignment: &str, revision: &str) -> Result<()> {
        self.wait(assignment, "synced", revision).await
    }

    /// `lockstep wait ASSIGNMENT --for STATE --revision REVISION`.
    ///
    /// # Errors
    /// When it does not arrive, with the status as a person would see it.
    pub async fn wait(&self, assignment: &str, state: &str, revision: &str) -> Result<()> {
        let cli = self.cli()?;
        let arguments = [
            "wait",
            assignment,
            "--for",
            state,
            "--revision",
            revision,
            "--timeout",
            "90s",
        ];
        let output = cli.run(&arguments).await?;
        if output.code == 0 {
            return Ok(());
        }
        let status = cli.run(&["status"]).await?;
        let details = cli.run(&["get", "clusters", "-o", "yaml"]).await?;
        let assignments = cli.run(&["get", "assignments", "-o", "yaml"]).await?;
        bail!(
            "lockstep {}: exit code {}: {}\n{}{}\n{}\n{}",
            arguments.join(" "),
            output.code,
            output.stderr,
            status.stdout,
            status.stderr,
            details.stdout,
            assignments.stdout
        )
    }

    /// Waits until the Assignment's own message contains `text`.
    ///
    /// # Errors
    /// When it does not in time, with what it says instead.
    pub async fn assignment_says(&self, assignment: &str, text: &str) -> Result<String> {
        let cli = self.cli()?;
        let what = format!("assignment {assignment} says {text:?}");
        until(&what, SOON, async || {
            let resource = cli.get("assignment", assignment).await?;
            says(&resource["status"], text)
        })
        .await
    }

    /// Waits until the Repository's message contains `text`; empty: is empty.
    ///
    /// # Errors
    /// When it does not in time, with what it says instead.
    pub async fn repository_says(&self, repository: &str, text: &str) -> Result<String> {
        let cli = self.cli()?;
        let what = format!("repository {repository} says {text:?}");
        until(&what, SOON, async || {
            let resource = cli.get("repository", repository).await?;
            says(&resource["status"], text)
        })
        .await
    }

    /// What is known of an Assignment on a cluster: an item of
    /// `status.assignments` of the Cluster.
    ///
    /// # Errors
    /// When the cluster has none.
    pub async fn row(&self, cluster: &str, assignment: &str) -> Result<Value> {
        let resource = self.cli()?.get("cluster", cluster).await?;
        let rows = resource["status"]["assignments"].as_array();
        let rows = rows.context("status.assignments is a list")?;
        let row = rows.iter().find(|row| row["name"] == assignment);
        row.cloned()
            .with_context(|| format!("{cluster} has no {assignment}: {resource}"))
    }

    /// Waits until a row's fields are as given.
    ///
    /// # Errors
    /// When they are not in time, with the row.
    pub async fn row_says(
        &self,
        cluster: &str,
        assignment: &str,
        fields: &[(&str, &str)],
    ) -> Result<Value> {
        let what = format!("{assignment} on {cluster} is {fields:?}");
        until(&what, SOON, async || {
            let row = self.row(cluster, assignment).await?;
            for (field, expected) in fields {
                ensure!(row[*field] == *expected, "{field} of {row}");
            }
            Ok(row)
        })
        .await
    }

    /// Waits until a ConfigMap's key has this value.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn data_becomes(
        &self,
        cluster: &str,
        (namespace, name, key): (&str, &str, &str),
        expected: Option<&str>,
    ) -> Result<()> {
        let what = format!("{key} of {namespace}/{name} on {cluster} is {expected:?}");
        let cluster = self.cluster(cluster);
        until(&what, SOON, async || {
            let value = cluster.data(namespace, name, key).await?;
            ensure!(value.as_deref() == expected, "it is {value:?}");
            Ok(())
        })
        .await
    }
}

fn says(status: &Value, text: &str) -> Result<String> {
    let message = status["message"].as_str().unwrap_or_default();
    let matches = if text.is_empty() {
        message.is_empty()
    } else {
        message.contains(text)
    };
    ensure!(matches, "it says {message:?}");
    Ok(message.to_owned())
}

/// The cells of a printed table: a map for each row from the header's words.
///
/// Cells are separated by two spaces or more, and none is empty.
#[must_use]
pub fn rows_of(table: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = table.lines();
    let header: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let split = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim).filter(|c| !c.is_empty());
        cells.map(str::to_owned).collect()
    };
    lines
        .map(split)
        .filter(|cells| cells.len() == header.len())
        .map(|cells| header.iter().map(|&h| h.to_owned()).zip(cells).collect())
        .collect()
}
