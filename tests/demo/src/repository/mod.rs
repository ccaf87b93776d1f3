//! The Git repository of the demo, over HTTP: served by git where it is installed, so that a
//! person can clone and push; by ourselves, to read only, where it is not.

mod plain;
mod upload_pack;

use std::path::Path;

use anyhow::Result;
use lockstep_fixtures::{GitRepository, GitServer};

use crate::ground;
use crate::say::say;
use plain::Plain;

/// A repository with a working copy, and whoever serves it.
pub enum Source {
    /// Served by `git http-backend`.
    Git {
        repository: GitRepository,
        _server: Box<GitServer>,
    },
    /// Served by the demo itself.
    Plain(Plain),
}

impl Source {
    /// Starts serving an empty repository; `dir` is for what git does not keep itself.
    ///
    /// # Errors
    ///
    /// If it cannot be made or served.
    pub async fn start(name: &str, dir: &Path) -> Result<Self> {
        match ground::git() {
            Ok(()) => {
                let server = GitServer::start().await?;
                let repository = server.repository(name).await?;
                Ok(Self::Git {
                    repository,
                    _server: Box::new(server),
                })
            }
            Err(why) => {
                say(&format!(
                    "{why:#}\nThe demo serves the repository itself: you can look, but not push.\n"
                ));
                Ok(Self::Plain(Plain::start(name, dir).await?))
            }
        }
    }

    /// Can a person push to it?
    pub fn takes_pushes(&self) -> bool {
        matches!(self, Self::Git { .. })
    }

    pub fn url(&self) -> &str {
        match self {
            Self::Git { repository, .. } => repository.url(),
            Self::Plain(plain) => plain.url(),
        }
    }

    /// The folder with the files.
    pub fn work(&self) -> &Path {
        match self {
            Self::Git { repository, .. } => repository.work(),
            Self::Plain(plain) => plain.work(),
        }
    }

    /// Writes files, commits everything in the folder and publishes it. Gives the commit's id.
    ///
    /// # Errors
    ///
    /// If a file cannot be written or git refuses.
    pub async fn commit(&self, subject: &str, files: &[(&str, &str)]) -> Result<String> {
        match self {
            Self::Git { repository, .. } => repository.commit(subject, files).await,
            Self::Plain(plain) => plain.commit(subject, files),
        }
    }
}
