//! Files that must be whole or absent: whoever reads one after a crash finds
//! the old content or the new one, never a part.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Only the agent's own user: what stands in the data directory tells what
/// runs in the cluster, and some of it is secret.
pub const PRIVATE: u32 = 0o600;

/// Makes the folder at `path` if it is not there, for the agent's own user, and
/// removes the drafts that a crash left in it. Blocks.
///
/// # Errors
/// What the file system says, with the path.
pub fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(at(path))?;
    sweep(path)
}

/// Holds `folder` for this process alone, as long as the file is kept. Goes
/// with the process, however it ends. Blocks not.
///
/// # Errors
/// Somebody else holds it, or what the file system says, with the path.
pub fn lock(folder: &Path) -> io::Result<File> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another agent runs with {}", folder.display()),
        )),
        Err(TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

/// Replaces the file at `path` by `content`, durable when it returns. Blocks.
///
/// # Errors
/// What the file system says, with the path.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = Draft::create(path)?;
    (&draft.file).write_all(content).map_err(at(path))?;
    draft.publish(path)
}

/// A file under a temporary name beside the place that it is meant for. Gone
/// when dropped before [`Draft::publish`].
#[derive(Debug)]
pub struct Draft {
    pub file: File,
    path: Option<PathBuf>,
}

impl Draft {
    /// A draft of `destination`.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn create(destination: &Path) -> io::Result<Self> {
        let name = destination.file_name().unwrap_or_default();
        let draft = destination.with_file_name(format!(
            ".{}.{:016x}{DRAFT_SUFFIX}",
            name.to_string_lossy(),
            rand::random::<u64>()
        ));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&draft)
            .map_err(at(&draft))?;
        Ok(Self {
            file,
            path: Some(draft),
        })
    }

    /// Makes the draft durable and gives it its name.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn publish(mut self, destination: &Path) -> io::Result<()> {
        let Some(path) = self.path.take() else {
            return Ok(());
        };
        let done = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&path, destination))
            .and_then(|()| sync_parent(destination));
        if done.is_err() {
            let _ = fs::remove_file(&path);
        }
        done.map_err(at(destination))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

const DRAFT_SUFFIX: &str = ".draft";

fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(DRAFT_SUFFIX) {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// A rename is durable when its folder is.
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Puts the path before what the system says.
pub fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_replaced_file_is_private_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            PRIVATE
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_that_a_crash_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        replace(&dir.path().join("x"), b"").unwrap();
        let draft = Draft::create(&dir.path().join("x")).unwrap();
        std::mem::forget(draft);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(error.to_string().contains("another agent"), "{error}");
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn an_error_names_the_file() {
        let error = replace(Path::new("/nowhere/at/all"), b"").unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/"), "{error}");
    }
}
