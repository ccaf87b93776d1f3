//! Where a join token comes from. A file is read whenever the token is needed:
//! a person may replace it while the agent runs.

use std::path::PathBuf;

use super::{JoinToken, TokenError};

/// See the module.
#[derive(Debug, Clone)]
pub enum TokenSource {
    None,
    Given(JoinToken),
    File(PathBuf),
}

/// Why the file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read the join token {path}: {cause}")]
    Unreadable { path: String, cause: std::io::Error },
    #[error("{path}: {cause}")]
    Malformed { path: String, cause: TokenError },
}

impl TokenSource {
    /// The token, if there is one now. A file that is absent or empty has none:
    /// that is how a Secret looks that was taken away after it was used.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read(&self) -> Result<Option<JoinToken>, SourceError> {
        let path = match self {
            Self::None => return Ok(None),
            Self::Given(token) => return Ok(Some(token.clone())),
            Self::File(path) => path,
        };
        let named = || path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => JoinToken::parse(&text)
                .map(Some)
                .map_err(|cause| SourceError::Malformed {
                    path: named(),
                    cause,
                }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(SourceError::Unreadable {
                path: named(),
                cause,
            }),
        }
    }

    /// Where a person put no token, in words.
    #[must_use]
    pub fn emptiness(&self) -> String {
        match self {
            Self::File(path) => format!("{} has no join token", path.display()),
            _ => "there is no join token".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = TokenSource::File(file.path().to_owned());
        assert!(source.read().unwrap().is_none());
        std::fs::write(file.path(), "nonsense").unwrap();
        let error = source.read().unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
        let token = format!("lsj1.a.b.{}\n", "A".repeat(43));
        std::fs::write(file.path(), token).unwrap();
        assert_eq!(source.read().unwrap().unwrap().id(), "a");
    }

    #[test]
    fn an_absent_file_has_no_token() {
        let source = TokenSource::File("/nowhere/token".into());
        assert!(source.read().unwrap().is_none());
        assert!(source.emptiness().contains("/nowhere/token"));
    }
}
