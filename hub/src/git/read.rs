//! Reads of a mirror: refs to commits, folders to files. Blocking.

use std::path::Path;

use bytes::Bytes;
use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};
use lockstep_proto::{Revision, v1};

use super::{GitError, Resolved, SourceFile, SourceTree, TreeLimits};

const LINK: i32 = 0o120_000;
/// As many as Linux follows.
const MAX_LINKS: usize = 40;

pub(super) fn resolve(
    mirror: &Path,
    repository: &str,
    commit: Oid,
    path: &str,
) -> Result<Resolved, GitError> {
    let damaged = |error: git2::Error| GitError::mirror(repository, &error);
    let repo = Repository::open_bare(mirror).map_err(damaged)?;
    let commit = repo.find_commit(commit).map_err(damaged)?;
    let revision = Revision::new(&commit.id().to_string()).expect("an object id is hexadecimal");
    let tree = folder(&repo, &commit, repository, path)?;
    Ok(Resolved {
        commit: commit_info(&commit),
        tree: tree.to_string(),
        revision,
    })
}

/// The names in `path`; empty and "." mean the root.
pub(super) fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|c| !c.is_empty() && *c != ".")
}

fn folder(
    repo: &Repository,
    commit: &git2::Commit<'_>,
    repository: &str,
    path: &str,
) -> Result<Oid, GitError> {
    let damaged = |error: git2::Error| GitError::mirror(repository, &error);
    let missing = |hint| GitError::NoSuchPath {
        repository: repository.to_owned(),
        path: path.to_owned(),
        revision: commit.id().to_string()[..7].to_owned(),
        hint,
    };
    let mut tree = commit.tree().map_err(damaged)?;
    for name in components(path) {
        let (id, kind, mode) = match tree.get_name(name) {
            None => return Err(missing("")),
            Some(entry) => (entry.id(), entry.kind(), entry.filemode()),
        };
        match kind {
            Some(ObjectType::Tree) => tree = repo.find_tree(id).map_err(damaged)?,
            Some(ObjectType::Commit) => {
                return Err(missing(" (it is a submodule; those are not followed)"));
            }
            _ if mode == LINK => return Err(missing(" (it is a symbolic link)")),
            _ => return Err(missing(" (it is a file)")),
        }
    }
    Ok(tree.id())
}

fn commit_info(commit: &git2::Commit<'_>) -> v1::CommitInfo {
    /// One line of a status, whatever a commit's author wrote.
    const LINE: usize = 200;
    let line = |bytes: &[u8]| -> String {
        let text = String::from_utf8_lossy(bytes);
        text.chars()
            .filter(|c| !c.is_control())
            .take(LINE)
            .collect()
    };
    let time = commit.time();
    v1::CommitInfo {
        author: line(commit.author().name_bytes()),
        subject: line(commit.summary_bytes().unwrap_or_default()),
        time: Some(pbjson_types::Timestamp {
            seconds: time.seconds(),
            nanos: 0,
        }),
    }
}

pub(super) fn read_tree(
    mirror: &Path,
    repository: &str,
    tree: &str,
    wanted: fn(&str) -> bool,
    limits: &TreeLimits,
) -> Result<SourceTree, GitError> {
    let damaged = |error: git2::Error| GitError::mirror(repository, &error);
    let repo = Repository::open_bare(mirror).map_err(damaged)?;
    let gone = || GitError::Gone {
        repository: repository.to_owned(),
    };
    let id = Oid::from_str(tree).map_err(|_| gone())?;
    let root = match repo.find_tree(id) {
        Err(e) if e.code() == ErrorCode::NotFound => return Err(gone()),
        other => other.map_err(damaged)?,
    };
    let mut walk = Walk {
        repo: &repo,
        repository,
        root: &root,
        wanted,
        limits,
        entries: 0,
        bytes: 0,
        files: Vec::new(),
    };
    walk.folder(&root, "", 0)?;
    let mut files = walk.files;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(SourceTree { files })
}

struct Walk<'a> {
    repo: &'a Repository,
    repository: &'a str,
    root: &'a Tree<'a>,
    wanted: fn(&str) -> bool,
    limits: &'a TreeLimits,
    entries: usize,
    bytes: usize,
    files: Vec<SourceFile>,
}

impl<'a> Walk<'a> {
    fn folder(&mut self, tree: &Tree<'_>, prefix: &str, depth: usize) -> Result<(), GitError> {
        if depth > self.limits.depth {
            return Err(refused(
                prefix,
                format!("more than {} folders deep", self.limits.depth),
            ));
        }
        for entry in tree {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(refused(
                    prefix,
                    format!(
                        "the folder holds more than {} files; point the assignment's path at a smaller one",
                        self.limits.entries
                    ),
                ));
            }
            // Renderers skip hidden names, so what they hold is nobody's business.
            if entry.name_bytes().starts_with(b".") {
                continue;
            }
            let Ok(name) = entry.name() else {
                return Err(refused(
                    &format!("{prefix}{}", String::from_utf8_lossy(entry.name_bytes())),
                    "the name is not UTF-8".into(),
                ));
            };
            let path = format!("{prefix}{name}");
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let tree = self.tree(entry.id())?;
                    self.folder(&tree, &format!("{path}/"), depth + 1)?;
                }
                Some(ObjectType::Blob) if entry.filemode() == LINK => {
                    self.link(entry.id(), prefix, path, depth)?;
                }
                Some(ObjectType::Blob) => self.file(entry.id(), path)?,
                // A submodule is another repository: an Assignment of its own can follow it.
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, id: Oid, path: String) -> Result<(), GitError> {
        if !(self.wanted)(&path) {
            return Ok(());
        }
        let damaged = |error: git2::Error| GitError::mirror(self.repository, &error);
        let odb = self.repo.odb().map_err(damaged)?;
        let (size, _) = odb.read_header(id).map_err(damaged)?;
        if size > self.limits.file {
            return Err(refused(
                &path,
                format!("{size} bytes; a file may have {}", self.limits.file),
            ));
        }
        self.bytes += size;
        if self.bytes > self.limits.total {
            return Err(refused(
                &path,
                format!(
                    "the files of the folder have more than {} bytes",
                    self.limits.total
                ),
            ));
        }
        let object = odb.read(id).map_err(damaged)?;
        self.files.push(SourceFile {
            path,
            content: Bytes::copy_from_slice(object.data()),
        });
        Ok(())
    }

    fn link(&mut self, id: Oid, folder: &str, path: String, depth: usize) -> Result<(), GitError> {
        match self.follow(id, folder, &path)? {
            (id, ObjectType::Tree) => {
                let tree = self.tree(id)?;
                self.folder(&tree, &format!("{path}/"), depth + 1)
            }
            (id, _) => self.file(id, path),
        }
    }

    /// What the link at `path` (in `folder`) leads to, without leaving the root.
    fn follow(&self, id: Oid, folder: &str, path: &str) -> Result<(Oid, ObjectType), GitError> {
        let mut links = 1;
        // Names still to walk, the next one last; where we stand, from the root.
        let mut ahead: Vec<String> = Vec::new();
        let mut here: Vec<(Oid, ObjectType)> = Vec::new();
        let target = self.target(id, path)?;
        push_target(&mut ahead, &target);
        ahead.extend(components(folder).rev().map(str::to_owned));
        while let Some(name) = ahead.pop() {
            if name == ".." {
                if here.pop().is_none() {
                    return Err(leaves(path, &target));
                }
                continue;
            }
            let tree = match here.last() {
                None => self.tree(self.root.id())?,
                Some((id, ObjectType::Tree)) => self.tree(*id)?,
                Some(_) => return Err(dangles(path, &target)),
            };
            let Some(entry) = tree.get_name(&name) else {
                return Err(dangles(path, &target));
            };
            if entry.filemode() == LINK {
                links += 1;
                if links > MAX_LINKS {
                    return Err(refused(
                        path,
                        "a symbolic link that leads back to itself".into(),
                    ));
                }
                let next = self.target(entry.id(), path)?;
                push_target(&mut ahead, &next);
            } else {
                let Some(kind) = entry.kind() else {
                    return Err(dangles(path, &target));
                };
                here.push((entry.id(), kind));
            }
        }
        match here.pop() {
            Some((id, kind @ (ObjectType::Tree | ObjectType::Blob))) => Ok((id, kind)),
            Some(_) => Err(dangles(path, &target)),
            None => Err(refused(
                path,
                format!("a symbolic link to its own folder ({target})"),
            )),
        }
    }

    /// The text of the link `id`; absolute ones leave the tree by definition.
    fn target(&self, id: Oid, path: &str) -> Result<String, GitError> {
        /// PATH_MAX of Linux.
        const LONGEST: usize = 4096;
        let blob = self
            .repo
            .find_blob(id)
            .map_err(|e| GitError::mirror(self.repository, &e))?;
        let target = match std::str::from_utf8(blob.content()) {
            Ok(text) if text.len() <= LONGEST && !text.is_empty() => text.to_owned(),
            _ => {
                return Err(refused(
                    path,
                    "a symbolic link without a readable target".into(),
                ));
            }
        };
        if target.starts_with('/') {
            return Err(leaves(path, &target));
        }
        Ok(target)
    }

    fn tree(&self, id: Oid) -> Result<Tree<'a>, GitError> {
        self.repo
            .find_tree(id)
            .map_err(|e| GitError::mirror(self.repository, &e))
    }
}

fn push_target(ahead: &mut Vec<String>, target: &str) {
    ahead.extend(components(target).rev().map(str::to_owned));
}

fn refused(path: &str, cause: String) -> GitError {
    GitError::Tree {
        path: if path.is_empty() {
            ".".into()
        } else {
            path.trim_end_matches('/').to_owned()
        },
        cause,
    }
}

fn leaves(path: &str, target: &str) -> GitError {
    refused(
        path,
        format!(
            "a symbolic link to {target:?}, outside of the assignment's folder; links may only lead within it"
        ),
    )
}

fn dangles(path: &str, target: &str) -> GitError {
    refused(
        path,
        format!("a symbolic link to {target:?}, which does not exist"),
    )
}
