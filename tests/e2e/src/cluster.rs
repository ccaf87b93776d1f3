//! A cluster that an agent reconciles: a real API server or the sandbox. A
//! test that takes either cannot tell which it got.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use lockstep_fixtures::{Cluster, ClusterOptions, Scratch};
use lockstep_sandbox::{Sandbox, SandboxOptions};
use serde_json::Value;

/// What kind of cluster to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// kube-apiserver alone.
    Api,
    /// kube-apiserver with controllers: Deployments roll, namespaces finish.
    Full,
    /// The cluster in process, with its toy controllers and Pods.
    Sandbox,
}

enum Part {
    Real(Box<Cluster>),
    Sandbox {
        sandbox: Sandbox,
        kubeconfig: PathBuf,
        _scratch: Scratch,
    },
}

/// A cluster with an administrator's client.
pub struct ClusterUnderTest {
    part: Part,
    client: Client,
}

impl std::fmt::Debug for ClusterUnderTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.part {
            Part::Real(cluster) => cluster.fmt(f),
            Part::Sandbox { kubeconfig, .. } => write!(f, "Sandbox({kubeconfig:?})"),
        }
    }
}

impl ClusterUnderTest {
    /// # Errors
    /// When it does not start.
    pub async fn start(name: &str, flavour: Flavour) -> Result<Self> {
        if flavour == Flavour::Sandbox {
            return Self::start_sandbox(name).await;
        }
        let mut options = ClusterOptions::new(name);
        if flavour == Flavour::Full {
            options = options.with_controllers();
        }
        let cluster = Cluster::start(options).await?;
        Ok(Self {
            client: cluster.client().await?,
            part: Part::Real(Box::new(cluster)),
        })
    }

    async fn start_sandbox(name: &str) -> Result<Self> {
        let options = SandboxOptions {
            name: name.to_owned(),
            pods: true,
            ..SandboxOptions::default()
        };
        let sandbox = Sandbox::start(options).await?;
        let scratch = Scratch::new(name)?;
        let kubeconfig = sandbox.write_kubeconfig(scratch.path())?;
        let url = sandbox.url().parse().context("the sandbox's address")?;
        Ok(Self {
            client: Client::try_from(kube::Config::new(url)).context("make a client")?,
            part: Part::Sandbox {
                sandbox,
                kubeconfig,
                _scratch: scratch,
            },
        })
    }

    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        match &self.part {
            Part::Real(cluster) => cluster.kubeconfig(),
            Part::Sandbox { kubeconfig, .. } => kubeconfig,
        }
    }

    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The real API server, to kill and start.
    ///
    /// # Errors
    /// When this is not one.
    pub fn real(&mut self) -> Result<&mut Cluster> {
        match &mut self.part {
            Part::Real(cluster) => Ok(cluster),
            Part::Sandbox { .. } => bail!("this is the sandbox"),
        }
    }

    /// The sandbox, to count its requests and to disturb it.
    ///
    /// # Errors
    /// When this is a real cluster.
    pub fn sandbox(&self) -> Result<&Sandbox> {
        match &self.part {
            Part::Real(_) => bail!("this is a real cluster"),
            Part::Sandbox { sandbox, .. } => Ok(sandbox),
        }
    }

    /// An interface to the objects of a kind, `v1 ConfigMap` or
    /// `apps/v1 Deployment`; in all namespaces where `namespace` is empty.
    ///
    /// # Panics
    /// When `kind` is not of that form.
    #[must_use]
    pub fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (api_version, kind) = kind.split_once(' ').expect("API version and kind");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if namespace.is_empty() {
            Api::all_with(self.client(), &resource)
        } else {
            Api::namespaced_with(self.client(), namespace, &resource)
        }
    }

    /// An object as JSON, if it is there.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn find(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let object = self.api(kind, namespace).get_opt(name).await;
        let object = object.with_context(|| format!("get {kind} {namespace}/{name}"))?;
        object.map(to_json).transpose()
    }

    /// An object as JSON.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let found = self.find(kind, namespace, name).await?;
        found.with_context(|| format!("{kind} {namespace}/{name} is not there"))
    }

    /// Names of all objects of a kind that match a label selector, sorted.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn names(&self, kind: &str, namespace: &str, selector: &str) -> Result<Vec<String>> {
        let parameters = ListParams::default().labels(selector);
        let list = self.api(kind, namespace).list_metadata(&parameters).await;
        let list = list.with_context(|| format!("list {kind} in {namespace:?}"))?;
        let names = list.items.into_iter().filter_map(|o| o.metadata.name);
        let mut names: Vec<_> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Deletes an object, as a person with kubectl would.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let deletion = DeleteParams::background();
        let deleted = self.api(kind, namespace).delete(name, &deletion).await;
        deleted.with_context(|| format!("delete {kind} {namespace}/{name}"))?;
        Ok(())
    }

    /// Merges a patch into an object, as a person with kubectl would.
    ///
    /// # Errors
    /// When it is not there, or refuses.
    pub async fn patch(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value> {
        let parameters = PatchParams {
            field_manager: Some("a-person".to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(kind, namespace);
        let patched = api.patch(name, &parameters, &Patch::Merge(patch)).await;
        to_json(patched.with_context(|| format!("patch {kind} {namespace}/{name}"))?)
    }

    /// Creates an object, as a person with kubectl would.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn create(&self, kind: &str, namespace: &str, object: Value) -> Result<Value> {
        let object: DynamicObject = serde_json::from_value(object).context("an object")?;
        let api = self.api(kind, namespace);
        let created = api.create(&PostParams::default(), &object).await;
        to_json(created.with_context(|| format!("create a {kind} in {namespace:?}"))?)
    }

    /// `data.KEY` of a ConfigMap, if both are there.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn data(&self, namespace: &str, name: &str, key: &str) -> Result<Option<String>> {
        let object = self.find("v1 ConfigMap", namespace, name).await?;
        Ok(object.and_then(|object| object["data"][key].as_str().map(str::to_owned)))
    }

    /// uid and resourceVersion of every object that Lockstep owns here, keyed
    /// by kind and name: unchanged means untouched.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn fingerprint(&self, kind: &str, namespace: &str) -> Result<Vec<String>> {
        let parameters = ListParams::default().labels("lockstep.dev/assignment");
        let list = self.api(kind, namespace).list_metadata(&parameters).await;
        let list = list.with_context(|| format!("list {kind} in {namespace:?}"))?;
        let mut marks: Vec<_> = list
            .items
            .into_iter()
            .map(|object| {
                let meta = object.metadata;
                let words = [meta.namespace, meta.name, meta.uid, meta.resource_version];
                words.map(Option::unwrap_or_default).join(" ")
            })
            .collect();
        marks.sort();
        Ok(marks)
    }
}

fn to_json(object: DynamicObject) -> Result<Value> {
    serde_json::to_value(object).context("an object is JSON")
}
