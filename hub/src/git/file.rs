//! A remote on the hub's own disk, where the hub allows that: for trying
//! things out, and for mirrors that something else keeps up. Blocking.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::cause::RemoteError;
use super::intake::{Until, write_pack};
use super::mirror::{Mirror, MirrorError};
use super::protocol::{RemoteRef, RemoteRefs, Wanted};

#[derive(Debug, Clone)]
pub(super) struct FileRemote {
    pub path: PathBuf,
}

impl FileRemote {
    fn open(&self) -> Result<Repository, RemoteError> {
        Repository::open(&self.path).map_err(|error| RemoteError::Unreachable {
            host: self.path.display().to_string(),
            cause: opening(&error, &self.path),
        })
    }

    pub(super) fn list(&self, wanted: &Wanted) -> Result<RemoteRefs, RemoteError> {
        let repo = self.open()?;
        let mut refs = RemoteRefs::new();
        let mut add = |name: &str, reference: &git2::Reference<'_>| {
            let resolved = reference.resolve()?;
            if let Some(id) = resolved.target() {
                let peeled = resolved.peel(ObjectType::Any)?.peel_to_commit().ok();
                let peeled = peeled
                    .map(|commit| commit.id())
                    .filter(|peeled| *peeled != id);
                refs.insert(name.to_owned(), RemoteRef { id, peeled });
            }
            Ok::<_, git2::Error>(())
        };
        match wanted {
            Wanted::Named(names) => {
                for name in names {
                    match repo.find_reference(name) {
                        Ok(reference) => add(name, &reference)?,
                        Err(e) if e.code() == ErrorCode::NotFound => {}
                        Err(e) => return Err(e.into()),
                    }
                }
            }
            Wanted::All => {
                for pattern in ["refs/heads/*", "refs/tags/*"] {
                    for reference in repo.references_glob(pattern)? {
                        let reference = reference?;
                        if let Ok(name) = reference.name() {
                            add(name, &reference)?;
                        }
                    }
                }
            }
        }
        Ok(refs)
    }

    /// Whether the repository holds the object `id`.
    pub(super) fn has(&self, id: Oid) -> Result<bool, RemoteError> {
        Ok(self.open()?.odb()?.exists(id))
    }

    /// Copies `ids`, with all that they need but history, into `mirror`.
    pub(super) fn fetch(
        &self,
        ids: &[Oid],
        mirror: &Mirror,
        until: &Until,
        max_bytes: u64,
    ) -> Result<(), RemoteError> {
        let repo = self.open()?;
        let mut builder = repo.packbuilder()?;
        builder.set_threads(1);
        for id in ids {
            builder.insert_recursive(*id, None)?;
        }
        let mut bytes = 0;
        let mut too_big = false;
        let result = write_pack(mirror, until, |each| {
            let mut failed = None;
            let done = builder.foreach(|piece| {
                bytes += piece.len() as u64;
                too_big = bytes > max_bytes;
                failed = each(piece).err();
                !too_big && failed.is_none()
            });
            match failed {
                Some(error) => Err(error),
                None => done.map_err(MirrorError::from),
            }
        });
        if too_big {
            return Err(RemoteError::TooBig(max_bytes));
        }
        Ok(result?)
    }
}

fn opening(error: &git2::Error, path: &Path) -> String {
    match error.code() {
        ErrorCode::NotFound if path.exists() => "there is no Git repository in this folder".into(),
        ErrorCode::NotFound => "there is no such folder".into(),
        ErrorCode::Owner => {
            "the folder belongs to another user than the one that the hub runs as".into()
        }
        _ => error.message().to_owned(),
    }
}
