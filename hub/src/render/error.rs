//! What is wrong with a folder of manifests, file by file and line by line.

use std::fmt;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Relative to the folder that is rendered; empty where that is meant itself.
    pub file: String,
    /// From one; 0 where the whole file is meant.
    pub line: usize,
}

impl Place {
    fn beneath(&mut self, folder: &str) {
        self.file = match (folder, self.file.as_str()) {
            ("", file) => file.to_owned(),
            (folder, "") => folder.to_owned(),
            (folder, file) => format!("{folder}/{file}"),
        };
    }
}

impl fmt::Display for Place {
    /// `deploy/web.yaml:12`, as compilers say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub cause: String,
    /// Another place that has to do with it, which the cause ends on.
    pub other: Option<Place>,
}

impl fmt::Display for Problem {
    /// `deploy/web.yaml:12: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.file.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.cause)?;
        match &self.other {
            Some(other) => write!(f, " {other}"),
            None => Ok(()),
        }
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

impl RenderError {
    /// The same with every file named from the root of the repository that
    /// has the folder at `folder`.
    #[must_use]
    pub fn beneath(mut self, folder: &str) -> Self {
        let folder = crate::git::plain_path(folder);
        for problem in &mut self.problems {
            problem.place.beneath(&folder);
            if let Some(other) = &mut problem.other {
                other.beneath(&folder);
            }
        }
        self
    }
}
