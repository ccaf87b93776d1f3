//! The last word of the cluster's owner: what `agent.yaml` lets the hub do.
//!
//! Read once at the start, and only ever narrower than what the hub asks for.
//! Everything that changes the cluster asks here first; what is refused is not
//! sent, and the words name the file and the line. Nothing here does I/O but
//! [`Caps::load`].

mod file;
mod glob;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::apply::share::Share;
use crate::cluster::{Actor, Rate, ServiceAccount};
use crate::inventory::ObjectId;

pub use file::FileError;
use glob::Glob;

/// What the hub may do here. Cheap to clone; by default, everything.
#[derive(Debug, Clone, Default)]
pub struct Caps {
    set: Option<Arc<Set>>,
}

/// A rule, and the line that says it.
#[derive(Debug)]
struct Lined<T> {
    line: u64,
    value: T,
}

#[derive(Debug, Default)]
struct Set {
    /// As the file was named, for people.
    file: Box<str>,
    namespaces: Option<Lined<Vec<Glob>>>,
    denied: Vec<Lined<Denied>>,
    cluster_scoped: Option<Lined<bool>>,
    account: Option<ServiceAccount>,
    accounts: BTreeMap<String, ServiceAccount>,
    prune: Option<PruneCap>,
    rate: Option<Arc<Rate>>,
}

/// One of `deniedKinds`.
#[derive(Debug)]
struct Denied {
    said: Box<str>,
    /// None: in every group.
    group: Option<Glob>,
    kind: Glob,
}

/// The largest share that may be pruned, whoever approved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneCap {
    pub share: Share,
    /// "/etc/lockstep/agent.yaml line 9"
    pub said: Arc<str>,
}

impl PruneCap {
    /// How many of `base` objects may go: none where the owner says none.
    #[must_use]
    pub fn allows(&self, base: usize) -> usize {
        match self.share {
            Share::Percent(0) | Share::Objects(0) => 0,
            share => share.allows(base),
        }
    }
}

impl fmt::Display for PruneCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "maxPrune {} in {}", self.share, self.said)
    }
}

impl Caps {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`FileError`]: a file that cannot be read or understood caps nothing,
    /// so nothing may be done without it.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let text = file::read(path)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// The caps that `text` states; `file` is what it is called.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        file::parse(file, text).map(|set| Self {
            set: Some(Arc::new(set)),
        })
    }

    /// Nothing is capped.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.set.is_none()
    }

    /// Why `assignment` may not change the object, if it may not.
    #[must_use]
    pub fn refuses(&self, _assignment: &str, id: &ObjectId) -> Option<String> {
        let set = self.set.as_ref()?;
        set.refuses(&id.kind.group, &id.kind.kind, &id.namespace, &id.name)
    }

    /// As [`Caps::refuses`], for a namespace that is made because objects are
    /// to live in it.
    #[must_use]
    pub fn refuses_namespace(&self, name: &str) -> Option<String> {
        let set = self.set.as_ref()?;
        set.refuses("", "Namespace", "", name)
    }

    /// The largest share of an Inventory that one revision may prune.
    #[must_use]
    pub fn prune_share(&self) -> Option<PruneCap> {
        self.set.as_ref()?.prune.clone()
    }

    /// Who changes objects of `assignment`, and how fast: the agent itself and
    /// as fast as it can, where nothing is said.
    #[must_use]
    pub fn actor(&self, assignment: &str) -> Actor {
        let Some(set) = &self.set else {
            return Actor::default();
        };
        let own = set.accounts.get(assignment);
        Actor {
            account: own.or(set.account.as_ref()).cloned(),
            rate: set.rate.clone(),
        }
    }
}

impl Set {
    fn refuses(&self, group: &str, kind: &str, namespace: &str, name: &str) -> Option<String> {
        let file = &self.file;
        let refused = |line: u64, why: &str| Some(format!("refused by {file} line {line}: {why}"));
        let denied = self.denied.iter().find(|rule| {
            let denied = &rule.value;
            denied.kind.matches(kind) && denied.group.as_ref().is_none_or(|g| g.matches(group))
        });
        if let Some(rule) = denied {
            return refused(rule.line, &format!("deniedKinds has {}", rule.value.said));
        }
        let is_namespace = (group, kind) == ("", "Namespace");
        let lives_in = match namespace {
            "" if is_namespace => name,
            namespace => namespace,
        };
        if !lives_in.is_empty()
            && let Some(allowed) = &self.namespaces
            && !allowed.value.iter().any(|glob| glob.matches(lives_in))
        {
            let why = format!("allowedNamespaces does not have {lives_in}");
            return refused(allowed.line, &why);
        }
        if !lives_in.is_empty() {
            return None;
        }
        match (&self.cluster_scoped, &self.namespaces) {
            (Some(rule), _) if rule.value => None,
            (Some(rule), _) => refused(rule.line, "allowClusterScoped is false"),
            (None, Some(rule)) => refused(
                rule.line,
                "allowedNamespaces is set, and nothing says allowClusterScoped: true",
            ),
            (None, None) => None,
        }
    }
}
