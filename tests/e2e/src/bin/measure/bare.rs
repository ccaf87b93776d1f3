//! The bare loop that Lockstep is held against: fetch the commit with git,
//! read the files, apply each over one connection. It keeps no status, knows
//! no inventory, survives nothing, and has one cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use lockstep_e2e::fixtures::Scratch;
use lockstep_e2e::{Context as _, Result, ensure};
use tokio::process::Command;

pub struct BareLoop {
    api: Api<DynamicObject>,
    mirror: PathBuf,
    url: String,
    _scratch: Scratch,
}

/// Where the time of one pass went.
pub struct Pass {
    pub fetch: Duration,
    pub apply: Duration,
}

impl BareLoop {
    /// `warm` is a folder that is applied at once, so that the first pass
    /// that counts finds a mirror and a connection.
    pub async fn new(client: Client, namespace: &str, url: &str, warm: &str) -> Result<Self> {
        let scratch = Scratch::new("bare")?;
        let mirror = scratch.join("mirror.git");
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let bare = Self {
            api: Api::namespaced_with(client, namespace, &resource),
            mirror,
            url: url.to_owned(),
            _scratch: scratch,
        };
        bare.git(&["init", "--quiet", "--bare", &bare.mirror.to_string_lossy()])
            .await?;
        bare.pass(warm, 1).await?;
        Ok(bare)
    }

    /// Fetches `main` and applies every file under `path`, `width` at a time.
    pub async fn pass(&self, path: &str, width: usize) -> Result<Pass> {
        let begin = Instant::now();
        let folder = self.mirror.to_string_lossy().into_owned();
        let refs = "+refs/heads/main:refs/heads/main";
        let fetch = ["fetch", "--quiet", "--depth=1", &self.url, refs];
        self.git(&[&["-C", &folder], &fetch[..]].concat()).await?;
        let list = ["ls-tree", "-r", "--name-only", "main", path];
        let names = self.git(&[&["-C", &folder], &list[..]].concat()).await?;
        let mut specs = vec!["-C".to_owned(), folder, "show".to_owned()];
        specs.extend(names.lines().map(|name| format!("main:{name}")));
        let specs: Vec<_> = specs.iter().map(String::as_str).collect();
        let files = match specs.len() {
            3 => String::new(),
            _ => self.git(&specs).await?,
        };
        let objects: Vec<DynamicObject> = files
            .split("---\n")
            .filter(|document| !document.trim().is_empty())
            .map(|document| serde_saphyr::from_str(document).context("a manifest of the driver"))
            .collect::<Result<_>>()?;
        let fetch = begin.elapsed();

        let begin = Instant::now();
        let parameters = &PatchParams::apply("bare-loop").force();
        futures::stream::iter(&objects)
            .map(|object| async move {
                let name = object.metadata.name.as_deref();
                let name = name.context("a manifest has a name")?;
                self.api
                    .patch(name, parameters, &Patch::Apply(object))
                    .await?;
                anyhow::Ok(())
            })
            .buffer_unordered(width)
            .try_collect::<()>()
            .await?;
        Ok(Pass {
            fetch,
            apply: begin.elapsed(),
        })
    }

    async fn git(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", Path::new("/dev/null"))
            .stdin(Stdio::null())
            .output()
            .await
            .context("run git")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "git {arguments:?}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
