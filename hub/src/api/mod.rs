//! The gRPC service for people and machines, over the [`Fleet`].
//!
//! In: requests that `auth` has let through. Out: what the fleet says, in
//! pages and streams of bounded size, and errors that say what to do. It
//! holds no state of its own and decides nothing about clusters.

mod error;
mod follow;
mod page;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use lockstep_proto::v1;
use lockstep_proto::v1::fleet_service_server::{FleetService, FleetServiceServer};
use lockstep_proto::v1::kind::Name as Kind;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::auth::Subject;
use crate::diff::Differ;
use crate::rollout::Orders;
use crate::status::{Filter, Fleet, Selector, kind_word};
use error::{invalid, no_such};

/// A request of thousands of resources with their CA bundles.
const MAX_REQUEST: usize = 16 << 20;
/// Watches at once. Each costs the names that its reader was sent.
const MAX_WATCHES: usize = 512;
/// Names in one request.
const MAX_NAMES: usize = 5_000;
/// Of the name of a revision: a branch's may be this long.
const MAX_REVISION: usize = 255;

/// What makes secrets, and alone ever sees them.
pub trait Secrets: Send + Sync + 'static {
    fn create_join_token(
        &self,
        request: v1::CreateJoinTokenRequest,
    ) -> BoxFuture<'_, Result<v1::CreateJoinTokenResponse, Status>>;

    fn create_credential(
        &self,
        request: v1::CreateCredentialRequest,
    ) -> BoxFuture<'_, Result<v1::CreateCredentialResponse, Status>>;
}

/// `FleetService`.
pub struct Api {
    fleet: Fleet,
    secrets: Arc<dyn Secrets>,
    orders: Arc<dyn Orders>,
    diffs: Arc<dyn Differ>,
    watches: Arc<Semaphore>,
    cancel: CancellationToken,
}

impl Api {
    /// The service, to be guarded by `auth`. Streams end when `cancel` is.
    pub fn server(
        fleet: Fleet,
        secrets: Arc<dyn Secrets>,
        orders: Arc<dyn Orders>,
        diffs: Arc<dyn Differ>,
        cancel: CancellationToken,
    ) -> FleetServiceServer<Self> {
        let api = Self {
            fleet,
            secrets,
            orders,
            diffs,
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            cancel,
        };
        FleetServiceServer::new(api).max_decoding_message_size(MAX_REQUEST)
    }
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl FleetService for Api {
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Answer<v1::ApplyResponse> {
        let by = subject(&request);
        let request = request.into_inner();
        let results = self.fleet.apply(request.resources, request.dry_run, &by);
        let results = results.await?;
        Ok(Response::new(v1::ApplyResponse { results }))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        let by = subject(&request);
        let request = request.into_inner();
        let kind = kind(request.kind)?;
        let message = self.fleet.delete(kind, name(&request.name)?, &by).await?;
        Ok(Response::new(v1::DeleteResponse { message }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::Resource> {
        let request = request.into_inner();
        let kind = kind(request.kind)?;
        let resource = self.fleet.get(kind, name(&request.name)?);
        let resource = resource.ok_or_else(|| no_such(kind_word(kind), &request.name))?;
        Ok(Response::new(resource))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        let request = request.into_inner();
        let limit = page::size(request.page_size);
        let after = page::read_name(&request.page_token)?;
        let filter = filter(request.kind, &request.label_selector, request.names)?;
        let page = self
            .fleet
            .list(&filter, after.as_deref(), limit)
            .map_err(|name| no_such(kind_word(filter.kind), &name))?;
        Ok(Response::new(v1::ListResponse {
            items: page.items,
            next_page_token: page.next.map(|name| page::name(&name)).unwrap_or_default(),
        }))
    }

    type WatchStream = Events<v1::WatchEvent>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let request = request.into_inner();
        let filter = filter(request.kind, &request.label_selector, request.names)?;
        let turn = self.watch_turn()?;
        let watch = self.fleet.watch(filter);
        let events = follow::resources(watch, turn);
        Ok(Response::new(follow::until(events, self.cancel.clone())))
    }

    async fn label_cluster(
        &self,
        request: Request<v1::LabelClusterRequest>,
    ) -> Answer<v1::Resource> {
        let request = request.into_inner();
        let name = name(&request.name)?;
        let cluster = self.fleet.label_cluster(name, request.set, request.remove);
        Ok(Response::new(cluster.await?))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let query = page::status_query(request.into_inner())?;
        let page = self.fleet.status(&query);
        let page = page.map_err(|(kind, name)| no_such(kind, &name))?;
        Ok(Response::new(page::status_response(page)))
    }

    type WatchStatusStream = Events<v1::StatusResponse>;

    async fn watch_status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Answer<Self::WatchStatusStream> {
        let request = request.into_inner();
        let interval = page::interval(request.min_interval_millis);
        let query = page::status_query(request)?;
        // What is wrong with the request is its answer, not its stream's first item.
        let first = self.fleet.status(&query);
        first.map_err(|(kind, name)| no_such(kind, &name))?;
        let turn = self.watch_turn()?;
        let tables = follow::status(self.fleet.clone(), query, interval, turn);
        Ok(Response::new(follow::until(tables, self.cancel.clone())))
    }

    async fn refresh(&self, request: Request<v1::RefreshRequest>) -> Answer<v1::RefreshResponse> {
        let request = request.into_inner();
        let mut repositories = Vec::new();
        if !request.assignment.is_empty() {
            let assignment = self.fleet.assignment(&request.assignment);
            let assignment =
                assignment.ok_or_else(|| no_such("Assignment", &request.assignment))?;
            repositories.extend(assignment.spec.as_ref().map(|spec| spec.repository.clone()));
            // Also where the repository holds nothing new: a failed render is tried again.
            self.fleet.dirty_assignments().mark(request.assignment);
        }
        if !request.repository.is_empty() {
            if !self.fleet.exists(Kind::Repository, &request.repository) {
                return Err(no_such("Repository", &request.repository));
            }
            repositories.push(request.repository);
        }
        if repositories.is_empty() {
            return Err(invalid("name an assignment or a repository to look at"));
        }
        self.fleet.dirty_repositories().mark_all(repositories);
        Ok(Response::new(v1::RefreshResponse {}))
    }

    async fn sync(&self, request: Request<v1::SyncRequest>) -> Answer<v1::ControlResponse> {
        let by = subject(&request);
        let request = request.into_inner();
        let (assignment, revision) = (name(&request.assignment)?, named(&request.revision)?);
        let answer = self.orders.sync(assignment, revision, &by).await?;
        Ok(Response::new(answer))
    }

    async fn rollback(&self, request: Request<v1::RollbackRequest>) -> Answer<v1::ControlResponse> {
        let by = subject(&request);
        let request = request.into_inner();
        let (assignment, revision) = (name(&request.assignment)?, named(&request.revision)?);
        let answer = self.orders.rollback(assignment, revision, &by).await?;
        Ok(Response::new(answer))
    }

    async fn pause(&self, request: Request<v1::ControlRequest>) -> Answer<v1::ControlResponse> {
        let by = subject(&request);
        let answer = self.orders.pause(name(&request.get_ref().assignment)?, &by);
        Ok(Response::new(answer.await?))
    }

    async fn resume(&self, request: Request<v1::ControlRequest>) -> Answer<v1::ControlResponse> {
        let by = subject(&request);
        let answer = self
            .orders
            .resume(name(&request.get_ref().assignment)?, &by);
        Ok(Response::new(answer.await?))
    }

    async fn approve(&self, request: Request<v1::ControlRequest>) -> Answer<v1::ControlResponse> {
        let by = subject(&request);
        let answer = self
            .orders
            .approve(name(&request.get_ref().assignment)?, &by);
        Ok(Response::new(answer.await?))
    }

    async fn history(&self, request: Request<v1::HistoryRequest>) -> Answer<v1::HistoryResponse> {
        let request = request.into_inner();
        let assignment = name(&request.assignment)?;
        let limit = page::size(request.page_size);
        let after = page::read_history(&request.page_token)?;
        let cluster = (!request.cluster.is_empty()).then_some(&*request.cluster);
        let first = after.is_none();
        let page = self
            .fleet
            .history(assignment, cluster, after, limit)
            .await?;
        // What is gone still has a history for a while.
        if page.items.is_empty() && first {
            if !self.fleet.exists(Kind::Assignment, assignment) {
                return Err(no_such("Assignment", assignment));
            }
            if let Some(cluster) = cluster.filter(|name| !self.fleet.exists(Kind::Cluster, name)) {
                return Err(no_such("Cluster", cluster));
            }
        }
        Ok(Response::new(v1::HistoryResponse {
            items: page.items,
            next_page_token: page.next.map(|at| page::history(&at)).unwrap_or_default(),
        }))
    }

    type DiffStream = Events<v1::DiffResponse>;

    async fn diff(&self, request: Request<v1::DiffRequest>) -> Answer<Self::DiffStream> {
        let request = request.into_inner();
        name(&request.assignment)?;
        for (field, text) in [("ref", &request.r#ref), ("cluster", &request.cluster)] {
            if text.len() > MAX_REVISION {
                return Err(invalid(format!(
                    "{field}: is longer than {MAX_REVISION} bytes"
                )));
            }
        }
        let answers = self.diffs.diff(request).await?.map(Ok);
        Ok(Response::new(follow::until(answers, self.cancel.clone())))
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Answer<v1::CreateJoinTokenResponse> {
        let made = self.secrets.create_join_token(request.into_inner());
        made.await.map(Response::new)
    }

    async fn revoke_join_token(
        &self,
        request: Request<v1::RevokeJoinTokenRequest>,
    ) -> Answer<v1::RevokeJoinTokenResponse> {
        let id = request.into_inner().id;
        if self.fleet.revoke_join_token(name(&id)?).await? {
            Ok(Response::new(v1::RevokeJoinTokenResponse {}))
        } else {
            Err(no_such("JoinToken", &id))
        }
    }

    async fn create_credential(
        &self,
        request: Request<v1::CreateCredentialRequest>,
    ) -> Answer<v1::CreateCredentialResponse> {
        let made = self.secrets.create_credential(request.into_inner());
        made.await.map(Response::new)
    }
}

impl Api {
    fn watch_turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Status> {
        Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{MAX_WATCHES} watches are open already: close one, or try again later"
            ))
        })
    }
}

/// Who calls, as the history names them.
fn subject<T>(request: &Request<T>) -> String {
    let subject = request.extensions().get::<Subject>();
    subject
        .map(|subject| subject.0.to_string())
        .unwrap_or_default()
}

fn kind(number: i32) -> Result<Kind, Status> {
    match Kind::try_from(number) {
        Ok(Kind::Unspecified) => Err(invalid(
            "kind: is missing: Cluster, ClusterGroup, Repository, Assignment, JoinToken or Credential",
        )),
        Ok(kind) => Ok(kind),
        Err(_) => Err(invalid(format!(
            "kind: {number} is none that this hub knows"
        ))),
    }
}

fn name(text: &str) -> Result<&str, Status> {
    if text.is_empty() {
        return Err(invalid("name: is missing"));
    }
    Ok(text)
}

/// A revision in a request; it may be empty.
fn named(text: &str) -> Result<&str, Status> {
    if text.len() > MAX_REVISION {
        return Err(invalid(format!(
            "revision: is longer than {MAX_REVISION} bytes"
        )));
    }
    Ok(text)
}

fn filter(number: i32, selector: &str, names: Vec<String>) -> Result<Filter, Status> {
    if names.len() > MAX_NAMES {
        return Err(invalid(format!("names: more than {MAX_NAMES}")));
    }
    Ok(Filter {
        kind: kind(number)?,
        selector: parse(selector)?,
        names: names.into_iter().collect(),
    })
}

fn parse(selector: &str) -> Result<Selector, Status> {
    selector
        .parse()
        .map_err(|error| invalid(format!("label_selector: {error}")))
}
