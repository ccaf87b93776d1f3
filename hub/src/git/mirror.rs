//! A bare repository on the hub's disk that holds, of one remote, the tips
//! that are followed. Blocking.
//!
//! Which tips those are stands in a file of ours, `heads`, replaced as a whole
//! after their objects are in and were looked at. So whatever happens in
//! between, a crash or a broken pack, leaves the mirror as it was. A mirror is
//! a copy: one that is not sound is dropped and fetched again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{ObjectType, Oid, Repository, RepositoryInitOptions};
use lockstep_proto::Digest;

use super::scan::Refused;

const HEADS: &str = "heads";
/// Git's own name for it.
const SHALLOW: &str = "shallow";
const FORMAT: &str = "lockstep mirror 1";
/// Packs after which they are written into one: every fetch adds one.
const MAX_PACKS: usize = 50;
/// Entries of one commit's tree, in the whole repository.
const MAX_ENTRIES: usize = 2_000_000;
const MAX_DEPTH: usize = 512;
/// Bytes of a commit, tag or folder: they are read as a whole.
const MAX_STRUCTURE: usize = 32 << 20;

/// Why a mirror cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    #[error("{0}")]
    Git(#[from] git2::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Unsound(String),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Where a followed ref stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    /// The commit, or the tag that leads to it.
    pub id: Oid,
    pub commit: Oid,
}

/// What a mirror holds, by the refs that assignments follow ("branch main").
pub(super) type Heads = BTreeMap<String, Tip>;

#[derive(Debug, Clone)]
pub(super) struct Mirror {
    path: PathBuf,
    /// Of the URL: a mirror of another remote is worth nothing.
    remote: Digest,
}

impl Mirror {
    pub(super) fn new(path: PathBuf, url: &str) -> Self {
        Self {
            path,
            remote: Digest::of(url.as_bytes()),
        }
    }

    pub(super) fn repository(&self) -> Result<Repository, git2::Error> {
        Repository::open_bare(&self.path)
    }

    /// What stands in the mirror: nothing where there is none, or one of
    /// another remote. Every tip is looked at.
    ///
    /// # Errors
    /// The mirror is not sound: [`Mirror::drop_all`] and start anew.
    pub(super) fn load(&self) -> Result<Heads, MirrorError> {
        let text = match fs::read_to_string(self.path.join(HEADS)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Heads::new()),
            other => other?,
        };
        let mut lines = text.lines();
        if lines.next() != Some(FORMAT) {
            return Err(MirrorError::Unsound("of another format".into()));
        }
        if lines.next() != Some(&format!("remote {}", self.remote)) {
            return Err(MirrorError::Unsound("of another remote".into()));
        }
        let repo = self.repository()?;
        let mut heads = Heads::new();
        let mut seen = HashSet::new();
        for line in lines {
            let head = line
                .split_at_checked(40)
                .and_then(|(id, name)| Some((name.strip_prefix(' ')?, Oid::from_str(id).ok()?)));
            let (name, id) =
                head.ok_or_else(|| MirrorError::Unsound("the list of heads is cut off".into()))?;
            heads.insert(name.to_owned(), check_tip(&repo, id, None, &mut seen)?);
        }
        Ok(heads)
    }

    /// Makes the repository where there is none, and removes what a fetch
    /// that was cut off left behind.
    pub(super) fn prepare(&self) -> Result<Repository, MirrorError> {
        if !self.path.join(HEADS).exists() {
            self.drop_all()?;
            let mut options = RepositoryInitOptions::new();
            // No template: its hooks and samples are somebody else's.
            options.bare(true).mkpath(true).external_template(false);
            let repo = Repository::init_opts(&self.path, &options)?;
            bound_packing(&repo)?;
            self.save(&Heads::new())?;
        }
        let repo = self.repository()?;
        for file in fs::read_dir(self.packs())? {
            let path = file?.path();
            let pack = path.extension().is_some_and(|e| e == "pack");
            let index = path.extension().is_some_and(|e| e == "idx");
            let stray = !(pack || index)
                || pack && !path.with_extension("idx").exists()
                || index && !path.with_extension("pack").exists();
            if stray {
                fs::remove_file(&path)?;
            }
        }
        Ok(repo)
    }

    /// Replaces the list of heads, whole or not at all.
    pub(super) fn save(&self, heads: &Heads) -> Result<(), MirrorError> {
        let mut text = format!("{FORMAT}\nremote {}\n", self.remote);
        for (name, tip) in heads {
            text.push_str(&format!("{} {name}\n", tip.id));
        }
        let new = self.path.join("heads.new");
        let mut file = fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(HEADS))?;
        fs::File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    /// Removes the mirror.
    pub(super) fn drop_all(&self) -> Result<(), MirrorError> {
        // Out of the way at once, so that a crash leaves no half of a mirror.
        let aside = self.path.with_extension("dropped");
        for path in [&aside, &self.path] {
            match fs::rename(path, &aside).and_then(|()| fs::remove_dir_all(&aside)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Commits that are here without their history.
    pub(super) fn shallow(&self) -> Result<BTreeSet<Oid>, MirrorError> {
        match fs::read_to_string(self.path.join(SHALLOW)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            other => Ok(other?
                .lines()
                .filter_map(|line| Oid::from_str(line).ok())
                .collect()),
        }
    }

    /// Notes, where Git's own tools look as well, which commits are here without their history.
    pub(super) fn set_shallow(&self, commits: &BTreeSet<Oid>) -> Result<(), MirrorError> {
        let path = self.path.join(SHALLOW);
        if commits.is_empty() {
            return match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
                _ => Ok(()),
            };
        }
        let text: String = commits.iter().map(|id| format!("{id}\n")).collect();
        let new = self.path.join("shallow.new");
        fs::write(&new, text)?;
        fs::rename(new, path)?;
        Ok(())
    }

    fn packs(&self) -> PathBuf {
        self.path.join("objects").join("pack")
    }

    /// Whether it is time to write the packs into one: there are many, or
    /// together they are far bigger than the biggest.
    pub(super) fn wants_repack(&self) -> Result<bool, MirrorError> {
        const SLACK: u64 = 64 << 20;
        let (mut packs, mut total, mut biggest) = (0, 0, 0);
        for file in fs::read_dir(self.packs())? {
            let file = file?;
            if file.path().extension().is_some_and(|e| e == "pack") {
                let size = file.metadata()?.len();
                packs += 1;
                total += size;
                biggest = size.max(biggest);
            }
        }
        Ok(packs > MAX_PACKS || packs > 1 && total > 2 * biggest + SLACK)
    }

    /// Writes what the heads need into one pack. The others are to be removed
    /// by [`Mirror::keep_only`], when nobody reads.
    pub(super) fn repack(&self, heads: &Heads) -> Result<String, MirrorError> {
        let repo = self.repository()?;
        let mut builder = repo.packbuilder()?;
        builder.set_threads(1);
        for tip in heads.values() {
            builder.insert_recursive(tip.id, None)?;
        }
        // History goes, so every commit must be known to lack it first.
        self.set_shallow(&heads.values().map(|tip| tip.commit).collect())?;
        builder.write(&self.packs(), 0)?;
        builder
            .name()?
            .map(|name| format!("pack-{name}"))
            .ok_or_else(|| MirrorError::Unsound("the new pack has no name".into()))
    }

    /// Removes every pack but `pack`.
    pub(super) fn keep_only(&self, pack: &str) -> Result<(), MirrorError> {
        for file in fs::read_dir(self.packs())? {
            let path = file?.path();
            if path.file_stem().is_none_or(|stem| stem != pack) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Bounds the memory that writing a pack takes: our packs are for reading, not for sending.
fn bound_packing(repo: &Repository) -> Result<(), git2::Error> {
    let mut config = repo.config()?;
    config.set_i64("pack.deltaCacheSize", 8 << 20)?;
    config.set_i64("pack.windowMemory", 8 << 20)?;
    config.set_i64("core.bigFileThreshold", 1 << 20)
}

/// Looks whether all of the tree of `tip` is there, but for the contents of
/// its files. What is as in the tree of `known`, which was looked at before,
/// is not looked at again; neither is what is in `seen`.
///
/// # Errors
/// What is missing, by id.
pub(super) fn check_tip(
    repo: &Repository,
    tip: Oid,
    known: Option<Oid>,
    seen: &mut HashSet<Oid>,
) -> Result<Tip, MirrorError> {
    let odb = repo.odb()?;
    let bounded = |id: Oid| match odb.read_header(id) {
        Ok((size, kind)) if size > MAX_STRUCTURE && kind != ObjectType::Blob => Err(
            MirrorError::Unsound(format!("{kind} {id} has more than {MAX_STRUCTURE} bytes")),
        ),
        _ => Ok(()),
    };
    bounded(tip)?;
    let commit = repo
        .find_object(tip, None)?
        .peel_to_commit()
        .map_err(|_| MirrorError::Unsound("it does not lead to a commit that is there".into()))?;
    let at = commit.id();
    let known = known.and_then(|known| repo.find_commit(known).ok());
    let mut entries = 0;
    let mut ahead = vec![(commit.tree_id(), known.map(|commit| commit.tree_id()), 0)];
    while let Some((id, known, depth)) = ahead.pop() {
        if known == Some(id) || !seen.insert(id) {
            continue;
        }
        if depth > MAX_DEPTH {
            return Err(MirrorError::Unsound(format!(
                "the tree of commit {at} is more than {MAX_DEPTH} folders deep"
            )));
        }
        let missing = |what: &str, id: Oid| {
            MirrorError::Unsound(format!("commit {at} lacks its {what} {id}"))
        };
        bounded(id)?;
        let tree = repo.find_tree(id).map_err(|_| missing("tree", id))?;
        let known = known.and_then(|id| repo.find_tree(id).ok());
        for entry in &tree {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(MirrorError::Unsound(format!(
                    "the tree of commit {at} has more than {MAX_ENTRIES} entries"
                )));
            }
            let known = known
                .as_ref()
                .and_then(|tree| tree.get_name_bytes(entry.name_bytes()))
                .map(|entry| entry.id());
            match entry.kind() {
                _ if known == Some(entry.id()) => {}
                Some(ObjectType::Tree) => ahead.push((entry.id(), known, depth + 1)),
                Some(ObjectType::Blob) if !odb.exists(entry.id()) => {
                    return Err(missing("file", entry.id()));
                }
                _ => {}
            }
        }
    }
    Ok(Tip {
        id: tip,
        commit: at,
    })
}

/// Removes mirrors under `dir` that belong to no repository and were not
/// written for a while: a Repository that is deleted by mistake and applied
/// again need not be fetched again.
pub(super) fn remove_orphans(dir: &Path, alive: impl Fn(&str) -> bool) -> io::Result<()> {
    const KEPT: Duration = Duration::from_secs(24 * 3600);
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let old = entry
            .metadata()?
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok())
            .is_some_and(|age| age > KEPT);
        if old && !name.to_str().is_some_and(&alive) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
