//! The folder that holds everything the hub must not lose, held by one hub at
//! a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::private_file;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error(
        "cannot use the data folder {path}: {cause}: give --data-dir a folder that the hub may \
         write, on a disk with room"
    )]
    Io { path: PathBuf, cause: io::Error },
    #[error(
        "another hub{holder} runs on {path}: stop it first, or give this one another --data-dir"
    )]
    Held { path: PathBuf, holder: String },
}

/// The folder, locked until this is dropped or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder where there is none, and locks it.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |path: &Path, cause| DataDirError::Io {
            path: path.to_owned(),
            cause,
        };
        private_file::make_dir(path).map_err(|cause| io(path, cause))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|cause| io(&lock_path, cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let holder = match lock.read_to_string(&mut holder) {
                    Ok(_) if !holder.trim().is_empty() => format!(" (process {})", holder.trim()),
                    _ => String::new(),
                };
                return Err(DataDirError::Held {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(cause)) => return Err(io(&lock_path, cause)),
        }
        let write = |lock: &mut File| -> io::Result<()> {
            lock.set_len(0)?;
            lock.rewind()?;
            lock.write_all(std::process::id().to_string().as_bytes())
        };
        write(&mut lock).map_err(|cause| io(&lock_path, cause))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// A file or folder in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A folder in it, made where there is none.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn folder(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(name);
        match private_file::make_dir(&path) {
            Ok(()) => Ok(path),
            Err(cause) => Err(DataDirError::Io { path, cause }),
        }
    }

    /// The address in `name`, where a start before this one wrote one.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        private_file::read(&self.join(name))
            .ok()??
            .trim()
            .parse()
            .ok()
    }

    /// Writes `address` to the file `name`, for whoever wants to call it.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn put_address(&self, name: &str, address: SocketAddr) -> Result<(), DataDirError> {
        let path = self.join(name);
        private_file::write(&path, address.to_string().as_bytes())
            .map_err(|cause| DataDirError::Io { path, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_hub_on_the_same_folder_is_refused_with_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("another hub (process "), "{error}");
        assert!(error.contains("--data-dir"), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::open(&file).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }

    #[test]
    fn an_address_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(data.address("http.addr"), None);
        let address = "127.0.0.1:7080".parse().unwrap();
        data.put_address("http.addr", address).unwrap();
        assert_eq!(data.address("http.addr"), Some(address));
        assert_eq!(
            std::fs::read_to_string(dir.path().join("http.addr")).unwrap(),
            "127.0.0.1:7080"
        );
    }
}
