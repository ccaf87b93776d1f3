//! The files of a folder at a commit, as renderers see them.

use bytes::Bytes;

/// Regular files, sorted by path. Links are already followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTree {
    pub files: Vec<SourceFile>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the folder, with `/` between names.
    pub path: String,
    pub content: Bytes,
}

impl std::fmt::Debug for SourceFile {
    /// Manifests may hold Secrets: says which file it is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.path, self.content.len())
    }
}

/// Bounds of one folder, so that no repository can fill the hub's memory.
#[derive(Debug, Clone)]
pub struct TreeLimits {
    /// Files and folders looked at, links followed included.
    pub entries: usize,
    /// Folders within folders.
    pub depth: usize,
    /// Bytes of one file that is read.
    pub file: usize,
    /// Bytes of all files that are read.
    pub total: usize,
}

impl Default for TreeLimits {
    /// Far above what people keep in one folder, and little enough that a
    /// few renders at once fit into a small hub.
    fn default() -> Self {
        Self {
            entries: 20_000,
            depth: 64,
            file: 8 << 20,
            total: 64 << 20,
        }
    }
}
