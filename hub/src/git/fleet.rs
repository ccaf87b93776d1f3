//! What the git room asks of the fleet, and tells it.

use std::collections::HashSet;
use std::sync::Arc;

use lockstep_proto::v1;

use super::follow::Follow;
use crate::status::Fleet;
use crate::store::StoreError;

/// The repositories and who follows them. A trait so that tests hold it.
pub(super) trait Repositories: Clone + Send + Sync + 'static {
    fn names(&self) -> Vec<String>;
    fn get(&self, name: &str) -> Option<Arc<v1::Repository>>;
    /// Assignments of a repository, with what each of them follows.
    fn follows(&self, name: &str) -> Vec<(String, Follow)>;
    fn state(&self, name: &str) -> v1::RepositoryStatus;
    /// Waits for repositories that somebody wants looked at, or that came or went.
    fn dirty(&self) -> impl Future<Output = HashSet<String>> + Send;
    fn set_state(
        &self,
        name: &str,
        status: v1::RepositoryStatus,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Wakes assignments whose ref moved, came or went.
    fn mark(&self, assignments: Vec<String>);
}

impl Repositories for Fleet {
    fn names(&self) -> Vec<String> {
        self.repositories()
    }

    fn get(&self, name: &str) -> Option<Arc<v1::Repository>> {
        self.repository(name)
    }

    fn follows(&self, name: &str) -> Vec<(String, Follow)> {
        let follow = |assignment: Arc<v1::Assignment>| {
            let r = assignment.spec.as_ref()?.r#ref.as_ref()?;
            let name = assignment.metadata.as_ref()?.name.clone();
            Some((name, Follow::of(r)?))
        };
        let all = self.assignments_of_repository(name);
        all.into_iter().filter_map(follow).collect()
    }

    fn state(&self, name: &str) -> v1::RepositoryStatus {
        self.repository_state(name).unwrap_or_default()
    }

    async fn dirty(&self) -> HashSet<String> {
        self.dirty_repositories().take().await
    }

    async fn set_state(&self, name: &str, status: v1::RepositoryStatus) -> Result<(), StoreError> {
        self.set_repository_state(name, status).await
    }

    fn mark(&self, assignments: Vec<String>) {
        self.dirty_assignments().mark_all(assignments);
    }
}
