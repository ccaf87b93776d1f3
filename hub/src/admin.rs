//! `admin.yaml`: the context that lets the person who started the hub use the
//! command line at once.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::auth::{ADMINISTRATOR, Auth};
use crate::private_file;
use crate::secret::Secret;
use crate::store::StoreError;

/// Why there is no `admin.yaml`.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot read or write {path}: {cause}")]
    Io { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
struct Config {
    contexts: Vec<Context>,
}

#[derive(Deserialize)]
struct Context {
    token: String,
}

/// Writes the context to `path`. The token that is there is kept where the hub
/// knows it, so that copies of the file stay good.
///
/// # Errors
/// [`AdminError`].
pub async fn write_context(
    path: &Path,
    endpoint: &str,
    ca: &str,
    auth: &Auth,
) -> Result<(), AdminError> {
    let io = |cause| AdminError::Io {
        path: path.to_owned(),
        cause,
    };
    let before = private_file::read(path).map_err(io)?;
    let token = match before.as_deref().and_then(token_of) {
        Some(token) if auth.subject(token.expose().as_bytes()).is_some() => token,
        _ => auth.create(ADMINISTRATOR).await?,
    };
    let content = render(endpoint, ca, &token);
    if before.as_deref() != Some(&*content) {
        private_file::write(path, content.as_bytes()).map_err(io)?;
        tracing::info!(path = %path.display(), endpoint, "wrote an administrator's context");
    }
    Ok(())
}

fn token_of(text: &str) -> Option<Secret> {
    // An error would show the token, and is of no use: a new one is made.
    let config: Config = serde_saphyr::from_str(text).ok()?;
    let context = config.contexts.into_iter().next()?;
    Some(Secret::new(context.token))
}

fn render(endpoint: &str, ca: &str, token: &Secret) -> String {
    let ca: String = ca.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "# A context of the `lockstep` command with an administrator's token: keep it secret.\n\
         # The hub writes this file anew when its address changes: copy it, do not edit it.\n\
         #   LOCKSTEP_CONFIG=this-file lockstep get clusters\n\
         currentContext: default\n\
         contexts:\n\
         - name: default\n  \
           endpoint: \"{endpoint}\"\n  \
           ca: |\n{ca}  \
           token: \"{}\"\n",
        token.expose()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn the_token_stays_while_the_hub_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.yaml");
        let store = Store::open(dir.path().join("lockstep.db")).unwrap();
        let auth = Auth::load(store).await.unwrap();
        let ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

        write_context(&path, "127.0.0.1:1", ca, &auth)
            .await
            .unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        write_context(&path, "[::1]:2", ca, &auth).await.unwrap();
        let second = std::fs::read_to_string(&path).unwrap();
        assert!(second.contains("endpoint: \"[::1]:2\""));
        let token = token_of(&first).unwrap();
        assert!(token.matches(token_of(&second).unwrap().expose().as_bytes()));
        assert!(auth.subject(token.expose().as_bytes()).is_some());

        std::fs::write(&path, "damaged").unwrap();
        write_context(&path, "127.0.0.1:1", ca, &auth)
            .await
            .unwrap();
        let third = token_of(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(auth.subject(third.expose().as_bytes()).is_some());
        assert!(auth.subject(token.expose().as_bytes()).is_some());
    }
}
