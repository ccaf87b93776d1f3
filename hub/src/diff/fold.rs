//! Puts clusters that answered alike together: pure. One copy is kept of what
//! many say, so that a fleet that is alike costs what one cluster costs.

use std::collections::{BTreeMap, HashMap};

use lockstep_proto::{ClusterName, Digest, v1};
use prost::Message as _;

use crate::dispatch::{Answer, Answered};

/// Longest text that one error says of all its clusters.
const ERROR_LIMIT: usize = 4096;

/// What was answered so far.
#[derive(Default)]
pub struct Fold {
    groups: HashMap<Digest, Group>,
}

struct Group {
    clusters: Vec<ClusterName>,
    answered: Answered,
}

impl Fold {
    /// Adds one cluster's answer. What another has said is let go.
    pub fn add(&mut self, cluster: ClusterName, answered: Answered) {
        let group = self
            .groups
            .entry(fingerprint(&answered))
            .or_insert_with(|| Group {
                clusters: Vec::new(),
                answered,
            });
        group.clusters.push(cluster);
    }

    /// The groups: those that differ first, the largest before the smaller,
    /// then those without a difference, then errors.
    pub fn finish(self) -> impl Iterator<Item = v1::DiffGroup> + Send {
        let mut sorted = BTreeMap::new();
        for mut group in self.groups.into_values() {
            group.clusters.sort_unstable();
            let rank = match &group.answered {
                Ok(answer) if answer.objects.is_empty() => 1,
                Ok(_) => 0,
                Err(_) => 2,
            };
            let first = group.clusters.first().cloned();
            let size = std::cmp::Reverse(group.clusters.len());
            sorted.insert((rank, size, first), group);
        }
        // One at a time: what was sent is let go before the next is.
        sorted.into_values().map(Group::say)
    }
}

impl Group {
    fn say(self) -> v1::DiffGroup {
        let clusters = self.clusters.iter().map(ToString::to_string).collect();
        match self.answered {
            Ok(answer) => v1::DiffGroup {
                clusters,
                objects: answer.objects,
                error: String::new(),
            },
            Err(mut error) => {
                error.truncate(error.floor_char_boundary(ERROR_LIMIT));
                v1::DiffGroup {
                    clusters,
                    objects: Vec::new(),
                    error,
                }
            }
        }
    }
}

/// What is equal has the same, and nothing else.
fn fingerprint(answered: &Answered) -> Digest {
    let group = match answered {
        Ok(Answer { objects, .. }) => {
            let mut bytes =
                Vec::with_capacity(1 + objects.iter().map(|o| o.encoded_len() + 5).sum::<usize>());
            bytes.push(0);
            for object in objects {
                object
                    .encode_length_delimited(&mut bytes)
                    .expect("a vector grows");
            }
            bytes
        }
        Err(error) => [b"\x01", error.as_bytes()].concat(),
    };
    Digest::of(&group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ClusterName {
        ClusterName::new(name).unwrap()
    }

    fn answer(diffs: &[&str]) -> Answered {
        let objects = diffs.iter().map(|diff| v1::ObjectDiff {
            object: "v1 ConfigMap shop/a".into(),
            diff: (*diff).into(),
            ..v1::ObjectDiff::default()
        });
        Ok(Answer::of(objects.collect()))
    }

    fn said(fold: Fold) -> Vec<(String, usize, String)> {
        fold.finish()
            .map(|group| (group.clusters.join(","), group.objects.len(), group.error))
            .collect()
    }

    #[test]
    fn clusters_that_answer_alike_are_one_group_and_differences_come_first() {
        let mut fold = Fold::default();
        for (cluster, answered) in [
            ("us-1", answer(&["+a"])),
            ("ap-1", Err("is offline".into())),
            ("eu-2", answer(&[])),
            ("eu-1", answer(&["+a"])),
            ("ap-2", Err("is offline".into())),
            ("sa-1", answer(&["+a", "+b"])),
            ("af-1", Err("is busy".into())),
        ] {
            fold.add(name(cluster), answered);
        }
        let row =
            |clusters: &str, objects, error: &str| (clusters.to_owned(), objects, error.to_owned());
        assert_eq!(
            said(fold),
            [
                row("eu-1,us-1", 1, ""),
                row("sa-1", 2, ""),
                row("eu-2", 0, ""),
                row("ap-1,ap-2", 0, "is offline"),
                row("af-1", 0, "is busy"),
            ]
        );
    }

    #[test]
    fn ten_thousand_alike_keep_one_copy() {
        let mut fold = Fold::default();
        for i in 0..10_000 {
            fold.add(name(&format!("c-{i}")), answer(&["+a"]));
        }
        assert_eq!(fold.groups.len(), 1);
        let group = fold.finish().next().unwrap();
        assert_eq!(group.clusters.len(), 10_000);
        assert!(group.clusters.is_sorted());
    }
}
