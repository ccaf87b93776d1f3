//! The bare loop that Lockstep is held against: fetch the commit with git,
//! read the files, apply each over one connection. It keeps no status, knows
//! no inventory, survives nothing, and has one cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

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
    pub async fn new(client: Client, namespace: &str, url: &str) -> Result<Self> {
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
        bare.pass("deploy").await?;
        Ok(bare)
    }

    /// Fetches `main` and applies every file under `path`.
    pub async fn pass(&self, path: &str) -> Result<Pass> {
        let begin = Instant::now();
        let folder = self.mirror.to_string_lossy().into_owned();
        let refs = "+refs/heads/main:refs/heads/main";
        self.git(&[
            "-C",
            &folder,
            "fetch",
            "--quiet",
            "--depth=1",
            &self.url,
            refs,
        ])
        .await?;
        let tree = format!("main:{path}");
        let names = self
            .git(&["-C", &folder, "ls-tree", "--name-only", &tree])
            .await?;
        let mut specs = vec!["-C".to_owned(), folder, "show".to_owned()];
        specs.extend(names.lines().map(|name| format!("main:{path}/{name}")));
        let specs: Vec<_> = specs.iter().map(String::as_str).collect();
        let files = self.git(&specs).await?;
        let fetch = begin.elapsed();

        let begin = Instant::now();
        let parameters = PatchParams::apply("bare-loop").force();
        for document in files.split("---\n").filter(|d| !d.trim().is_empty()) {
            let object: DynamicObject =
                serde_saphyr::from_str(document).context("a manifest of the driver")?;
            let name = object
                .metadata
                .name
                .clone()
                .context("a manifest has a name")?;
            self.api
                .patch(&name, &parameters, &Patch::Apply(&object))
                .await?;
        }
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
