//! The file that says which hub to ask: contexts, and which one is current.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub current_context: String,
    #[serde(default)]
    pub contexts: Vec<HubContext>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HubContext {
    pub name: String,
    /// `HOST:PORT`
    pub endpoint: String,
    /// PEM; the system's trust store where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    pub token: Token,
}

/// Written to the file it came from, never printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the configuration is: what `--config` or `LOCKSTEP_CONFIG` says, else
/// the user's own.
pub(crate) fn path(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path);
    }
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
        .context("neither HOME nor XDG_CONFIG_HOME is set: name a file with --config")?;
    Ok(base.join("lockstep/config.yaml"))
}

impl Config {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        // Without the snippet: it would show the token.
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(&text, options)
            .map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
    }

    /// The context in use.
    pub fn current(&self, path: &Path) -> anyhow::Result<&HubContext> {
        match self
            .contexts
            .iter()
            .find(|c| c.name == self.current_context)
        {
            Some(context) => Ok(context),
            None if self.contexts.len() == 1 && self.current_context.is_empty() => {
                Ok(&self.contexts[0])
            }
            None => bail!(
                "{}: there is no context {:?}; see `lockstep context list`",
                path.display(),
                self.current_context
            ),
        }
    }

    /// Replaces the file in one step; only its owner may read it.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let new = path.with_extension("new");
        let text = serde_saphyr::to_string(self)?;
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_what_it_writes_and_hides_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.yaml");
        let config = Config {
            current_context: "a".into(),
            contexts: vec![HubContext {
                name: "a".into(),
                endpoint: "127.0.0.1:1".into(),
                ca: Some("-----BEGIN\nx\n".into()),
                token: Token("s3cret".into()),
            }],
        };
        config.write(&path).unwrap();
        let read = Config::read(&path).unwrap();
        assert_eq!(read.current(&path).unwrap().token.0, "s3cret");
        assert_eq!(read.contexts[0].ca, config.contexts[0].ca);
        assert!(!format!("{read:?}").contains("s3cret"));
    }
}
