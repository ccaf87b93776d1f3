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

    async fn read_tree(&self, repository: &str, tree: &str) -> Result<SourceTree, GitError> {
        self.read_tree(repository, tree, crate::render::wants).await
    }
}
