//! What is wrong with a folder of manifests, file by file and line by line.

use std::fmt;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Relative to the Assignment's path; empty where the folder itself is meant.
    pub file: String,
    /// From one; 0 where the whole file is meant.
    pub line: usize,
    pub cause: String,
}

impl fmt::Display for Problem {
    /// `deploy/web.yaml:12: …`, as compilers say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.cause)
    }
}

/// Why a folder does not render: its first problems, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RenderError {
    /// Never empty.
    pub problems: Vec<Problem>,
    /// There were more than are kept.
    pub more: bool,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        if self.more {
            f.write_str("; and more")?;
        }
        Ok(())
    }
}
