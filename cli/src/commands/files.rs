//! The files that `-f` names.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use lockstep_proto::manifest;
use lockstep_proto::v1::Resource;

/// Reads all resources of all files. A folder stands for its `*.yaml`, `*.yml`
/// and `*.json` files, sorted by name, without subfolders; `-` is standard input.
pub(super) fn read(names: &[PathBuf]) -> anyhow::Result<Vec<Resource>> {
    let mut resources = Vec::new();
    let mut errors = Vec::new();
    for (name, text) in texts(names)? {
        match manifest::parse(&name, &text) {
            Ok(found) => resources.extend(found),
            Err(found) => errors.extend(found.iter().map(ToString::to_string)),
        }
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\n       "));
    }
    if resources.is_empty() {
        bail!("there is no resource in what -f names");
    }
    Ok(resources)
}

fn texts(names: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for name in names {
        if name == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            texts.push(("-".to_owned(), text));
            continue;
        }
        let meta =
            std::fs::metadata(name).with_context(|| format!("cannot read {}", name.display()))?;
        let files = if meta.is_dir() {
            manifests_in(name)?
        } else {
            vec![name.clone()]
        };
        for file in files {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            texts.push((file.display().to_string(), text));
        }
    }
    Ok(texts)
}

fn manifests_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let is_manifest = path
            .extension()
            .is_some_and(|e| ["yaml", "yml", "json"].iter().any(|&m| e == m));
        if is_manifest && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!(
            "there is no *.yaml, *.yml or *.json in {}",
            folder.display()
        );
    }
    Ok(files)
}
