//! One look at a remote: list its refs, fetch what moved, check that it is
//! whole, and only then move the mirror's heads.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use git2::Oid;
use lockstep_proto::{Digest, v1};
use parking_lot::RwLock;
use rustls::RootCertStore;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::cause::RemoteError;
use super::file::FileRemote;
use super::follow::{Follow, Plan, plan, wanted};
use super::http::{self, Http, HttpClient, Known, Login};
use super::intake::{Intake, Until};
use super::mirror::{Heads, Mirror, MirrorError, check_tip};
use super::protocol::{ProtocolError, RemoteRefs, Want, Wanted};
use super::{CredentialSource, Limits};

/// What looks of all repositories share.
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

/// What a repository's task keeps from one look to the next.
#[derive(Default)]
pub(super) struct Memory {
    /// What the mirror holds.
    pub heads: Heads,
    known: Option<Known>,
    client: Option<(Digest, HttpClient)>,
    /// Commits that were not found in all history, and the refs at that time.
    barren: BTreeMap<Oid, Digest>,
}

impl Memory {
    /// What is known before the first look.
    pub(super) fn of(heads: Heads) -> Self {
        Self {
            heads,
            ..Self::default()
        }
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// What the remote does not have, and how to say so.
    pub missing: BTreeMap<Follow, String>,
    /// What else is wrong.
    pub problems: Vec<String>,
    /// Whether the mirror's heads changed.
    pub changed: bool,
}

pub(super) struct Look<'a> {
    pub means: &'a Means,
    pub spec: &'a v1::RepositorySpec,
    pub mirror: &'a Mirror,
    /// Held for writing while files of the mirror are taken away.
    pub files: &'a Arc<RwLock<()>>,
    pub follows: &'a BTreeSet<Follow>,
    pub cancel: &'a CancellationToken,
}

/// Where a repository is, with what it takes to talk to it.
enum Remote {
    Http(Box<Web>),
    File(FileRemote),
}

struct Web {
    client: HttpClient,
    url: Url,
    login: Option<Login>,
}

impl Web {
    fn until<'a>(&'a self, limits: &'a Limits, deadline: Instant) -> Http<'a> {
        Http {
            client: self.client.clone(),
            url: &self.url,
            login: self.login.as_ref(),
            limits,
            deadline,
        }
    }
}

impl Look<'_> {
    pub(super) async fn run(&self, memory: &mut Memory) -> Result<Sight, RemoteError> {
        let remote = self.remote(memory).await?;
        let refs = self.list(&remote, memory, &wanted(self.follows)).await?;
        let Plan {
            moved,
            commits,
            missing,
            ..
        } = plan(self.follows, &refs, &memory.heads);
        let mut sight = Sight::default();
        for follow in missing {
            let text = match &follow {
                Follow::Branch(name) => format!("branch {name:?} does not exist"),
                Follow::Tag(name) => format!("tag {name:?} does not exist"),
                Follow::Commit(id) => {
                    format!("{id:?} is not a commit: give all 40 hexadecimal digits")
                }
            };
            sight.missing.insert(follow, text);
        }
        let mut heads = memory.heads.clone();
        let followed: BTreeSet<_> = self.follows.iter().map(ToString::to_string).collect();
        heads.retain(|name, _| followed.contains(name));
        for follow in sight.missing.keys() {
            heads.remove(&follow.to_string());
        }
        if !moved.is_empty() || !commits.is_empty() {
            let mirror = self.mirror.clone();
            blocking(move || Ok(mirror.prepare().map(drop)?)).await?;
        }
        self.take_tips(&remote, memory, moved, &mut heads, &mut sight)
            .await?;
        for (follow, id) in commits {
            self.take_commit(&remote, memory, (follow, id), &mut heads, &mut sight)
                .await?;
        }
        if heads != memory.heads {
            self.save(heads, memory).await?;
            sight.changed = true;
        }
        Ok(sight)
    }

    async fn remote(&self, memory: &mut Memory) -> Result<Remote, RemoteError> {
        let url = Url::parse(&self.spec.url)
            .map_err(|e| RemoteError::Url(format!("spec.url is not a URL: {e}")))?;
        if url.scheme() == "file" {
            if !self.means.allow_file {
                return Err(RemoteError::Url(
                    "this hub takes no file:// repositories; start it with --allow-file-repositories".into(),
                ));
            }
            let path = url
                .to_file_path()
                .map_err(|()| RemoteError::Url("spec.url is not the path of a folder".into()))?;
            return Ok(Remote::File(FileRemote { path }));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RemoteError::Url(format!(
                "spec.url: {:?} is not a way to a repository that this version knows",
                url.scheme()
            )));
        }
        let name = &self.spec.credential;
        let login = if name.is_empty() {
            None
        } else {
            let auth = self.means.credentials.basic(name).await;
            Some(Login {
                name: name.clone(),
                auth: auth.map_err(RemoteError::Credential)?,
            })
        };
        Ok(Remote::Http(Box::new(Web {
            client: self.client(memory)?,
            url,
            login,
        })))
    }

    fn client(&self, memory: &mut Memory) -> Result<HttpClient, RemoteError> {
        let bundle = self.spec.ca_bundle.trim();
        if bundle.is_empty() {
            memory.client = None;
            return Ok(self.means.plain.clone());
        }
        let digest = Digest::of(bundle.as_bytes());
        match &memory.client {
            Some((of, client)) if *of == digest => Ok(client.clone()),
            _ => {
                let client = http::client(&self.means.roots, bundle)?;
                memory.client = Some((digest, client.clone()));
                Ok(client)
            }
        }
    }

    async fn list(
        &self,
        remote: &Remote,
        memory: &mut Memory,
        wanted: &Wanted,
    ) -> Result<RemoteRefs, RemoteError> {
        let web = match remote {
            Remote::File(file) => {
                let (file, wanted) = (file.clone(), wanted.clone());
                return blocking(move || file.list(&wanted)).await;
            }
            Remote::Http(web) => web,
        };
        let limits = &self.means.limits;
        let http = web.until(limits, Instant::now() + limits.fetch_time);
        // What was known may be of another time; then all is asked again.
        let known = memory.known.take().filter(|known| known.server.v2);
        let (known, refs) = match self.unless_stopped(http.list(known.as_ref(), wanted)).await {
            Err(_) if known.is_some() => self.unless_stopped(http.list(None, wanted)).await?,
            listed => listed?,
        };
        memory.known = Some(known);
        Ok(refs)
    }

    /// Moves branches and tags to where the remote has them.
    async fn take_tips(
        &self,
        remote: &Remote,
        memory: &Memory,
        moved: Vec<(Follow, Oid)>,
        heads: &mut Heads,
        sight: &mut Sight,
    ) -> Result<(), RemoteError> {
        let ids: BTreeSet<_> = moved.iter().map(|(_, id)| *id).collect();
        let lacking = self.lacking(ids).await?;
        if !lacking.is_empty() {
            self.fetch(remote, memory, lacking, false).await?;
        }
        for (follow, id) in moved {
            self.move_head(follow, id, heads, sight).await?;
        }
        Ok(())
    }

    /// Gets a commit that a person pinned, which no ref may name.
    async fn take_commit(
        &self,
        remote: &Remote,
        memory: &mut Memory,
        (follow, id): (Follow, Oid),
        heads: &mut Heads,
        sight: &mut Sight,
    ) -> Result<(), RemoteError> {
        let unknown = format!("commit {id} does not exist in the repository");
        if !self.lacking([id].into()).await?.is_empty() {
            let found = match self.fetch_commit(remote, memory, id).await {
                Err(RemoteError::Protocol(ProtocolError::Server(text))) => {
                    if !text.contains("not our ref") && !text.contains("unadvertised") {
                        sight
                            .problems
                            .push(format!("{follow}: the server says: {text}"));
                        return Ok(());
                    }
                    false
                }
                other => other?,
            };
            if !found {
                sight.missing.insert(follow, unknown);
                return Ok(());
            }
        }
        self.move_head(follow, id, heads, sight).await
    }

    /// Whether the commit was fetched.
    async fn fetch_commit(
        &self,
        remote: &Remote,
        memory: &mut Memory,
        id: Oid,
    ) -> Result<bool, RemoteError> {
        if let Remote::File(file) = remote {
            let file = file.clone();
            if !blocking(move || file.has(id)).await? {
                return Ok(false);
            }
        }
        let by_id = memory
            .known
            .as_ref()
            .is_none_or(|known| known.server.any_commit);
        if by_id {
            self.fetch(remote, memory, [id].into(), false).await?;
            return Ok(true);
        }
        // This server gives only what refs name: somewhere in their history it may be.
        let refs = self.list(remote, memory, &Wanted::All).await?;
        let ids: BTreeSet<_> = refs.values().map(|found| found.id).collect();
        let listing: String = ids.iter().map(ToString::to_string).collect();
        let listing = Digest::of(listing.as_bytes());
        if ids.is_empty() || memory.barren.get(&id) == Some(&listing) {
            return Ok(false);
        }
        self.fetch(remote, memory, ids, true).await?;
        let found = self.lacking([id].into()).await?.is_empty();
        if !found {
            memory.barren.insert(id, listing);
        }
        Ok(found)
    }

    /// Those of `ids` that are not in the mirror.
    async fn lacking(&self, ids: BTreeSet<Oid>) -> Result<BTreeSet<Oid>, RemoteError> {
        if ids.is_empty() {
            return Ok(ids);
        }
        let mirror = self.mirror.clone();
        blocking(move || {
            let repo = mirror.repository()?;
            let odb = repo.odb()?;
            let mut seen = HashSet::new();
            Ok(ids
                .into_iter()
                .filter(|id| !odb.exists(*id) || check_tip(&repo, *id, None, &mut seen).is_err())
                .collect())
        })
        .await
    }

    async fn fetch(
        &self,
        remote: &Remote,
        memory: &Memory,
        ids: BTreeSet<Oid>,
        history: bool,
    ) -> Result<(), RemoteError> {
        let permit = self
            .unless_stopped(async { Ok(self.means.fetches.acquire().await) })
            .await?;
        let limits = &self.means.limits;
        let deadline = Instant::now() + limits.fetch_time;
        let mirror = self.mirror.clone();
        let ids: Vec<_> = ids.into_iter().collect();
        match remote {
            Remote::File(file) => {
                let (file, max) = (file.clone(), limits.fetch_bytes);
                let until = Until {
                    deadline: deadline.into_std(),
                    cancel: self.cancel.clone(),
                };
                blocking(move || file.fetch(&ids, &mirror, &until, max)).await?;
            }
            Remote::Http(web) => {
                let Some(known) = &memory.known else {
                    return Err(RemoteError::Stopped);
                };
                let http = web.until(limits, deadline);
                let want = self.want(ids, known, memory, history).await?;
                let intake = Intake::start(
                    mirror,
                    Until {
                        deadline: deadline.into_std(),
                        cancel: self.cancel.clone(),
                    },
                );
                match self.unless_stopped(http.fetch(known, &want, &intake)).await {
                    Ok(()) => intake.finish().await?,
                    Err(error) => {
                        intake.abandon().await;
                        return Err(error);
                    }
                }
            }
        }
        drop(permit);
        Ok(())
    }

    async fn want(
        &self,
        ids: Vec<Oid>,
        known: &Known,
        memory: &Memory,
        history: bool,
    ) -> Result<Want, RemoteError> {
        /// Far more than are followed; a request is one piece of memory.
        const MAX_HAVES: usize = 256;
        if history {
            return Ok(Want {
                ids,
                history,
                ..Want::default()
            });
        }
        let mirror = self.mirror.clone();
        let shallow = blocking(move || Ok(mirror.shallow()?)).await?;
        let haves: BTreeSet<_> = memory.heads.values().map(|tip| tip.commit).collect();
        // A server that knows no shallow commits takes a commit to mean all its history.
        let haves: Vec<_> = haves
            .into_iter()
            .filter(|id| known.server.shallow || !shallow.contains(id))
            .take(MAX_HAVES)
            .collect();
        Ok(Want {
            ids,
            shallow: haves
                .iter()
                .copied()
                .filter(|id| shallow.contains(id))
                .collect(),
            haves,
            history,
        })
    }
}

/// Moving heads, and what the disk needs around it.
impl Look<'_> {
    /// Moves one head, if all that it leads to is there; else says what lacks.
    async fn move_head(
        &self,
        follow: Follow,
        id: Oid,
        heads: &mut Heads,
        sight: &mut Sight,
    ) -> Result<(), RemoteError> {
        let name = follow.to_string();
        let known = heads.get(&name).map(|tip| tip.commit);
        let mirror = self.mirror.clone();
        let checked = blocking(move || {
            let repo = mirror.repository()?;
            Ok(check_tip(&repo, id, known, &mut HashSet::new()))
        })
        .await?;
        match checked {
            Ok(tip) => {
                heads.insert(name, tip);
            }
            Err(error) => sight.problems.push(format!(
                "{name} cannot be used: {error}; what was there before goes on"
            )),
        }
        Ok(())
    }

    /// Writes down where the heads are now.
    async fn save(&self, heads: Heads, memory: &mut Memory) -> Result<(), RemoteError> {
        let whole = memory
            .known
            .as_ref()
            .is_some_and(|known| !known.server.shallow);
        let (mirror, old, new) = (self.mirror.clone(), memory.heads.clone(), heads.clone());
        let files = self.files.clone();
        blocking(move || {
            mirror.prepare()?;
            let commits =
                |heads: &Heads| -> BTreeSet<Oid> { heads.values().map(|t| t.commit).collect() };
            let (old, came) = (commits(&old), commits(&new));
            let mut shallow = mirror.shallow()?;
            for commit in came.difference(&old) {
                if whole {
                    shallow.remove(commit);
                } else {
                    shallow.insert(*commit);
                }
            }
            // Before the heads, and with the old ones: true whichever list a crash leaves.
            shallow.retain(|commit| old.contains(commit) || came.contains(commit));
            mirror.set_shallow(&shallow)?;
            mirror.save(&new)?;
            if let Err(error) = repack(&mirror, &new, &files) {
                tracing::warn!(%error, "cannot write the packs of a mirror into one");
            }
            Ok(())
        })
        .await?;
        memory.heads = heads;
        Ok(())
    }

    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let done = self.cancel.run_until_cancelled(work).await;
        done.unwrap_or(Err(RemoteError::Stopped))
    }
}

fn repack(mirror: &Mirror, heads: &Heads, files: &RwLock<()>) -> Result<(), MirrorError> {
    if mirror.wants_repack()? {
        let pack = mirror.repack(heads)?;
        let _nobody_reads = files.write();
        mirror.keep_only(&pack)?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
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
