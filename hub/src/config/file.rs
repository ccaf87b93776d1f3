//! The file of `--config`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, HostPort, LogFormat};

/// A hundred settings would not fill it.
const LIMIT: u64 = 64 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct File {
    #[serde(alias = "data-dir")]
    pub data_dir: Option<PathBuf>,
    pub listen: Option<HostPort>,
    pub http: Option<HostPort>,
    pub advertise: Option<HostPort>,
    #[serde(alias = "allow-file-repositories")]
    pub allow_file_repositories: Option<bool>,
    pub log: Option<String>,
    #[serde(alias = "log-format")]
    pub log_format: Option<LogFormat>,
}

/// What tells a context of the `lockstep` command from anything else.
#[derive(Deserialize)]
struct Context {
    #[serde(rename = "contexts")]
    _contexts: Vec<serde::de::IgnoredAny>,
}

pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
    let unreadable = |cause| ConfigError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > LIMIT {
        return Err(ConfigError::Malformed {
            path: path.to_owned(),
            cause: format!("it has more than {LIMIT} bytes"),
        });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if serde_saphyr::from_str::<Context>(&text).is_ok() {
        return Err(ConfigError::Context {
            path: path.to_owned(),
        });
    }
    if text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    }) {
        return Ok(File::default());
    }
    serde_saphyr::from_str(&text).map_err(|cause| ConfigError::Malformed {
        path: path.to_owned(),
        cause: cause.to_string().trim_end().to_owned(),
    })
}
