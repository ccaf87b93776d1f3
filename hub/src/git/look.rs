//! One look at a remote: list its refs, fetch what moved, check that it is
//! whole, and only then move the mirror's heads.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use git2::Oid;
use lockstep_proto::{Digest, v1};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::cause::RemoteError;
use super::follow::{Follow, Plan, plan, wanted};
use super::mirror::{Heads, Mirror, MirrorError, check_tip};
use super::protocol::{ProtocolError, Wanted};
use super::remote::{Contact, Gives, Means, Remote, blocking};

/// What a repository's task keeps from one look to the next.
#[derive(Default)]
pub(super) struct Memory {
    /// What the mirror holds.
    pub heads: Heads,
    contact: Contact,
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
    /// What else is wrong, and with what.
    pub problems: Vec<(Follow, String)>,
    /// Whether the mirror's heads changed.
    pub changed: bool,
}

impl Sight {
    /// Keeps what is said of `follows` alone.
    pub(super) fn keep(&mut self, follows: &BTreeSet<Follow>) {
        self.missing.retain(|follow, _| follows.contains(follow));
        self.problems.retain(|(follow, _)| follows.contains(follow));
    }
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

impl Look<'_> {
    pub(super) async fn run(&self, memory: &mut Memory) -> Result<Sight, RemoteError> {
        let remote = Remote::of(self.spec, &mut memory.contact, self.means, self.cancel).await?;
        let refs = remote
            .list(&mut memory.contact, &wanted(self.follows))
            .await?;
        let Plan {
            moved,
            commits,
            missing,
        } = plan(self.follows, &refs, &memory.heads);
        let mut sight = Sight::default();
        for follow in missing {
            let text = follow.missing();
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
        let moving = self.take_tips(&remote, memory, moved, &mut heads, &mut sight);
        let mut outcome = moving.await;
        for (follow, id) in commits {
            if outcome.is_err() {
                break;
            }
            outcome = self
                .take_commit(&remote, memory, (follow, id), &mut heads, &mut sight)
                .await;
        }
        // What moved has moved, whatever came after it.
        if heads != memory.heads {
            self.save(&remote, heads, memory).await?;
            sight.changed = true;
        }
        outcome.map(|()| sight)
    }

    /// Moves branches and tags to where the remote has them.
    async fn take_tips(
        &self,
        remote: &Remote<'_>,
        memory: &Memory,
        moved: Vec<(Follow, Oid)>,
        heads: &mut Heads,
        sight: &mut Sight,
    ) -> Result<(), RemoteError> {
        let ids: BTreeSet<_> = moved.iter().map(|(_, id)| *id).collect();
        let lacking = self.lacking(ids).await?;
        let together = self.fetch(remote, memory, lacking.clone(), false).await;
        let mut without = BTreeMap::new();
        match together {
            // One broken branch must not hold up the others.
            Err(error) if error.is_of_content() && lacking.len() > 1 => {
                for id in lacking {
                    match self.fetch(remote, memory, [id].into(), false).await {
                        Err(error) if error.is_of_content() => {
                            without.insert(id, error.to_string());
                        }
                        other => other?,
                    }
                }
            }
            other => other?,
        }
        for (follow, id) in moved {
            match without.get(&id) {
                Some(cause) => {
                    let problem = format!("{follow}: {cause}");
                    sight.problems.push((follow, problem));
                }
                None => self.move_head(follow, id, heads, sight).await?,
            }
        }
        Ok(())
    }

    /// Gets a commit that a person pinned, which no ref may name.
    async fn take_commit(
        &self,
        remote: &Remote<'_>,
        memory: &mut Memory,
        (follow, id): (Follow, Oid),
        heads: &mut Heads,
        sight: &mut Sight,
    ) -> Result<(), RemoteError> {
        if !self.lacking([id].into()).await?.is_empty() {
            match self.fetch_commit(remote, memory, id).await {
                Ok(true) => {}
                Ok(false) => {
                    let text = follow.missing();
                    sight.missing.insert(follow, text);
                    return Ok(());
                }
                Err(error) if error.is_of_content() => {
                    let problem = format!("{follow}: {error}");
                    sight.problems.push((follow, problem));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.move_head(follow, id, heads, sight).await
    }

    /// Whether the commit was fetched; false when the remote does not have it.
    async fn fetch_commit(
        &self,
        remote: &Remote<'_>,
        memory: &mut Memory,
        id: Oid,
    ) -> Result<bool, RemoteError> {
        match remote.gives(&memory.contact, id).await? {
            Gives::Never => return Ok(false),
            Gives::History => {}
            Gives::Asked => {
                return match self.fetch(remote, memory, [id].into(), false).await {
                    Err(RemoteError::Protocol(ProtocolError::Server(text)))
                        if text.contains("not our ref") =>
                    {
                        Ok(false)
                    }
                    other => other.map(|()| true),
                };
            }
        }
        // This server gives only what refs name: somewhere in their history it may be.
        let refs = remote.list(&mut memory.contact, &Wanted::All).await?;
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

    async fn fetch(
        &self,
        remote: &Remote<'_>,
        memory: &Memory,
        ids: BTreeSet<Oid>,
        history: bool,
    ) -> Result<(), RemoteError> {
        if ids.is_empty() {
            return Ok(());
        }
        let haves = memory.heads.values().map(|tip| tip.commit).collect();
        remote
            .fetch(&memory.contact, self.mirror, ids, haves, history)
            .await
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
            Err(error) => {
                let problem =
                    format!("{name} cannot be used: {error}; what was there before goes on");
                sight.problems.push((follow, problem));
            }
        }
        Ok(())
    }

    /// Writes down where the heads are now.
    async fn save(
        &self,
        remote: &Remote<'_>,
        heads: Heads,
        memory: &mut Memory,
    ) -> Result<(), RemoteError> {
        let whole = remote.brings_history(&memory.contact);
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
}

fn repack(mirror: &Mirror, heads: &Heads, files: &RwLock<()>) -> Result<(), MirrorError> {
    if mirror.wants_repack()? {
        let pack = mirror.repack(heads)?;
        let _nobody_reads = files.write();
        mirror.keep_only(&pack)?;
    }
    Ok(())
}
