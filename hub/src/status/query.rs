//! Questions about resources: one of them, pages of them, and who reaches whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_proto::ClusterName;
use lockstep_proto::v1::{self, kind::Name as Kind};

use super::model::Model;
use super::{Fleet, Selector, counts, shown};

/// A page ends when it is larger than this: clients take messages of 4 MiB
/// unless told otherwise, and one item more is far smaller than the rest.
pub(super) const PAGE_BYTES: usize = 3 << 20;

/// Which resources of a kind.
#[derive(Debug, Clone)]
pub struct Filter {
    pub kind: Kind,
    pub selector: Selector,
    /// Only these, where there are any.
    pub names: BTreeSet<String>,
}

/// Some resources, in order of name, as of one instant.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    pub items: Vec<v1::Resource>,
    /// The name after which the next page begins.
    pub next: Option<String>,
}

impl Fleet {
    /// One resource, or none where there is none of that name.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str) -> Option<v1::Resource> {
        let now = self.now();
        self.read(|model| model.view(kind, name, now))
    }

    /// At most `limit` resources whose names come after `after`.
    ///
    /// # Errors
    /// A name of the filter that does not exist.
    pub fn list(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Result<Page, String> {
        let now = self.now();
        self.read(|model| {
            let kind = filter.kind;
            if let Some(missing) = filter.names.iter().find(|name| !model.exists(kind, name)) {
                return Err(missing.clone());
            }
            let mut page = Page::default();
            let (mut last, mut bytes) = (None, 0);
            for name in model.names_after(filter, after) {
                if !model.matches(kind, &name, &filter.selector) {
                    continue;
                }
                if page.items.len() == limit || bytes >= PAGE_BYTES {
                    page.next = last;
                    break;
                }
                let item = model.view(kind, &name, now);
                bytes += item.as_ref().map_or(0, prost::Message::encoded_len);
                page.items.extend(item);
                last = Some(name.to_string());
            }
            Ok(page)
        })
    }

    #[must_use]
    pub fn assignment(&self, name: &str) -> Option<Arc<v1::Assignment>> {
        self.read(|model| Some(model.assignments.get(name)?.resource.clone()))
    }

    #[must_use]
    pub fn repository(&self, name: &str) -> Option<Arc<v1::Repository>> {
        self.read(|model| Some(model.repositories.get(name)?.resource.clone()))
    }

    /// Names of all assignments, sorted.
    #[must_use]
    pub fn assignment_names(&self) -> Vec<String> {
        self.read(|model| model.assignments.keys().map(ToString::to_string).collect())
    }

    /// Names of all repositories, sorted.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        self.read(|model| model.repositories.keys().map(ToString::to_string).collect())
    }

    /// Assignments that follow a repository, by name.
    #[must_use]
    pub fn assignments_of_repository(&self, repository: &str) -> Vec<Arc<v1::Assignment>> {
        self.read(|model| {
            let all = model
                .assignments
                .values()
                .map(|assignment| &assignment.resource);
            all.filter(|a| {
                a.spec
                    .as_ref()
                    .is_some_and(|spec| spec.repository == repository)
            })
            .cloned()
            .collect()
        })
    }

    /// Clusters that an assignment reaches now, through its groups; sorted.
    #[must_use]
    pub fn clusters_of(&self, assignment: &str) -> Vec<ClusterName> {
        self.read(|model| {
            let assignment = model.assignments.get(assignment);
            assignment.map_or_else(Vec::new, |assignment| {
                model.targets(&assignment.resource).into_iter().collect()
            })
        })
    }

    /// Assignments that reach a cluster now; sorted.
    #[must_use]
    pub fn assignments_of(&self, cluster: &ClusterName) -> Vec<String> {
        self.read(|model| {
            let groups = model
                .clusters
                .get(cluster.as_str())
                .map(|cluster| &cluster.groups);
            let reached = groups.map(|groups| model.reach(groups)).unwrap_or_default();
            reached.iter().map(ToString::to_string).collect()
        })
    }

    /// Whether there is such a resource.
    #[must_use]
    pub fn exists(&self, kind: Kind, name: &str) -> bool {
        self.read(|model| model.exists(kind, name))
    }

    /// When the cluster was last heard of, in milliseconds since 1970.
    #[must_use]
    pub fn last_seen(&self, cluster: &ClusterName) -> Option<i64> {
        self.read(|model| model.clusters.get(cluster.as_str())?.last_seen)
    }

    /// Counts of all clusters.
    #[must_use]
    pub fn counts(&self) -> v1::ClusterCounts {
        self.read(|model| {
            let mut all = counts::Counts::default();
            for cluster in model.clusters.values() {
                let reached = model.reach(&cluster.groups);
                counts::add(
                    &mut all,
                    shown::cluster_tally(cluster, &reached, &model.assignments),
                );
            }
            all.clusters
        })
    }
}

impl Model {
    /// Names of the filter's kind, and of its names where it has any, sorted.
    pub fn names_after<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = std::borrow::Cow<'a, str>> + 'a> {
        use std::borrow::Cow;
        use std::ops::Bound;
        let range = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        if !filter.names.is_empty() {
            let names = filter.names.range::<str, _>(range);
            return Box::new(names.map(|name| Cow::Borrowed(name.as_str())));
        }
        macro_rules! names {
            ($map:expr) => {
                Box::new(
                    $map.range::<str, _>(range)
                        .map(|(name, _)| Cow::Borrowed(&**name)),
                )
            };
        }
        match filter.kind {
            Kind::Unspecified => Box::new(std::iter::empty()),
            Kind::Cluster => Box::new(
                self.clusters
                    .range::<str, _>(range)
                    .map(|(name, _)| Cow::Borrowed(name.as_str())),
            ),
            Kind::ClusterGroup => names!(self.groups),
            Kind::Repository => names!(self.repositories),
            Kind::Assignment => names!(self.assignments),
            Kind::JoinToken => names!(self.join_tokens),
            Kind::Credential => names!(self.credentials),
        }
    }
}
