//! Which refs a repository is followed by, and what is to be fetched for them.
//! Pure.

use std::collections::BTreeSet;

use git2::Oid;
use lockstep_proto::v1;

use super::mirror::Heads;
use super::protocol::{RemoteRefs, Wanted};

/// Of a ref's name; Git itself has no bound.
const LONGEST: usize = 1000;

/// A ref as assignments name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Follow {
    Branch(String),
    Tag(String),
    Commit(String),
}

impl Follow {
    /// None where `r` names nothing.
    pub(super) fn of(r: &v1::GitRef) -> Option<Self> {
        if !r.branch.is_empty() {
            Some(Self::Branch(r.branch.clone()))
        } else if !r.tag.is_empty() {
            Some(Self::Tag(r.tag.clone()))
        } else if !r.commit.is_empty() {
            Some(Self::Commit(r.commit.to_ascii_lowercase()))
        } else {
            None
        }
    }

    /// How to say that the remote does not have it.
    pub(super) fn missing(&self) -> String {
        match self {
            Self::Branch(name) => format!("branch {name:?} does not exist"),
            Self::Tag(name) => format!("tag {name:?} does not exist"),
            Self::Commit(id) if self.commit().is_some() => format!("commit {id} does not exist"),
            Self::Commit(id) => {
                format!("{id:?} is not a commit: give all 40 hexadecimal digits")
            }
        }
    }

    /// Its full name on the remote; none for a commit, and for what cannot be a ref.
    fn ref_name(&self) -> Option<String> {
        let name = match self {
            Self::Branch(name) => format!("refs/heads/{name}"),
            Self::Tag(name) => format!("refs/tags/{name}"),
            Self::Commit(_) => return None,
        };
        (name.len() <= LONGEST && git2::Reference::is_valid_name(&name)).then_some(name)
    }

    /// The commit that it pins, where it does and the id is one.
    fn commit(&self) -> Option<Oid> {
        match self {
            Self::Commit(id) if id.len() == 40 => Oid::from_str(id).ok(),
            _ => None,
        }
    }
}

impl std::fmt::Display for Follow {
    /// "branch main", as in a Repository's status.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

/// The refs to list for `follows`.
pub(super) fn wanted(follows: &BTreeSet<Follow>) -> Wanted {
    Wanted::Named(follows.iter().filter_map(Follow::ref_name).collect())
}

/// What the remote has of what is followed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Branches and tags that are elsewhere on the remote than in the mirror.
    pub moved: Vec<(Follow, Oid)>,
    /// Pinned commits that the mirror does not have.
    pub commits: Vec<(Follow, Oid)>,
    /// What the remote does not have.
    pub missing: Vec<Follow>,
}

/// Compares what the remote lists with what the mirror holds.
pub(super) fn plan(follows: &BTreeSet<Follow>, refs: &RemoteRefs, heads: &Heads) -> Plan {
    let mut plan = Plan::default();
    for follow in follows {
        let have = heads.get(&follow.to_string()).map(|tip| tip.id);
        if let Follow::Commit(_) = follow {
            match follow.commit() {
                Some(id) if have != Some(id) => plan.commits.push((follow.clone(), id)),
                Some(_) => {}
                None => plan.missing.push(follow.clone()),
            }
            continue;
        }
        match follow.ref_name().and_then(|name| refs.get(&name)) {
            None => plan.missing.push(follow.clone()),
            Some(found) => {
                if have != Some(found.id) {
                    plan.moved.push((follow.clone(), found.id));
                }
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::mirror::Tip;
    use crate::git::protocol::RemoteRef;

    fn oid(digit: char) -> Oid {
        Oid::from_str(&digit.to_string().repeat(40)).unwrap()
    }

    #[test]
    fn only_what_moved_is_fetched() {
        let commit = "c".repeat(40);
        let follows: BTreeSet<_> = [
            Follow::Branch("main".into()),
            Follow::Branch("old".into()),
            Follow::Branch("../x y".into()),
            Follow::Tag("v1".into()),
            Follow::Commit(commit.clone()),
            Follow::Commit("abc".into()),
        ]
        .into();
        assert_eq!(
            wanted(&follows),
            Wanted::Named(
                ["refs/heads/main", "refs/heads/old", "refs/tags/v1"]
                    .map(str::to_owned)
                    .into()
            )
        );
        let found = |id| RemoteRef { id, peeled: None };
        let refs = RemoteRefs::from([
            ("refs/heads/main".to_owned(), found(oid('2'))),
            ("refs/tags/v1".to_owned(), found(oid('3'))),
        ]);
        let at = |digit| Tip {
            id: oid(digit),
            commit: oid(digit),
        };
        let heads = Heads::from([
            ("branch main".to_owned(), at('1')),
            ("tag v1".to_owned(), at('3')),
        ]);
        let got = plan(&follows, &refs, &heads);
        assert_eq!(got.moved, [(Follow::Branch("main".into()), oid('2'))]);
        assert_eq!(got.commits, [(Follow::Commit(commit.clone()), oid('c'))]);
        assert_eq!(
            got.missing,
            [
                Follow::Branch("../x y".into()),
                Follow::Branch("old".into()),
                Follow::Commit("abc".into()),
            ]
        );
        let heads = Heads::from([
            ("branch main".to_owned(), at('2')),
            ("tag v1".to_owned(), at('3')),
            (format!("commit {commit}"), at('c')),
        ]);
        let got = plan(&follows, &refs, &heads);
        assert!(got.moved.is_empty() && got.commits.is_empty());
    }
}
