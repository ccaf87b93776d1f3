//! Where content comes from: Git, or in tests whatever they say.

use std::future::Future;

use lockstep_proto::v1;

use crate::git::{Git, GitError, Resolved, SourceTree};

/// What an Assignment's ref and path name, and the files there.
pub trait Source: Clone + Send + Sync + 'static {
    /// The commit and the tree that `r` and `path` name now.
    fn resolve(
        &self,
        repository: &str,
        r: &v1::GitRef,
        path: &str,
    ) -> impl Future<Output = Result<Resolved, GitError>> + Send;

    /// The commit and the tree that `text` and `path` name: a commit of the
    /// repository, a branch or a tag, fetched where it has to be.
    fn resolve_any(
        &self,
        repository: &str,
        text: &str,
        path: &str,
    ) -> impl Future<Output = Result<Resolved, GitError>> + Send;

    /// Waits for a look at the remote that begins now.
    fn look_now(&self, repository: &str) -> impl Future<Output = Result<(), GitError>> + Send;

    /// The manifests in a tree.
    fn read_tree(
        &self,
        repository: &str,
        tree: &str,
    ) -> impl Future<Output = Result<SourceTree, GitError>> + Send;
}

impl Source for Git {
    async fn resolve(
        &self,
        repository: &str,
        r: &v1::GitRef,
        path: &str,
    ) -> Result<Resolved, GitError> {
        self.resolve(repository, r, path).await
    }

    async fn resolve_any(
        &self,
        repository: &str,
        text: &str,
        path: &str,
    ) -> Result<Resolved, GitError> {
        self.resolve_any(repository, text, path).await
    }

    async fn look_now(&self, repository: &str) -> Result<(), GitError> {
        self.look_now(repository).await
    }

    async fn read_tree(&self, repository: &str, tree: &str) -> Result<SourceTree, GitError> {
        self.read_tree(repository, tree, crate::render::wants).await
    }
}
