//! A repository's remote, whatever way leads to it: its refs, and packs of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use lockstep_proto::{Digest, v1};
use rustls::RootCertStore;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::cause::RemoteError;
use super::file::FileRemote;
use super::http::{self, Http, HttpClient, Known, Login};
use super::intake::{Intake, Until};
use super::mirror::Mirror;
use super::protocol::{RemoteRefs, Want, Wanted};
use super::{CredentialSource, Limits};

/// What the remotes of all repositories share.
pub(super) struct Means {
    pub limits: Limits,
    pub allow_file: bool,
    pub credentials: Arc<dyn CredentialSource>,
    pub roots: Arc<RootCertStore>,
    /// The client without any caBundle, which most repositories share.
    pub plain: HttpClient,
    /// Fetches at once: each holds a thread, a disk and some memory.
    pub fetches: Semaphore,
}

/// What is kept of a remote from one look to the next.
#[derive(Default)]
pub(super) struct Contact {
    known: Option<Known>,
    /// With the caBundle that it trusts.
    client: Option<(Digest, HttpClient)>,
}

/// A remote, for one look.
pub(super) struct Remote<'a> {
    way: Way,
    means: &'a Means,
    cancel: &'a CancellationToken,
}

enum Way {
    Http(Box<Web>),
    File(FileRemote),
}

struct Web {
    client: HttpClient,
    url: Url,
    login: Option<Login>,
}

impl Web {
    fn within<'a>(&'a self, time: Duration, limits: &'a Limits) -> Http<'a> {
        Http {
            client: self.client.clone(),
            url: &self.url,
            login: self.login.as_ref(),
            limits,
            deadline: Instant::now() + time,
            time,
        }
    }
}

impl<'a> Remote<'a> {
    /// The remote that `spec` names; asks it nothing yet.
    pub(super) async fn of(
        spec: &v1::RepositorySpec,
        contact: &mut Contact,
        means: &'a Means,
        cancel: &'a CancellationToken,
    ) -> Result<Self, RemoteError> {
        let url = Url::parse(&spec.url)
            .map_err(|e| RemoteError::Url(format!("spec.url is not a URL: {e}")))?;
        let way = match url.scheme() {
            "file" if means.allow_file => {
                let path = url.to_file_path().map_err(|()| {
                    RemoteError::Url("spec.url is not the path of a folder".into())
                })?;
                Way::File(FileRemote { path })
            }
            "file" => {
                return Err(RemoteError::Url(
                    "this hub takes no file:// repositories; start it with \
                     --allow-file-repositories"
                        .into(),
                ));
            }
            "http" | "https" => Way::Http(Box::new(Web {
                login: login(&spec.credential, means).await?,
                client: contact.client(&spec.ca_bundle, means)?,
                url,
            })),
            other => {
                return Err(RemoteError::Url(format!(
                    "spec.url: {other:?} is not a way to a repository that this version knows"
                )));
            }
        };
        Ok(Self { way, means, cancel })
    }

    pub(super) async fn list(
        &self,
        contact: &mut Contact,
        wanted: &Wanted,
    ) -> Result<RemoteRefs, RemoteError> {
        let web = match &self.way {
            Way::File(file) => {
                let (file, wanted) = (file.clone(), wanted.clone());
                return blocking(move || file.list(&wanted)).await;
            }
            Way::Http(web) => web,
        };
        let limits = &self.means.limits;
        let http = web.within(limits.list_time, limits);
        // What was known may be of another time; then all is asked again.
        let known = contact.known.take().filter(|known| known.server.v2);
        let listed = self.unless_stopped(http.list(known.as_ref(), wanted)).await;
        let (known, refs) = match listed {
            Err(error) if known.is_some() && error.is_quick() => {
                self.unless_stopped(http.list(None, wanted)).await?
            }
            listed => listed?,
        };
        contact.known = Some(known);
        Ok(refs)
    }

    /// Whether commits can be had that no ref names.
    pub(super) async fn gives(&self, contact: &Contact, id: Oid) -> Result<Gives, RemoteError> {
        match &self.way {
            Way::File(file) => {
                let file = file.clone();
                let has = blocking(move || file.has(id)).await?;
                Ok(if has { Gives::Asked } else { Gives::Never })
            }
            Way::Http(_) => {
                let any = contact.known.as_ref().is_some_and(|k| k.server.any_commit);
                Ok(if any { Gives::Asked } else { Gives::History })
            }
        }
    }

    /// Whether what a fetch brings comes with all its history.
    pub(super) fn brings_history(&self, contact: &Contact) -> bool {
        let known = contact.known.as_ref();
        matches!(self.way, Way::Http(_)) && known.is_some_and(|known| !known.server.shallow)
    }

    /// Fetches `ids` into `mirror`, which holds `haves`; all history as well
    /// where `history` says so.
    pub(super) async fn fetch(
        &self,
        contact: &Contact,
        mirror: &Mirror,
        ids: BTreeSet<Oid>,
        haves: BTreeSet<Oid>,
        history: bool,
    ) -> Result<(), RemoteError> {
        let waiting = async { Ok(self.means.fetches.acquire().await) };
        let _permit = self.unless_stopped(waiting).await?;
        let limits = &self.means.limits;
        let ids: Vec<_> = ids.into_iter().collect();
        let until = Until {
            deadline: std::time::Instant::now() + limits.fetch_time,
            cancel: self.cancel.clone(),
        };
        let mirror = mirror.clone();
        let web = match &self.way {
            Way::File(file) => {
                let (file, max) = (file.clone(), limits.fetch_bytes);
                return blocking(move || file.fetch(&ids, &mirror, &until, max)).await;
            }
            Way::Http(web) => web,
        };
        let Some(known) = &contact.known else {
            return Err(RemoteError::Stopped);
        };
        let want = if history {
            Want {
                ids,
                history,
                ..Want::default()
            }
        } else {
            let mirror = mirror.clone();
            let shallow = blocking(move || Ok(mirror.shallow()?)).await?;
            want(ids, haves, &shallow, known.server.shallow)
        };
        let http = web.within(limits.fetch_time, limits);
        let intake = Intake::start(mirror, until);
        match self.unless_stopped(http.fetch(known, &want, &intake)).await {
            Ok(()) => intake.finish().await,
            Err(error) => {
                intake.abandon().await;
                Err(error)
            }
        }
    }

    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let done = self.cancel.run_until_cancelled(work).await;
        done.unwrap_or(Err(RemoteError::Stopped))
    }
}

/// How a remote gives a commit that no ref need name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// When it is asked for it.
    Asked,
    /// Only with the history of the refs.
    History,
    /// It does not have it.
    Never,
}

fn want(
    ids: Vec<Oid>,
    haves: BTreeSet<Oid>,
    shallow: &BTreeSet<Oid>,
    server_knows_shallow: bool,
) -> Want {
    /// Far more than are followed; a request is one piece of memory.
    const MAX_HAVES: usize = 256;
    // A server that knows no shallow commits takes a commit to mean all its history.
    let haves: Vec<_> = haves
        .into_iter()
        .filter(|id| server_knows_shallow || !shallow.contains(id))
        .take(MAX_HAVES)
        .collect();
    Want {
        ids,
        shallow: haves
            .iter()
            .copied()
            .filter(|id| shallow.contains(id))
            .collect(),
        haves,
        history: false,
    }
}

async fn login(credential: &str, means: &Means) -> Result<Option<Login>, RemoteError> {
    if credential.is_empty() {
        return Ok(None);
    }
    let auth = means.credentials.basic(credential).await;
    Ok(Some(Login {
        name: credential.to_owned(),
        auth: auth.map_err(RemoteError::Credential)?,
    }))
}

impl Contact {
    fn client(&mut self, ca_bundle: &str, means: &Means) -> Result<HttpClient, RemoteError> {
        let bundle = ca_bundle.trim();
        if bundle.is_empty() {
            self.client = None;
            return Ok(means.plain.clone());
        }
        let digest = Digest::of(bundle.as_bytes());
        match &self.client {
            Some((of, client)) if *of == digest => Ok(client.clone()),
            _ => {
                let client = http::client(&means.roots, bundle)?;
                self.client = Some((digest, client.clone()));
                Ok(client)
            }
        }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RemoteError> + Send + 'static,
) -> Result<T, RemoteError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RemoteError::Stopped),
        },
    }
}
